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
  // The first click shows the best rows first, the second one turns the order round.
  const opposite = { ascending: "descending", descending: "ascending" };
  const order = opposite[heading.getAttribute("aria-sort")] ?? heading.dataset.sort;
  const falling = order === "descending";
  for (const cell of table.querySelectorAll("th[aria-sort]")) cell.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", order);
  const value = (row) => row.cells[heading.cellIndex].dataset.value;
  const rows = [...table.tBodies[0].rows];
  // Rows without a number come last in both orders.
  rows.sort((a, b) => {
    if (!value(a) || !value(b)) return Number(!value(a)) - Number(!value(b));
    return (falling ? 1 : -1) * (value(b) - value(a));
  });
  table.tBodies[0].append(...rows);
}
