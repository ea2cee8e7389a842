"use strict";

// Before and after under one magnifying glass: all windows of a pair show the same part of the picture.

function pair(root) {
  const tiles = root.querySelector(".tiles"), factor = root.querySelector("output");
  const view = { scale: 1, x: 0.5, y: 0.5 }; // the point of the picture that is in the middle of its window
  let from = null;

  function look(scale, x, y) {
    view.scale = Math.min(32, Math.max(1, scale));
    const edge = 0.5 / view.scale;
    view.x = Math.min(1 - edge, Math.max(edge, x));
    view.y = Math.min(1 - edge, Math.max(edge, y));
    tiles.style.setProperty("--scale", view.scale);
    tiles.style.setProperty("--x", `${100 * (0.5 - view.x)}%`);
    tiles.style.setProperty("--y", `${100 * (0.5 - view.y)}%`);
    tiles.classList.toggle("zoomed", view.scale > 1);
    const image = tiles.querySelector("img"), shown = (image.clientWidth * view.scale) / image.naturalWidth;
    // enlarged, a pixel is a square; reduced, it is averaged with others
    tiles.classList.toggle("pixels", shown >= 1);
    factor.textContent = `${Math.round(100 * shown)} %`;
  }

  tiles.addEventListener("pointerdown", (event) => {
    const frame = event.target.closest(".window");
    if (!frame || view.scale === 1) return;
    frame.setPointerCapture(event.pointerId);
    from = { x: event.clientX, y: event.clientY, box: frame.getBoundingClientRect() };
  });
  tiles.addEventListener("pointermove", (event) => {
    if (!from) return;
    const { x, y, box } = from;
    look(view.scale, view.x - (event.clientX - x) / box.width / view.scale, view.y - (event.clientY - y) / box.height / view.scale);
    Object.assign(from, { x: event.clientX, y: event.clientY });
  });
  for (const end of ["pointerup", "pointercancel"]) tiles.addEventListener(end, () => (from = null));
  tiles.addEventListener("dblclick", (event) => {
    const frame = event.target.closest(".window");
    if (!frame) return;
    const box = frame.getBoundingClientRect();
    const x = view.x + ((event.clientX - box.left) / box.width - 0.5) / view.scale;
    const y = view.y + ((event.clientY - box.top) / box.height - 0.5) / view.scale;
    look(view.scale * 2, x, y);
  });
  tiles.addEventListener("keydown", (event) => {
    const step = 0.1 / view.scale;
    const to = {
      "+": [2, 0, 0], "-": [0.5, 0, 0], ArrowLeft: [1, -step, 0], ArrowRight: [1, step, 0], ArrowUp: [1, 0, -step], ArrowDown: [1, 0, step],
    }[event.key];
    if (!to) return;
    event.preventDefault();
    look(view.scale * to[0], view.x + to[1], view.y + to[2]);
  });
  for (const button of root.querySelectorAll("button")) {
    button.addEventListener("click", () => look(button.value === "0" ? 1 : view.scale * Number(button.value), view.x, view.y));
  }
  new ResizeObserver(() => look(view.scale, view.x, view.y)).observe(tiles);
}

for (const root of document.querySelectorAll(".pair")) pair(root);
