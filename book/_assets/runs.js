// The table of runs is sorted by a click on a heading and shows the rows that hold all words of a line above it.
document.addEventListener("DOMContentLoaded", () => {
  const table = document.querySelector("#table-runs");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const text = (row, column) => row.cells[column].textContent.trim();
  const order = new Intl.Collator("en", { numeric: true }).compare;

  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sorts";
    button.append(...(head.querySelector("p") || head).childNodes);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      // numbers begin with the highest, names with the first; what has none comes last
      const numbers = rows.every((row) => /^(–|[\d.,]+)$/.test(text(row, column)));
      const first = numbers ? "descending" : "ascending";
      const next = head.ariaSort === first ? (numbers ? "ascending" : "descending") : first;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.ariaSort = next;
      const way = next === "ascending" ? 1 : -1;
      const missing = (row) => text(row, column) === "–";
      rows.sort((a, b) => missing(a) - missing(b) || way * order(text(a, column), text(b, column)));
      body.append(...rows);
    });
  });

  const line = document.createElement("p");
  line.className = "filters";
  const label = document.createElement("label");
  const input = document.createElement("input");
  const count = document.createElement("output");
  input.type = "search";
  input.placeholder = "such as market cbam";
  label.append("Show runs with ", input);
  line.append(label, " ", count, " A click on a heading sorts them.");
  (table.closest(".pst-scrollable-table-container") || table).before(line);
  const filter = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} runs.`;
  };
  input.addEventListener("input", filter);
  filter();
});
