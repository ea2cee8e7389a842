
// The live page: it follows the files of one unit at a time, as the server sends them.

const QUERY = new URLSearchParams(location.search), TOKEN = QUERY.get("token");
const $ = (id) => document.getElementById(id);
const looks = {};
const chart = charted(document.querySelector("#curves svg"), document.querySelector("#curves output"), looks, solo);
const look = magnified($("emerging"));
const [under, over] = [".after", ".before"].map((name) => document.querySelector(`#emerging ${name}`));
const film = $("film"), edge = $("edge");
let state = null, chosen = "", alone = "", source = null;
let head = null, now = null, curves = {}, frames = [], drawn = null, told = {};

function address(path, given = {}) {
  return `${path}?${new URLSearchParams({ token: TOKEN, ...given })}`;
}

function duration(seconds) {
  if (seconds < 100) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")} min`;
  return seconds < 48 * 3600 ? `${(seconds / 3600).toFixed(1)} h` : `${Math.round(seconds / 86400)} days`;
}

function say(text) {
  $("said").textContent = text;
}

// -- all units --------------------------------------------------------------------------------------------------------

const cells = new Map(); // id -> its button

let seeds = 0; // how many different ones there are

function wordsOf(unit) {
  const name = [unit.picture, unit.noise, seeds > 1 && `seed ${unit.seed}`].filter(Boolean).join(", ");
  const at = `step ${unit.step} of ${unit.iterations}`;
  const gap = unit.gaps[$("by").value];
  const says = {
    missing: "not started", running: at, paused: `paused at ${at}`, failed: `failed: ${unit.reason}`,
    done: gap === undefined || gap === null ? "done" : `done, gap ${gap.toFixed(2)} dB`,
  };
  return `${name}: ${says[unit.status]}`;
}

// draws the given units, or all where that does not suffice
function drawGrid(given) {
  const units = state.units, grid = $("grid");
  let changed = given ?? units;
  $("units").hidden = units.length < 2;
  if (units.some((unit) => !cells.has(unit.unit))) {
    cells.clear();
    seeds = new Set(units.map((unit) => unit.seed)).size;
    changed = units;
    const groups = new Map();
    for (const unit of units) groups.set(unit.noise, [...(groups.get(unit.noise) ?? []), unit]);
    grid.replaceChildren(...[...groups].map(([noise, group], i) => {
      const buttons = group.map((unit) => {
        const button = made("button", { type: "button", tabIndex: -1 });
        button.dataset.unit = unit.unit;
        button.setAttribute("aria-pressed", false);
        cells.set(unit.unit, button);
        return button;
      });
      const name = made("span", { id: `level-${i}`, className: "level" }, noise);
      const row = made("div", { className: "row" }, ...(noise ? [name] : []), made("div", { className: "cells" }, ...buttons));
      row.setAttribute("role", "group");
      row.setAttribute(...(noise ? ["aria-labelledby", name.id] : ["aria-label", "Units"]));
      return row;
    }));
  }
  for (const unit of changed) {
    const button = cells.get(unit.unit), gap = unit.gaps[$("by").value], words = wordsOf(unit);
    button.dataset.status = unit.status;
    button.title = words;
    button.setAttribute("aria-label", words);
    const heat = gap === undefined || gap === null ? 0 : Math.min(1, gap / state.gap_scale_db);
    if (unit.status === "done") button.style.setProperty("--heat", `${Math.round(100 * heat)}%`);
    else if (unit.step) button.style.setProperty("--ring", `${(100 * unit.step) / unit.iterations}%`);
  }
  for (const button of grid.querySelectorAll("[aria-pressed=true]")) button.setAttribute("aria-pressed", false);
  cells.get(chosen)?.setAttribute("aria-pressed", true);
  const first = cells.get(chosen) ?? cells.get(units[0]?.unit);
  if (first && !grid.contains(document.activeElement)) {
    for (const button of grid.querySelectorAll('[tabindex="0"]')) button.tabIndex = -1;
    first.tabIndex = 0;
  }
}

// one stop of the tab key; the arrows move between the units
$("grid").addEventListener("keydown", (event) => {
  const rows = [...document.querySelectorAll("#grid .cells")].map((row) => [...row.children]);
  const y = rows.findIndex((row) => row.includes(event.target)), x = rows[y]?.indexOf(event.target);
  const by = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -Infinity], End: [0, Infinity] }[event.key];
  if (y < 0 || !by) return;
  event.preventDefault();
  const row = rows[Math.min(rows.length - 1, Math.max(0, y + by[0]))];
  const next = row[Math.min(row.length - 1, Math.max(0, x + by[1]))];
  event.target.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
});

$("grid").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  $("follow").checked = false;
  choose(button.dataset.unit);
});

$("by").addEventListener("change", () => drawGrid());
$("follow").addEventListener("change", follow);

function drawState(changed, scale) {
  const { units, done, failed, left } = state, n = units.length;
  const parts = [];
  const speed = state.steps_per_second && `${Number(state.steps_per_second.toPrecision(3))} steps/s`;
  const rest = state.seconds_left !== null && `at most ${duration(state.seconds_left)} left`;
  if (n > 1) parts.push(`${done} of ${n} ${state.kind === "run" ? "units" : "pictures"} done`);
  if (failed) parts.push(`${failed} failed`);
  if (state.status === "running" && !state.running && state.paused) parts.push("paused; esbench ctl resumes it");
  else if (state.status === "running") parts.push(...[speed, rest].filter(Boolean));
  else if (left) parts.push("no process is running it; esbench resume continues it");
  const text = parts.join(", ");
  $("status").textContent = text ? `${text}.` : "";
  document.title = `${n > 1 ? `${done}/${n}` : now ? `${Math.floor((100 * now.step) / now.iterations)} %` : "…"} ${state.name} – esbench`;

  const by = $("by").value, names = [...new Set(units.flatMap((unit) => Object.keys(unit.gaps)))];
  $("by-label").hidden = !names.length;
  if (names.join() !== [...$("by").options].map((option) => option.value).join()) {
    const before = $("by").value;
    $("by").replaceChildren(...names.map((name) => made("option", { value: name }, name)));
    if (names.includes(before)) $("by").value = before;
  }
  document.querySelector("#units .legend").textContent = names.length ? `A deeper orange is a larger gap, up to ${state.gap_scale_db.toFixed(2)} dB.` : "";

  const lost = new Map(); // what failed and why -> the units
  const note = (what, unit) => {
    if (!lost.has(what)) lost.set(what, []);
    lost.get(what).push(unit.unit);
  };
  for (const unit of units) {
    if (unit.status === "failed") note(unit.reason, unit);
    for (const [criterion, reason] of Object.entries(unit.failures)) note(`${criterion}: ${reason}`, unit);
  }
  const texts = [...lost].map(([what, [first, ...others]]) => (others.length ? `${what} (${others.length + 1} units, the first is ${first})` : `${first}: ${what}`));
  $("failures").hidden = !texts.length;
  const list = $("failures").querySelector("ul");
  if ([...list.children].map((item) => item.textContent).join("\n") !== texts.join("\n")) {
    list.replaceChildren(...texts.map((text) => made("li", { className: "failed" }, text)));
  }
  drawGrid(scale === state.gap_scale_db && by === $("by").value ? changed : undefined);
  follow();
}

// -- one unit ---------------------------------------------------------------------------------------------------------

function follow() {
  const at = (status) => state.units.filter((unit) => unit.status === status).map((unit) => unit.unit);
  const running = at("running");
  if ((!chosen || $("follow").checked) && running.length && !running.includes(chosen)) choose(running[0]);
  else if (!chosen) choose([...at("paused"), ...at("done"), ...at("failed"), ""][0]);
}

function choose(unit) {
  if (!unit || unit === chosen) return;
  chosen = unit;
  listen();
  drawGrid([]);
}

function clear() {
  [head, now, curves, frames, drawn, told] = [null, null, { psnr: [], average_psnr: [], values: {} }, [], null, {}];
  film.max = film.value = 0;
}

function extend(lines) {
  const live = Number(film.value) >= frames.length;
  for (const line of lines) {
    if (line.picture !== undefined) frames.push(line);
    else {
      for (const name of ["psnr", "average_psnr"]) curves[name].push(...(line[name] ?? []));
      for (const [name, values] of Object.entries(line.values)) (curves.values[name] ??= []).push(...values);
    }
  }
  film.max = frames.length; // the last place is the newest picture
  if (live) film.value = frames.length;
}

// the visible ranges, as in the report: the 12 dB below the peak; a criterion without its first steps
function psnrRange(lists) {
  const known = lists.map((values) => values.filter((v) => v !== null));
  const peak = Math.max(...known.flat());
  if (!Number.isFinite(peak)) return [0, 1];
  const low = Math.max(Math.min(...known.map((values) => Math.min(...values.slice(Math.floor(values.length / 50))))), peak - 12);
  const margin = 0.05 * (peak - low) || 1;
  return [low - margin, peak + margin];
}

function valueRange(values) {
  const sorted = values.filter((v) => v !== null).sort((a, b) => a - b);
  const low = sorted[0], high = sorted[Math.floor(0.9 * (sorted.length - 1))];
  const margin = 0.1 * (high - low) || Math.abs(low) * 0.01 || 1;
  return [low - margin, high + margin];
}

// the curves so far, in the form of the report
function shape() {
  const tail = now.tail ?? { psnr: [], average_psnr: [], values: {} };
  const joined = (name) => [...curves[name], ...(tail[name] ?? [])];
  const panels = [], psnr = joined("psnr"), average = joined("average_psnr");
  if (psnr.length) {
    const lines = [{ name: "averaged output", values: average }, { name: "output", values: psnr }];
    panels.push({ name: "PSNR (dB)", range: psnrRange([psnr, average]), lines });
  }
  const rules = Object.entries(now.rules).map(([criterion, rule]) => ({ criterion, patience: head.patience[criterion], ...rule }));
  for (const { criterion } of rules) {
    const values = [...(curves.values[criterion] ?? []), ...(tail.values[criterion] ?? [])];
    if (values.some((v) => v !== null)) panels.push({ name: criterion, range: valueRange(values), lines: [{ name: criterion, values }] });
  }
  const rows = rules.filter((rule) => rule.stop_step !== null).map(({ criterion, stop_step }) => ({ criterion, stop_step, fallback: false }));
  // the axis grows by halves of all steps, so that the windows are always on it
  const reach = Math.max(1.05 * now.step, ...rules.map((rule) => (rule.stop_step === null && rule.best_step !== null ? rule.best_step + rule.patience : 0)));
  let end = now.iterations;
  while (end / 2 >= reach) end /= 2;
  const unit = { id: head.name, steps: now.step, stretch: head.stretch, end: Math.ceil(end), panels, rows, rules, peak: null };
  const best = psnr.reduce((a, v, i) => (v !== null && (a < 0 || v > psnr[a]) ? i : a), -1);
  if (best >= 0) unit.peak = [stepOf(unit, best), psnr[best]];
  return unit;
}

function solo(criterion) {
  alone = alone === criterion ? "" : criterion;
  draw();
}

const lines = new Map(); // criterion -> the cells of its line

function drawRules(rules) {
  if (rules.map((rule) => rule.criterion).join() !== [...lines.keys()].join()) {
    lines.clear();
    const head = ["criterion", "best step", "value", "patience"].map((text, i) => made("th", { scope: "col", className: i % 3 ? "number" : "" }, text));
    const body = rules.map(({ criterion }) => {
      const button = made("button", { type: "button", className: "name" }, ...(looks[criterion] ? [key(looks[criterion])] : []), criterion);
      button.addEventListener("click", () => solo(criterion));
      const [best, value] = [1, 2].map(() => made("td", { className: "number" }));
      const bar = made("progress"), text = made("span"), patience = made("td", {}, bar, text);
      bar.setAttribute("aria-label", `Patience of ${criterion}`);
      lines.set(criterion, { button, best, value, bar, text, patience });
      return made("tr", {}, made("th", { scope: "row" }, button), best, value, patience);
    });
    $("rules").replaceChildren(made("table", {}, made("thead", {}, made("tr", {}, ...head)), made("tbody", {}, ...body)));
  }
  for (const rule of rules) {
    const line = lines.get(rule.criterion);
    const waited = rule.best_step === null ? 0 : Math.min(rule.patience, rule.step - rule.best_step);
    line.button.setAttribute("aria-pressed", alone === rule.criterion);
    line.best.textContent = rule.best_step ?? "–";
    line.value.textContent = number(rule.best_value);
    line.bar.hidden = rule.said || rule.failed || rule.stop_step !== null;
    if (!line.bar.hidden) [line.bar.max, line.bar.value] = [Math.max(1, rule.patience), waited];
    line.patience.classList.toggle("failed", Boolean(rule.failed));
    line.text.textContent = rule.said ? rule.said
      : rule.failed ? `failed: ${rule.failed}`
      : rule.stop_step !== null ? `stopped: ${rule.patience} steps without a better value`
      : rule.best_step === null ? "no value yet" : `${waited} of ${rule.patience} steps without a better value`;
    if (rule.said) continue; // it is done
    const decided = rule.stop_step !== null;
    if (decided && told[rule.criterion] === false) say(`${rule.criterion} stopped at step ${rule.stop_step}.`);
    told[rule.criterion] = decided;
  }
}

function drawPicture() {
  const place = Number(film.value), frame = frames[place];
  const at = frame ? frame.picture : drawn ? drawn.peak?.[0] ?? null : now?.shown ?? null;
  const name = frame ? "" : drawn ? "peak: " : "newest: ";
  const text = at === null ? "" : `${name}step ${at}`;
  $("film-says").textContent = text;
  film.setAttribute("aria-valuetext", text);
  under.alt = `Output, ${text}`;
  over.alt = "Observation";
  under.classList.toggle("small", Boolean(frame));
  const wanted = frame ? small(frame)
    : drawn ? address(`units/${encodeURIComponent(chosen)}/images/${drawn.peak ? "peak" : "last"}.png`)
    : address("api/picture", { unit: chosen, step: at });
  if (under.dataset.wanted === wanted) return;
  under.dataset.wanted = wanted;
  const next = new Image();
  next.src = wanted;
  // shown once it is loaded, so that nothing flickers
  next.decode().then(() => { if (under.dataset.wanted === wanted) under.src = wanted; }, () => {});
}

function draw() {
  if (!drawn && !(head && now)) return;
  $("sides").hidden = false;
  const unit = drawn ?? shape();
  const known = state.units.find((each) => each.unit === chosen);
  const name = known ? [known.picture, known.noise].filter(Boolean).join(", ") : chosen;
  const part = head?.name.match(/, (\d+ of \d+)$/); // of the optimisations of a large picture
  const where = drawn ? `done, ${drawn.steps} steps` : `${now.paused || known?.status === "paused" ? "paused at " : ""}step ${now.step} of ${now.iterations}`;
  $("h-unit").textContent = `${name}${part ? `, optimisation ${part[1]}` : ""}: ${where}`;
  chart.show(unit, alone);
  drawRules(unit.rules ?? unit.rows.map(({ criterion, stop_step, fallback, gap_db }) => {
    const gap = gap_db === null ? "" : `, gap ${db(gap_db)} dB`;
    return { criterion, best_step: fallback ? null : stop_step, best_value: null, said: `${fallback ? "not stopped" : "stopped"}${gap}` };
  }));
  drawPicture();
}

function listen() {
  source?.close();
  clear();
  source = new EventSource(address("api/events", chosen ? { unit: chosen } : {}));
  const on = (name, take) => source.addEventListener(name, (event) => take(JSON.parse(event.data)));
  on("looks", (given) => Object.assign(looks, given));
  on("head", (given) => {
    clear();
    head = given;
    over.src = `data:image/jpeg;base64,${head.observation}`;
  });
  on("lines", extend);
  on("now", (given) => {
    now = given;
    if (state) draw();
  });
  on("ended", (given) => {
    drawn = given;
    if (state) draw();
  });
  on("state", (given) => {
    const units = new Map(state?.units.map((unit) => [unit.unit, unit])), scale = state?.gap_scale_db;
    for (const unit of given.units) units.set(unit.unit, unit); // those that have changed
    state = { ...given, units: [...units.values()] };
    if (state.status === "done") {
      source.close();
      location.reload(); // the final page
      return;
    }
    drawState(given.units, scale);
    draw();
  });
  source.addEventListener("error", () => {
    $("status").textContent = "The connection to esbench is lost. The page shows the last state that was received.";
  });
}

edge.addEventListener("input", () => document.querySelector("#emerging .wipe").style.setProperty("--edge", `${edge.value}%`));
film.addEventListener("input", drawPicture);
for (const image of [under, over]) image.addEventListener("load", () => look());
edge.dispatchEvent(new Event("input"));
$("stop")?.addEventListener("click", async () => {
  $("stop").disabled = true;
  film.value = film.max;
  drawPicture();
  const answer = await fetch(address("api/stop"), { method: "POST" }).catch(() => null);
  $("stop-says").textContent = answer?.ok ? "Stopping after this step …" : "It could not be stopped: it has ended or cannot be reached.";
  say($("stop-says").textContent);
});
listen();
