"use strict";

// Pictures with a common zoom: all windows of a root show the same part of their picture.

function magnified(root) {
  const tiles = root.querySelector(".tiles"), factor = root.querySelector(".zoom output");
  const view = { scale: 1, x: 0.5, y: 0.5 }; // the point of the picture in the middle of its window
  const pointers = new Map();

  function look(scale = view.scale, x = view.x, y = view.y) {
    view.scale = Math.min(32, Math.max(1, scale));
    const edge = 0.5 / view.scale;
    view.x = Math.min(1 - edge, Math.max(edge, x));
    view.y = Math.min(1 - edge, Math.max(edge, y));
    tiles.style.setProperty("--scale", view.scale);
    tiles.style.setProperty("--x", `${100 * (0.5 - view.x)}%`);
    tiles.style.setProperty("--y", `${100 * (0.5 - view.y)}%`);
    tiles.classList.toggle("zoomed", view.scale > 1);
    const first = tiles.querySelector("img"), width = first ? first.naturalWidth : 0;
    const shown = width ? (first.clientWidth * view.scale) / width : view.scale;
    // enlarged, a pixel is a square; reduced, it is averaged with others
    tiles.classList.toggle("pixels", shown >= 1);
    factor.textContent = `${Math.round(100 * shown)} %`;
  }

  // keep the point under the pointer
  function zoomAt(event, frame, by) {
    const box = frame.getBoundingClientRect();
    const x = view.x + ((event.clientX - box.left) / box.width - 0.5) / view.scale;
    const y = view.y + ((event.clientY - box.top) / box.height - 0.5) / view.scale;
    const scale = Math.min(32, Math.max(1, view.scale * by));
    look(scale, x + ((view.x - x) * view.scale) / scale, y + ((view.y - y) * view.scale) / scale);
  }

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
      const x = (event.clientX - from.x) / box.width, y = (event.clientY - from.y) / box.height;
      look(view.scale, view.x - x / view.scale, view.y - y / view.scale);
    }
    Object.assign(from, { x: event.clientX, y: event.clientY });
  }

  function typed(event) {
    const step = 0.1 / view.scale;
    const keys = {
      "+": () => look(view.scale * 2), "=": () => look(view.scale * 2), "-": () => look(view.scale / 2), 0: () => look(1),
      ArrowLeft: () => look(view.scale, view.x - step), ArrowRight: () => look(view.scale, view.x + step),
      ArrowUp: () => look(view.scale, view.x, view.y - step), ArrowDown: () => look(view.scale, view.x, view.y + step),
    };
    if (!event.target.closest(".window") || !(event.key in keys)) return;
    if (view.scale === 1 && event.key.startsWith("Arrow")) return; // the page is scrolled
    event.preventDefault();
    keys[event.key]();
  }

  tiles.addEventListener("pointerdown", pressed);
  tiles.addEventListener("pointermove", moved);
  for (const end of ["pointerup", "pointercancel"]) tiles.addEventListener(end, (event) => pointers.delete(event.pointerId));
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
  for (const button of root.querySelectorAll(".zoom button[value]")) {
    button.addEventListener("click", () => look(button.value === "0" ? 1 : view.scale * Number(button.value)));
  }
  new ResizeObserver(() => look()).observe(tiles);
  return look;
}

// the address of a small picture of an earlier output
function small(frame) {
  return `data:image/webp;base64,${frame.webp}`;
}
