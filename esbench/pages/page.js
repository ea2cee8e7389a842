
// The map of all units, and the curves and pictures of one at a time, from the JSON in this file. The address keeps the
// selection. Text is only set as text, never as HTML.

const DATA = JSON.parse(document.getElementById("data")?.textContent ?? "{}");
const canvas = document.querySelector("#curves svg");
const readout = document.querySelector("#curves output");
const select = document.getElementById("unit");
const LEFT = 62, RIGHT = 12, TITLE = 20, LABEL = 15, HEIGHTS = [230, 84];
let unit = null, step = 0;

function made(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

function put(parent, name, attributes = {}, text = "") {
  const element = document.createElementNS(canvas.namespaceURI, name);
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

function colour(criterion) {
  return DATA.looks[criterion]?.[0] ?? "currentColor";
}

function key(criterion) {
  const box = document.createElementNS(canvas.namespaceURI, "svg");
  for (const [name, value] of [["class", "key"], ["viewBox", "-5.5 -5.5 11 11"], ["aria-hidden", "true"]]) box.setAttribute(name, value);
  box.style.color = colour(criterion);
  put(box, "path", { d: DATA.looks[criterion][1] });
  return box;
}

// -- the address ------------------------------------------------------------------------------------------------------

const state = { unit: "", solo: "", sort: "", noise: "", picture: "", failed: "" };

function readAddress() {
  if (location.hash && !location.hash.includes("=")) return false; // a section of the page
  const given = new URLSearchParams(location.hash.slice(1));
  for (const name of Object.keys(state)) state[name] = given.get(name) ?? "";
  return true;
}

function choose(changes) {
  Object.assign(state, changes);
  const given = new URLSearchParams(Object.entries(state).filter(([, value]) => value));
  history.replaceState(null, "", `#${given}`);
}

// -- the map ----------------------------------------------------------------------------------------------------------

const filters = document.querySelector(".filters"), filter = (name) => filters.querySelector(`[name="${name}"]`);
const body = document.querySelector(".map tbody");
const lines = [...body.rows], sorters = [...document.querySelectorAll(".map button")];

function drawMap() {
  for (const name of ["noise", "picture"]) filter(name).value = state[name];
  filter("failed").checked = state.failed === "1";
  const wanted = state.picture.toLowerCase();
  let shown = 0;
  for (const line of lines) {
    line.hidden = (state.noise && line.dataset.noise !== state.noise) || (state.failed && !("failed" in line.dataset)) ||
      !line.dataset.picture.toLowerCase().includes(wanted);
    shown += !line.hidden;
    line.toggleAttribute("aria-current", line.dataset.unit === unit?.id);
  }
  filters.querySelector("output").textContent = shown === lines.length ? `${shown} units` : `${shown} of ${lines.length} units`;
  const down = state.sort.startsWith("-"), column = state.sort.slice(down ? 1 : 0);
  const place = sorters.findIndex((button) => button.dataset.sort === column);
  sorters.forEach((button, i) => {
    button.closest("th").setAttribute("aria-sort", i !== place ? "none" : down ? "descending" : "ascending");
  });
  const value = (line) => {
    if (place < 2) return line.dataset[column];
    return line.cells[place]?.dataset.value ? Number(line.cells[place].dataset.value) : null;
  };
  const compare = (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return (x === null) - (y === null); // missing numbers come last in both orders
    const order = typeof x === "number" ? x - y : x.localeCompare(y, undefined, { numeric: true });
    return down ? -order : order;
  };
  body.append(...(place < 0 ? lines : [...lines].sort(compare)));
}

// -- curves -----------------------------------------------------------------------------------------------------------

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

function stepOf(i) {
  // the first value of a stretch is drawn at its first step, the second at its last
  return unit.stretch === 1 ? i : Math.min(unit.steps - 1, Math.floor(i / 2) * unit.stretch + (i % 2) * (unit.stretch - 1));
}

function valuesAt(values, at) {
  if (unit.stretch === 1) return number(values[at]);
  const i = 2 * Math.floor(at / unit.stretch);
  const [a, b] = values.slice(i, i + 2).map(number);
  return a === b ? a : `${a} to ${b}`;
}

function panels() {
  return unit.panels.filter((panel, k) => !k || !state.solo || panel.name === state.solo);
}

function stops() {
  return unit.rows.filter((row) => !row.fallback && (!state.solo || row.criterion === state.solo));
}

// the stops above the axis: in the first line with room, each with its mark and its step
function labelled(x, width) {
  const ends = [];
  return stops().sort((a, b) => a.stop_step - b.stop_step).map((row) => {
    const text = String(row.stop_step), size = 18 + 7 * text.length;
    const at = Math.min(x(row.stop_step), width - size + 8);
    let line = ends.findIndex((end) => end <= at - 8);
    if (line < 0) line = ends.push(0) - 1;
    ends[line] = at - 8 + size;
    return { row, text, at, line };
  });
}

function drawCurves() {
  const width = Math.max(280, canvas.parentElement.clientWidth), inner = width - LEFT - RIGHT;
  const last = Math.max(1, unit.steps - 1), x = (at) => (inner * at) / last;
  const labels = labelled(x, inner + RIGHT), above = LABEL * (1 + Math.max(-1, ...labels.map(({ line }) => line)));
  canvas.replaceChildren();
  let top = above;
  panels().forEach((panel, k) => {
    const height = HEIGHTS[k && !state.solo ? 1 : 0], [low, high] = panel.range;
    const y = (value) => height * (1 - (value - low) / (high - low));
    const group = put(canvas, "g", { transform: `translate(${LEFT} ${top + TITLE})` });
    const title = put(group, "text", { class: k ? "name choice" : "name", x: 0, y: (k ? 0 : -above) - 6 }, panel.name);
    if (k) title.addEventListener("click", () => solo(panel.name));
    for (const [tick, text] of ticks(panel.range, k && !state.solo ? 2 : 5)) {
      put(group, "line", { class: "grid", x1: 0, x2: inner, y1: y(tick), y2: y(tick) });
      put(group, "text", { x: -6, y: y(tick) + 4, "text-anchor": "end" }, text);
    }
    const inside = put(group, "svg", { width: inner, height, style: "overflow: hidden" });
    panel.lines.forEach((line, i) => {
      const points = line.values.map((v, j) => (v === null ? "" : `${x(stepOf(j)).toFixed(1)},${y(v).toFixed(1)}`));
      const name = k ? "line" : ["line thin", "line thick"][i];
      put(inside, "polyline", { class: name, points: points.filter(Boolean).join(" "), stroke: colour(panel.name) });
    });
    for (const row of stops()) {
      if (k && row.criterion !== panel.name) continue;
      put(inside, "line", { class: "stop", x1: x(row.stop_step), x2: x(row.stop_step), y1: 0, y2: height, stroke: colour(row.criterion) });
    }
    if (!k && unit.peak) put(inside, "circle", { cx: x(unit.peak[0]), cy: y(unit.peak[1]), r: 4, fill: "var(--ink)" });
    put(group, "rect", { class: "frame", width: inner, height });
    if (!k) {
      for (const { row, text, at, line } of labels) {
        const down = -LABEL * line - 8;
        put(group, "line", { class: "lead", x1: x(row.stop_step), x2: at, y1: 0, y2: down, stroke: colour(row.criterion) });
        put(group, "path", { d: DATA.looks[row.criterion][1], fill: colour(row.criterion), transform: `translate(${at} ${down})` });
        put(group, "text", { x: at + 8, y: down + 4 }, text);
      }
    }
    top += height + TITLE + 6;
  });
  for (const [tick, text] of ticks([0, last], Math.max(3, inner / 110))) {
    put(canvas, "text", { x: LEFT + x(tick), y: top + 12, "text-anchor": "middle" }, text);
  }
  put(canvas, "text", { x: LEFT + inner / 2, y: top + 30, "text-anchor": "middle" }, "step");
  put(canvas, "line", { class: "cursor", y1: TITLE + above, y2: top - 6, visibility: "hidden" });
  canvas.setAttribute("viewBox", `0 0 ${width} ${top + 36}`);
  const said = unit.rows.map((r) => (r.fallback ? `${r.criterion} not stopped` : `${r.criterion} stopped at step ${r.stop_step}`));
  const peak = unit.peak ? `; the peak is at step ${unit.peak[0]}, ${db(unit.peak[1])} dB` : "";
  canvas.setAttribute("aria-label", `PSNR and criteria over ${unit.steps} steps: ${said.join(", ")}${peak}.`);
}

function read(at) {
  step = Math.min(unit.steps - 1, Math.max(0, at));
  const inner = canvas.clientWidth - LEFT - RIGHT;
  const place = LEFT + (inner * step) / Math.max(1, unit.steps - 1);
  const cursor = canvas.querySelector(".cursor");
  for (const [name, value] of [["x1", place], ["x2", place], ["visibility", "visible"]]) cursor.setAttribute(name, value);
  const values = panels().flatMap((panel) => panel.lines.map((line) => `${line.name} ${valuesAt(line.values, step)}`));
  readout.textContent = `step ${step}: ${values.join(", ")}`;
}

function pointed(event) {
  const along = (event.clientX - canvas.getBoundingClientRect().left - LEFT) / (canvas.clientWidth - LEFT - RIGHT);
  read(Math.round(along * (unit.steps - 1)));
}

function typed(event) {
  const far = Math.max(1, Math.round(unit.steps / 50));
  const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -far, PageDown: far, Home: -Infinity, End: Infinity }[event.key];
  if (by === undefined) return;
  event.preventDefault();
  read(step + (event.shiftKey ? Math.sign(by) * far : by));
}

// -- stops ------------------------------------------------------------------------------------------------------------

function solo(criterion) {
  choose({ solo: state.solo === criterion ? "" : criterion });
  drawStops();
  drawCurves();
}

function drawStops() {
  const head = ["criterion", "stop step", "PSNR (dB)", "gap (dB)", "averaged output (dB)", "SSIM"];
  const body = unit.rows.map((r) => {
    const cells = [
      r.fallback ? `${r.stop_step} (not stopped)` : r.stop_step,
      db(r.psnr_db), db(r.gap_db), db(r.average_psnr_db), r.ssim === null ? "–" : r.ssim.toFixed(3),
    ];
    const button = made("button", { type: "button", className: "name" }, key(r.criterion), r.criterion);
    button.setAttribute("aria-pressed", state.solo === r.criterion);
    button.addEventListener("click", () => solo(r.criterion));
    return made("tr", {}, made("th", { scope: "row" }, button), ...cells.map((text) => made("td", { className: "number" }, String(text))));
  });
  const failed = unit.failed.map(([name, reason]) =>
    made("tr", {}, made("th", { scope: "row" }, key(name), name), made("td", { colSpan: head.length - 1, className: "failed" }, `failed: ${reason}`)),
  );
  const titles = head.map((text, i) => made("th", { scope: "col", className: i ? "number" : "" }, text));
  const table = made("table", {}, made("thead", {}, made("tr", {}, ...titles)), made("tbody", {}, ...body, ...failed));
  document.getElementById("stops").replaceChildren(table);
}

// -- pictures ---------------------------------------------------------------------------------------------------------

const tiles = document.querySelector("#pictures .tiles");

function drawPictures() {
  const shown = unit.pictures ?? [];
  document.querySelector("#pictures .zoom").hidden = !shown.length;
  document.querySelector("#pictures .none").hidden = Boolean(shown.length);
  tiles.replaceChildren(
    ...shown.map(({ title, note, source, file }) => {
      const image = made("img", { src: unit.sources[source], alt: `${title}, ${note}`, draggable: false });
      image.addEventListener("load", () => look());
      const frame = made("div", { className: "window", tabIndex: 0 }, image);
      const address = `${DATA.units}${encodeURIComponent(unit.id)}/images/${encodeURIComponent(file)}`;
      const whole = made("a", { href: address }, ...(title in DATA.looks ? [key(title)] : []), title);
      return made("figure", {}, frame, made("figcaption", {}, whole, made("br"), note));
    }),
  );
  look();
}

// ---------------------------------------------------------------------------------------------------------------------

const units = select ? [...select.options].map((_, i) => document.getElementById(`unit-${i}`)) : [];
const places = new Map();
let look = null;

function show(i) {
  select.value = i;
  unit = JSON.parse(units[i].textContent);
  step = 0;
  document.getElementById("unit-name").textContent = select.options[i].text;
  drawStops();
  drawCurves();
  drawPictures();
  readout.textContent = "";
}

function open(i) {
  show(i);
  choose({ unit: unit.id });
  drawMap();
}

function follow() {
  if (!readAddress()) return;
  if (select && (!unit || state.unit !== unit.id)) show(places.get(state.unit) ?? 0);
  else if (select) {
    drawStops();
    drawCurves();
  }
  drawMap();
}

if (select) {
  look = magnified(document.getElementById("pictures"));
  units.forEach((element, i) => places.set(element.dataset.unit, i));
  select.addEventListener("change", () => open(Number(select.value)));
  for (const button of document.querySelectorAll(".choice button")) {
    button.addEventListener("click", () => open((Number(select.value) + Number(button.value) + units.length) % units.length));
  }
  canvas.addEventListener("pointermove", pointed);
  canvas.addEventListener("pointerdown", pointed);
  canvas.addEventListener("keydown", typed);
  new ResizeObserver(() => drawCurves()).observe(canvas.parentElement);
  body.addEventListener("click", (event) => {
    const i = places.get(event.target.closest("tr").dataset.unit);
    if (i === undefined) return;
    event.preventDefault();
    open(i);
    document.getElementById("unit-view").scrollIntoView();
  });
}
filters.addEventListener("input", () => {
  choose({ noise: filter("noise").value, picture: filter("picture").value, failed: filter("failed").checked ? "1" : "" });
  drawMap();
});
for (const button of sorters) {
  button.addEventListener("click", () => {
    const column = button.dataset.sort;
    choose({ sort: state.sort === column ? `-${column}` : column });
    drawMap();
  });
}
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  for (const details of folded) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of folded) details.open = false;
});
// go to a section of the page without losing the selection in the address
for (const link of document.querySelectorAll("nav a, .alarm a")) {
  link.addEventListener("click", (event) => {
    if (!location.hash.includes("=")) return;
    event.preventDefault();
    document.querySelector(link.hash).scrollIntoView();
  });
}
addEventListener("hashchange", follow);
if (!readAddress()) state.unit = "";
if (select) show(places.get(state.unit) ?? 0);
drawMap();
if (state.unit && select) document.getElementById("unit-view").scrollIntoView();
