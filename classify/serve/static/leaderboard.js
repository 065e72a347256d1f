// Sorting of the leaderboard's tables by a click, or by Enter, on a heading.

for (const table of document.querySelectorAll("table.sortable")) {
  for (const heading of table.querySelectorAll("th[data-sort]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    button.addEventListener("click", () => sort(table, heading));
  }
}

function sort(table, heading) {
  const falling = heading.getAttribute("aria-sort") !== "descending";
  for (const cell of table.querySelectorAll("th[aria-sort]")) cell.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
  const value = (row) => row.cells[heading.cellIndex].dataset.value;
  const rows = [...table.tBodies[0].rows];
  // Rows without a number come last in both orders.
  rows.sort((a, b) => {
    if (!value(a) || !value(b)) return Number(!value(a)) - Number(!value(b));
    return (falling ? 1 : -1) * (value(b) - value(a));
  });
  table.tBodies[0].append(...rows);
}
