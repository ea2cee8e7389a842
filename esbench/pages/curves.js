
// The curves of a unit: PSNR above, a panel per criterion below. The report and the live page share them.
// Text is only set as text, never as HTML.

function made(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

function put(parent, name, attributes = {}, text = "") {
  const element = document.createElementNS(document.querySelector("svg").namespaceURI, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  parent.append(element);
  return element;
}

function number(value) {
  if (value === null) return "–";
  const size = Math.abs(value);
  return size && (size >= 1e6 || size < 1e-3) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

function db(value) {
  return value === null ? "–" : value.toFixed(2);
}

// the mark of a criterion in its colour
function key([colour, path]) {
  const box = put(document.createDocumentFragment(), "svg", { class: "key", viewBox: "-5.5 -5.5 11 11", "aria-hidden": "true" });
  box.style.color = colour;
  put(box, "path", { d: path });
  return box;
}

function ticks([low, high], most) {
  const raw = (high - low) / most, power = 10 ** Math.floor(Math.log10(raw));
  const size = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= raw);
  const first = Math.ceil(low / size - 1e-9);
  const values = Array.from({ length: Math.max(0, Math.floor(high / size + 1e-9) - first + 1) }, (_, i) => (first + i) * size);
  const largest = Math.max(Math.abs(low), Math.abs(high));
  // as many digits as distinguish two neighbours
  if (largest >= 1e5 || largest < 1e-3) {
    const digits = Math.max(0, Math.floor(Math.log10(largest)) - Math.floor(Math.log10(size) + 1e-9));
    return values.map((v) => [v, v ? v.toExponential(digits).replace("e+", "e") : "0"]);
  }
  const digits = Math.max(0, -Math.floor(Math.log10(size) + 1e-9));
  return values.map((v) => [v, v.toFixed(digits)]);
}

// the step at which a value is drawn: the first value of a stretch at its first step, the second at its last
function stepOf(unit, i) {
  return unit.stretch === 1 ? i : Math.min(unit.steps - 1, Math.floor(i / 2) * unit.stretch + (i % 2) * (unit.stretch - 1));
}

// A chart draws the curves of a unit into an <svg> and reads them out. `looks` has the colour and the mark of each
// criterion, `solo` is called with the criterion whose name is clicked. While a unit is running, its `rules` have the
// progress of each criterion's patience, and `end` is the last step of the axis.
function charted(canvas, readout, looks, solo) {
  const LEFT = 62, RIGHT = 12, TITLE = 20, LABEL = 15, HEIGHTS = [230, 84];
  let unit = null, alone = "", step = 0, windows = {};

  const colour = (criterion) => looks[criterion]?.[0] ?? "currentColor";
  const mark = (criterion) => looks[criterion]?.[1] ?? "";
  const isScore = (panel) => panel.name === "PSNR (dB)";
  const last = () => Math.max(1, unit.end ?? unit.steps - 1);
  const panels = () => unit.panels.filter((panel) => isScore(panel) || !alone || panel.name === alone);
  const stops = () => unit.rows.filter((row) => !row.fallback && (!alone || row.criterion === alone));

  function valuesAt(values, at) {
    if (unit.stretch === 1) return number(values[at] ?? null);
    const i = 2 * Math.floor(at / unit.stretch);
    const [a, b] = [values[i] ?? null, values[i + 1] ?? null].map(number);
    return a === b ? a : `${a} to ${b}`;
  }

  // the stops above the axis: in the first line with room, each with its mark and its step
  function labelled(x, width) {
    const starts = []; // from the right, so that no label lies across the line of an earlier stop
    return stops().sort((a, b) => b.stop_step - a.stop_step).map((row) => {
      const text = String(row.stop_step), size = 18 + 7 * text.length;
      const at = Math.min(x(row.stop_step), width - size + 8);
      let line = starts.findIndex((start) => start >= at - 8 + size);
      if (line < 0) line = starts.push(0) - 1;
      starts[line] = at - 8;
      return { row, text, at, line };
    });
  }

  // the steps after the best one, of which S must not undercut it; one that was undercut fades
  function drawWindow(inside, rule, x, y, height) {
    const { criterion, best_step: best, patience, step: at } = rule, before = windows[criterion];
    const band = (name, from, to) => put(inside, "rect", { class: name, x: x(from), y: 0, width: Math.max(0, x(to) - x(from)), height, fill: colour(criterion), stroke: colour(criterion) });
    if (before && before.best_step !== best) band("undercut", before.best_step, before.step);
    windows[criterion] = rule;
    if (best === null) return;
    const stopped = rule.stop_step !== null;
    if (!stopped) {
      band("patience", best, best + patience);
      band("waited", best, Math.min(at, best + patience));
    }
    const place = `translate(${x(best)} ${Math.min(height - 6, Math.max(6, y(rule.best_value)))})`;
    put(inside, "path", { class: stopped ? "best" : "best hollow", d: mark(criterion), transform: place, fill: colour(criterion), stroke: colour(criterion) });
  }

  function draw() {
    const width = Math.max(280, canvas.parentElement.clientWidth), inner = width - LEFT - RIGHT;
    const x = (at) => (inner * at) / last();
    const labels = labelled(x, inner + RIGHT), above = LABEL * (1 + Math.max(-1, ...labels.map(({ line }) => line)));
    canvas.replaceChildren();
    let top = above;
    panels().forEach((panel, k) => {
      const score = isScore(panel), tall = k === 0 || Boolean(alone);
      const height = HEIGHTS[tall ? 0 : 1], [low, high] = panel.range;
      const y = (value) => height * (1 - (value - low) / (high - low));
      const group = put(canvas, "g", { transform: `translate(${LEFT} ${top + TITLE})` });
      const title = put(group, "text", { class: score ? "name" : "name choice", x: 0, y: (k ? 0 : -above) - 6 }, panel.name);
      if (!score) title.addEventListener("click", () => solo(panel.name));
      for (const [tick, text] of ticks(panel.range, tall ? 5 : 3)) {
        put(group, "line", { class: "grid", x1: 0, x2: inner, y1: y(tick), y2: y(tick) });
        put(group, "text", { x: -6, y: y(tick) + 4, "text-anchor": "end" }, text);
      }
      const inside = put(group, "svg", { width: inner, height, style: "overflow: hidden" });
      panel.lines.forEach((line, i) => {
        const points = line.values.map((v, j) => (v === null ? "" : `${x(stepOf(unit, j)).toFixed(1)},${y(v).toFixed(1)}`));
        const name = score ? ["line thin", "line thick"][i] : "line";
        put(inside, "polyline", { class: name, points: points.filter(Boolean).join(" "), stroke: colour(panel.name) });
      });
      for (const row of stops()) {
        if (!score && row.criterion !== panel.name) continue;
        const kind = unit.rules ? "stop decided" : "stop";
        put(inside, "line", { class: kind, x1: x(row.stop_step), x2: x(row.stop_step), y1: 0, y2: height, stroke: colour(row.criterion) });
      }
      for (const rule of unit.rules ?? []) if (rule.criterion === panel.name) drawWindow(inside, rule, x, y, height);
      if (score && unit.peak) put(inside, "circle", { cx: x(unit.peak[0]), cy: y(unit.peak[1]), r: 4, fill: "var(--ink)" });
      put(group, "rect", { class: "frame", width: inner, height });
      if (!k) {
        for (const { row, text, at, line } of labels) {
          const down = -LABEL * line - 8;
          put(group, "line", { class: "lead", x1: x(row.stop_step), x2: at, y1: 0, y2: down, stroke: colour(row.criterion) });
          put(group, "path", { d: mark(row.criterion), fill: colour(row.criterion), transform: `translate(${at} ${down})` });
          put(group, "text", { x: at + 8, y: down + 4 }, text);
        }
      }
      top += height + TITLE + 6;
    });
    for (const [tick, text] of ticks([0, last()], Math.max(3, inner / 110))) {
      const anchor = x(tick) > inner - 4 * text.length ? "end" : "middle"; // not beyond the edge
      put(canvas, "text", { x: LEFT + Math.min(inner + RIGHT, x(tick) + (anchor === "end" ? RIGHT : 0)), y: top + 12, "text-anchor": anchor }, text);
    }
    put(canvas, "text", { x: LEFT + inner / 2, y: top + 30, "text-anchor": "middle" }, "step");
    put(canvas, "line", { class: "cursor", y1: TITLE + above, y2: top - 6, visibility: "hidden" });
    canvas.setAttribute("viewBox", `0 0 ${width} ${top + 36}`);
    canvas.setAttribute("aria-label", said());
  }

  function said() {
    const texts = unit.rows.map((r) => (r.fallback ? `${r.criterion} not stopped` : `${r.criterion} stopped at step ${r.stop_step}`));
    const peak = unit.peak ? `; the peak is at step ${unit.peak[0]}, ${db(unit.peak[1])} dB` : "";
    return `PSNR and criteria over ${unit.steps} steps${texts.length ? `: ${texts.join(", ")}` : ""}${peak}.`;
  }

  function read(at) {
    step = Math.min(unit.steps - 1, Math.max(0, at));
    const inner = canvas.clientWidth - LEFT - RIGHT, place = LEFT + (inner * step) / last();
    const cursor = canvas.querySelector(".cursor");
    for (const [name, value] of [["x1", place], ["x2", place], ["visibility", "visible"]]) cursor.setAttribute(name, value);
    const values = panels().flatMap((panel) => panel.lines.map((line) => `${line.name} ${valuesAt(line.values, step)}`));
    readout.textContent = `step ${step}: ${values.join(", ")}`;
  }

  function pointed(event) {
    if (!unit) return;
    const along = (event.clientX - canvas.getBoundingClientRect().left - LEFT) / (canvas.clientWidth - LEFT - RIGHT);
    read(Math.round(along * last()));
  }

  function typed(event) {
    if (!unit) return;
    const far = Math.max(1, Math.round(unit.steps / 50));
    const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -far, PageDown: far, Home: -Infinity, End: Infinity }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    read(step + (event.shiftKey ? Math.sign(by) * far : by));
  }

  canvas.addEventListener("pointermove", pointed);
  canvas.addEventListener("pointerdown", pointed);
  canvas.addEventListener("keydown", typed);
  new ResizeObserver(() => unit && draw()).observe(canvas.parentElement);

  return {
    show(shown, criterion = "") {
      if (shown.id !== unit?.id) {
        [step, windows] = [0, {}];
        readout.textContent = "";
      }
      [unit, alone] = [shown, criterion];
      draw();
    },
  };
}
