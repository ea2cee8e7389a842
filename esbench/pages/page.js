
// The map of all units, and the curves and pictures of one at a time, from the JSON in this file. The address keeps the
// selection.

const DATA = JSON.parse(document.getElementById("data")?.textContent ?? "{}");
const select = document.getElementById("unit");
let unit = null;

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

// -- stops ------------------------------------------------------------------------------------------------------------

function solo(criterion) {
  choose({ solo: state.solo === criterion ? "" : criterion });
  drawStops();
  chart.show(unit, state.solo);
}

function drawStops() {
  const head = ["criterion", "stop step", "PSNR (dB)", "gap (dB)", "averaged output (dB)", "SSIM"];
  const body = unit.rows.map((r) => {
    const cells = [
      r.fallback ? `${r.stop_step} (not stopped)` : r.stop_step,
      db(r.psnr_db), db(r.gap_db), db(r.average_psnr_db), r.ssim === null ? "–" : r.ssim.toFixed(3),
    ];
    const button = made("button", { type: "button", className: "name" }, key(DATA.looks[r.criterion]), r.criterion);
    button.setAttribute("aria-pressed", state.solo === r.criterion);
    button.addEventListener("click", () => solo(r.criterion));
    return made("tr", {}, made("th", { scope: "row" }, button), ...cells.map((text) => made("td", { className: "number" }, String(text))));
  });
  const failed = unit.failed.map(([name, reason]) =>
    made("tr", {}, made("th", { scope: "row" }, key(DATA.looks[name]), name), made("td", { colSpan: head.length - 1, className: "failed" }, `failed: ${reason}`)),
  );
  const titles = head.map((text, i) => made("th", { scope: "col", className: i ? "number" : "" }, text));
  const table = made("table", {}, made("thead", {}, made("tr", {}, ...titles)), made("tbody", {}, ...body, ...failed));
  document.getElementById("stops").replaceChildren(table);
}

// -- pictures ---------------------------------------------------------------------------------------------------------

const tiles = document.querySelector("#pictures .tiles");

// the outputs of some steps, one at a time
function scrubbed(film) {
  const image = made("img", { className: "small", draggable: false }), says = made("span");
  const bar = made("input", { type: "range", min: 0, max: film.length - 1, value: film.length - 1 });
  const draw = () => {
    const text = `step ${film[bar.value].picture}`;
    [says.textContent, image.alt, image.src] = [text, `output, ${text}`, small(film[bar.value])];
    bar.setAttribute("aria-valuetext", text);
  };
  bar.addEventListener("input", draw);
  draw();
  const label = made("label", {}, made("b", {}, "outputs over the steps"), made("br"), says, bar);
  return made("figure", {}, made("div", { className: "window", tabIndex: 0 }, image), made("figcaption", {}, label));
}

function drawPictures() {
  const shown = unit.pictures ?? [], film = unit.film ?? [];
  document.querySelector("#pictures .zoom").hidden = !shown.length;
  document.querySelector("#pictures .none").hidden = Boolean(shown.length);
  tiles.replaceChildren(
    ...shown.map(({ title, note, source, file }) => {
      const image = made("img", { src: unit.sources[source], alt: `${title}, ${note}`, draggable: false });
      image.addEventListener("load", () => look());
      const frame = made("div", { className: "window", tabIndex: 0 }, image);
      const address = `${DATA.units}${encodeURIComponent(unit.id)}/images/${encodeURIComponent(file)}${DATA.query}`;
      const whole = made("a", { href: address }, ...(title in DATA.looks ? [key(DATA.looks[title])] : []), title);
      return made("figure", {}, frame, made("figcaption", {}, whole, made("br"), note));
    }),
    ...(film.length ? [scrubbed(film)] : []),
  );
  look();
}

// ---------------------------------------------------------------------------------------------------------------------

const units = select ? [...select.options].map((_, i) => document.getElementById(`unit-${i}`)) : [];
const places = new Map();
let look = null, chart = null;

function show(i) {
  select.value = i;
  unit = JSON.parse(units[i].textContent);
  document.getElementById("unit-name").textContent = select.options[i].text;
  drawStops();
  chart.show(unit, state.solo);
  drawPictures();
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
    chart.show(unit, state.solo);
  }
  drawMap();
}

if (select) {
  look = magnified(document.getElementById("pictures"));
  chart = charted(document.querySelector("#curves svg"), document.querySelector("#curves output"), DATA.looks, solo);
  units.forEach((element, i) => places.set(element.dataset.unit, i));
  select.addEventListener("change", () => open(Number(select.value)));
  for (const button of document.querySelectorAll(".choice button")) {
    button.addEventListener("click", () => open((Number(select.value) + Number(button.value) + units.length) % units.length));
  }
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
// go to a section of the page and keep the selection in the address
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
