
// Before and after with a common zoom, and on top of each other with a movable edge.

for (const root of document.querySelectorAll(".pair")) {
  const tiles = root.querySelector(".tiles");
  const [under, over] = [".after", ".before"].map((name) => tiles.querySelector(name).cloneNode());
  const frame = Object.assign(document.createElement("div"), { className: "window wipe", tabIndex: 0 });
  const edge = Object.assign(document.createElement("input"), { type: "range", min: 0, max: 100, value: 50, step: 0.5 });
  const caption = document.createElement("figcaption"), figure = document.createElement("figure");
  const wipe = () => frame.style.setProperty("--edge", `${edge.value}%`);
  edge.setAttribute("aria-label", "How much of the noisy picture covers the denoised one");
  edge.addEventListener("input", wipe);
  over.alt = "";
  const cut = Object.assign(document.createElement("div"), { className: "cut" });
  cut.append(over);
  frame.append(under, cut);
  caption.append(edge, "noisy on the left, denoised on the right: move the edge");
  figure.append(frame, caption);
  tiles.prepend(figure);
  wipe();
  const look = magnified(root);
  for (const image of tiles.querySelectorAll("img")) image.addEventListener("load", () => look());
}
