"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const number = (cell) => parseFloat(cell.replace(/,/g, ""));
  table.querySelectorAll("th").forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const before = heading.getAttribute("aria-sort");
      // The first click puts the largest number or the first word at the top.
      const numeric = heading.classList.contains("number");
      const order = before ? (before === "ascending" ? "descending" : "ascending") : numeric ? "descending" : "ascending";
      const sign = order === "ascending" ? 1 : -1;
      const cell = (row) => row.children[column].textContent;
      const compare = (a, b) => {
        const [first, second] = [number(cell(a)), number(cell(b))];
        if (!numeric || (isNaN(first) && isNaN(second))) return sign * cell(a).localeCompare(cell(b));
        // Cells without a number, such as a dash, stay at the bottom.
        if (isNaN(first) || isNaN(second)) return isNaN(first) ? 1 : -1;
        return sign * (first - second);
      };
      const rows = [...table.tBodies[0].rows].sort(compare);
      table.tBodies[0].append(...rows);
      table.querySelectorAll("th").forEach((each) => each.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", order);
    });
  });
}
