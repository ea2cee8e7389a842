
// One table per board: that of the chosen dataset and noise level. The address keeps the choice.

const selects = [...document.querySelectorAll(".filters select")];
const chosen = (name) => selects.find((select) => select.name === name)?.value ?? "";

function draw() {
  for (const section of document.querySelectorAll("section:has(.board)")) {
    const tables = [...section.querySelectorAll(".board")];
    const all = (name) => tables.every((table) => !table.dataset[name]); // this board has only one of them
    const fits = (table, name) => all(name) || table.dataset[name] === chosen(name);
    for (const table of tables) table.hidden = !(fits(table, "dataset") && fits(table, "noise"));
    section.querySelector(".none").hidden = tables.some((table) => !table.hidden);
  }
}

const given = new URLSearchParams(location.hash.slice(1));
for (const select of selects) {
  if ([...select.options].some((option) => option.value === given.get(select.name))) select.value = given.get(select.name);
  select.addEventListener("change", () => {
    const choice = selects.filter((each) => each.value).map((each) => [each.name, each.value]);
    history.replaceState(null, "", `#${new URLSearchParams(choice)}`);
    draw();
  });
}
draw();
