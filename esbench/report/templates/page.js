"use strict";

// The curves and the pictures of one unit at a time, from the JSON in this file. Text is only ever set as text.

const canvas = document.querySelector("#curves svg");
const readout = document.querySelector("#curves output");
const select = document.getElementById("unit");
const LEFT = 60, RIGHT = 10, TITLE = 20, HEIGHTS = [230, 84];
let unit = null;

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

function colour(i) {
  return i === undefined ? "currentColor" : `var(--c${i % 10})`;
}

// -- curves -----------------------------------------------------------------------------------------------------------

function ticks([low, high], most) {
  const raw = (high - low) / most, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= raw);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.max(0, Math.floor(high / step) - first + 1) }, (_, i) => (first + i) * step);
}

function stepOf(i) {
  // of a stretch, the one value is drawn at its first step and the other at its last
  return unit.stretch === 1 ? i : Math.min(unit.steps - 1, Math.floor(i / 2) * unit.stretch + (i % 2) * (unit.stretch - 1));
}

function valuesAt(values, step) {
  if (unit.stretch === 1) return number(values[step]);
  const i = 2 * Math.floor(step / unit.stretch);
  const [a, b] = values.slice(i, i + 2).map(number);
  return a === b ? a : `${a} to ${b}`;
}

function drawCurves() {
  const width = Math.max(280, canvas.parentElement.clientWidth), inner = width - LEFT - RIGHT;
  const last = Math.max(1, unit.steps - 1);
  const x = (step) => (inner * step) / last;
  canvas.replaceChildren();
  let top = 0;
  unit.panels.forEach((panel, k) => {
    const height = HEIGHTS[Math.min(k, 1)], [low, high] = panel.range;
    const y = (value) => height * (1 - (value - low) / (high - low));
    const group = put(canvas, "g", { transform: `translate(${LEFT} ${top + TITLE})` });
    put(group, "text", { class: "name", x: 0, y: -6 }, panel.name);
    for (const tick of ticks(panel.range, k ? 2 : 5)) {
      put(group, "line", { class: "grid", x1: 0, x2: inner, y1: y(tick), y2: y(tick) });
      put(group, "text", { x: -6, y: y(tick) + 4, "text-anchor": "end" }, number(tick));
    }
    const inside = put(group, "svg", { width: inner, height, style: "overflow: hidden" });
    panel.lines.forEach((line, i) => {
      const points = line.values.map((v, j) => (v === null ? "" : `${x(stepOf(j)).toFixed(1)},${y(v).toFixed(1)}`));
      const name = k ? "line" : ["line thin", "line thick"][i];
      put(inside, "polyline", { class: name, points: points.filter(Boolean).join(" "), stroke: colour(panel.colour) });
    });
    for (const row of unit.rows) {
      if (row.fallback || (k && row.criterion !== panel.name)) continue;
      put(inside, "line", { class: "stop", x1: x(row.stop_step), x2: x(row.stop_step), y1: 0, y2: height, stroke: colour(row.colour) });
    }
    if (!k && unit.peak) put(inside, "circle", { cx: x(unit.peak[0]), cy: y(unit.peak[1]), r: 4, fill: "var(--ink)" });
    put(group, "rect", { class: "frame", width: inner, height });
    top += height + TITLE + 6;
  });
  for (const tick of ticks([0, last], Math.max(3, inner / 110))) {
    put(canvas, "text", { x: LEFT + x(tick), y: top + 12, "text-anchor": "middle" }, number(tick));
  }
  put(canvas, "text", { x: width - RIGHT, y: top + 30, "text-anchor": "end" }, "step");
  put(canvas, "line", { class: "cursor", y1: TITLE, y2: top - 6, visibility: "hidden" });
  canvas.setAttribute("viewBox", `0 0 ${width} ${top + 36}`);
  const stops = unit.rows.map((r) => (r.fallback ? `${r.criterion} never stopped` : `${r.criterion} stopped at step ${r.stop_step}`));
  const peak = unit.peak ? `; the peak is at step ${unit.peak[0]}, ${db(unit.peak[1])} dB` : "";
  canvas.setAttribute("aria-label", `PSNR and criteria over ${unit.steps} steps: ${stops.join(", ")}${peak}.`);
}

function readCurves(event) {
  const inner = canvas.clientWidth - LEFT - RIGHT;
  const along = (event.clientX - canvas.getBoundingClientRect().left - LEFT) / inner;
  const step = Math.min(unit.steps - 1, Math.max(0, Math.round(along * (unit.steps - 1))));
  const at = LEFT + (inner * step) / Math.max(1, unit.steps - 1);
  const cursor = canvas.querySelector(".cursor");
  for (const [key, value] of [["x1", at], ["x2", at], ["visibility", "visible"]]) cursor.setAttribute(key, value);
  const lines = unit.panels.flatMap((panel) => panel.lines.map((line) => `${line.name} ${valuesAt(line.values, step)}`));
  readout.textContent = `step ${step}: ${lines.join(", ")}`;
}

// -- stops ------------------------------------------------------------------------------------------------------------

function drawStops() {
  const head = ["criterion", "stop step", "PSNR (dB)", "gap (dB)", "averaged output (dB)", "SSIM"];
  const rows = unit.rows.map((r) => [
    r.fallback ? `${r.stop_step} (never stopped)` : r.stop_step,
    db(r.psnr_db), db(r.gap_db), db(r.average_psnr_db), r.ssim === null ? "–" : r.ssim.toFixed(3),
  ]);
  const lines = rows.map((cells, i) => {
    const key = made("span", { className: "key" });
    key.style.background = colour(unit.rows[i].colour);
    const name = made("th", { scope: "row" }, key, unit.rows[i].criterion);
    return made("tr", {}, name, ...cells.map((text) => made("td", { className: "number" }, String(text))));
  });
  const titles = head.map((text, i) => made("th", { scope: "col", className: i ? "number" : "" }, text));
  const table = made("table", {}, made("thead", {}, made("tr", {}, ...titles)), made("tbody", {}, ...lines));
  document.getElementById("stops").replaceChildren(table);
}

// -- pictures ---------------------------------------------------------------------------------------------------------

const tiles = document.querySelector("#pictures .tiles");
const factor = document.querySelector("#pictures output");
const view = { scale: 1, x: 0.5, y: 0.5 }; // the point of the picture that is in the middle of its window

function look(scale, x = view.x, y = view.y) {
  view.scale = Math.min(32, Math.max(1, scale));
  const edge = 0.5 / view.scale;
  view.x = Math.min(1 - edge, Math.max(edge, x));
  view.y = Math.min(1 - edge, Math.max(edge, y));
  tiles.style.setProperty("--scale", view.scale);
  tiles.style.setProperty("--x", `${100 * (0.5 - view.x)}%`);
  tiles.style.setProperty("--y", `${100 * (0.5 - view.y)}%`);
  tiles.classList.toggle("zoomed", view.scale > 1);
  const first = tiles.querySelector("img");
  // enlarged, a pixel is a square; reduced, it is averaged with others
  if (first) tiles.classList.toggle("pixels", first.clientWidth * view.scale >= first.naturalWidth);
  factor.textContent = `${number(view.scale)}x`;
}

function drawPictures() {
  const shown = unit.pictures ?? [];
  document.querySelector("#pictures .zoom").hidden = !shown.length;
  document.querySelector("#pictures .none").hidden = Boolean(shown.length);
  tiles.replaceChildren(
    ...shown.map(({ title, note, source }) => {
      const image = made("img", { src: unit.sources[source], alt: `${title}, ${note}`, draggable: false });
      image.addEventListener("load", () => look(view.scale));
      const frame = made("div", { className: "window", tabIndex: 0 }, image);
      return made("figure", {}, frame, made("figcaption", {}, made("b", {}, title), made("br"), note));
    }),
  );
  look(view.scale);
}

// where in the picture an event is: a window shows 1 / scale of it
function pointed(event, frame) {
  const box = frame.getBoundingClientRect();
  return [
    view.x + ((event.clientX - box.left) / box.width - 0.5) / view.scale,
    view.y + ((event.clientY - box.top) / box.height - 0.5) / view.scale,
  ];
}

// what was under the pointer stays under it
function zoomAt(event, frame, by) {
  const [x, y] = pointed(event, frame), scale = Math.min(32, Math.max(1, view.scale * by));
  look(scale, x + ((view.x - x) * view.scale) / scale, y + ((view.y - y) * view.scale) / scale);
}

const pointers = new Map();

function pressed(event) {
  const frame = event.target.closest(".window");
  if (!frame) return;
  pointers.set(event.pointerId, { frame, x: event.clientX, y: event.clientY });
  if (view.scale > 1) frame.setPointerCapture(event.pointerId);
}

function moved(event) {
  const from = pointers.get(event.pointerId);
  if (!from) return;
  const others = [...pointers.values()].filter((p) => p !== from);
  if (others.length) {
    const apart = (p) => Math.hypot(p.x - others[0].x, p.y - others[0].y) || 1;
    look((view.scale * apart({ x: event.clientX, y: event.clientY })) / apart(from));
  } else if (view.scale > 1) {
    const box = from.frame.getBoundingClientRect();
    look(view.scale, view.x - (event.clientX - from.x) / box.width / view.scale, view.y - (event.clientY - from.y) / box.height / view.scale);
  }
  Object.assign(from, { x: event.clientX, y: event.clientY });
}

function released(event) {
  pointers.delete(event.pointerId);
}

function typed(event) {
  const step = 0.1 / view.scale;
  const keys = {
    "+": () => look(view.scale * 2), "=": () => look(view.scale * 2), "-": () => look(view.scale / 2), 0: () => look(1),
    ArrowLeft: () => look(view.scale, view.x - step), ArrowRight: () => look(view.scale, view.x + step),
    ArrowUp: () => look(view.scale, view.x, view.y - step), ArrowDown: () => look(view.scale, view.x, view.y + step),
  };
  if (!(event.key in keys) || (view.scale === 1 && event.key.startsWith("Arrow"))) return;
  event.preventDefault();
  keys[event.key]();
}

// ---------------------------------------------------------------------------------------------------------------------

function show() {
  unit = JSON.parse(document.getElementById(`unit-${select.value}`).textContent);
  drawStops();
  drawCurves();
  drawPictures();
  readout.textContent = "";
}

if (select) {
  select.addEventListener("change", show);
  canvas.addEventListener("pointermove", readCurves);
  canvas.addEventListener("pointerdown", readCurves);
  tiles.addEventListener("pointerdown", pressed);
  tiles.addEventListener("pointermove", moved);
  for (const end of ["pointerup", "pointercancel"]) tiles.addEventListener(end, released);
  tiles.addEventListener("keydown", typed);
  tiles.addEventListener("dblclick", (event) => {
    const frame = event.target.closest(".window");
    if (frame) zoomAt(event, frame, event.shiftKey ? 0.5 : 2);
  });
  tiles.addEventListener("wheel", (event) => {
    const frame = event.target.closest(".window");
    if (!frame || !(event.ctrlKey || event.metaKey || view.scale > 1)) return; // else the page is scrolled
    event.preventDefault();
    zoomAt(event, frame, 2 ** (-event.deltaY / 300));
  }, { passive: false });
  for (const button of document.querySelectorAll(".zoom button")) {
    button.addEventListener("click", () => look(button.value === "0" ? 1 : view.scale * Number(button.value)));
  }
  new ResizeObserver(() => { drawCurves(); look(view.scale); }).observe(canvas.parentElement);
  show();
}
