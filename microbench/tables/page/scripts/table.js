// The table: sorted by its headings, filtered by words and by settings.
const filters = new Map();
let order = null; // [column's name, direction]
function setUpTable() {
  const table = find("#table");
  if (!table) return;
  const heads = all("th", table);
  const body = find("tbody", table);
  const lines = all("tr", body).map((line) => ({
    line,
    cells: [...line.cells],
    text: line.textContent.toLowerCase(),
  }));
  const original = lines.map(({ line }) => line);
  const bar = find(".filters");
  const count = find("[data-count]");
  function filter() {
    let left = 0;
    for (const { line, cells, text } of lines) {
      const words = (filters.get("words") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
      const fits =
        words.every((word) => text.includes(word)) &&
        heads.every(
          (head, column) =>
            !filters.get(head.dataset.name) || cells[column].textContent === filters.get(head.dataset.name),
        );
      line.hidden = !fits;
      left += fits;
    }
    count.textContent = left === lines.length ? `${left} cases` : `${left} of ${lines.length} cases`;
  }
  function sort() {
    if (!order) return;
    const column = heads.findIndex((head) => head.dataset.name === order[0]);
    if (column < 0) return;
    const isNumeric = heads[column].classList.contains("number");
    const keyed = lines.map(({ line, cells }) => ({
      line,
      key: isNumeric
        ? "value" in cells[column].dataset
          ? Number(cells[column].dataset.value)
          : null
        : cells[column].textContent,
    }));
    keyed.sort((a, b) => {
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null); // unknown comes last
      return order[1] * (isNumeric ? a.key - b.key : a.key.localeCompare(b.key, "en", { numeric: true }));
    });
    body.append(...keyed.map(({ line }) => line));
    for (const [index, head] of heads.entries())
      head.setAttribute("aria-sort", index === column ? (order[1] > 0 ? "ascending" : "descending") : "none");
  }
  for (const head of heads) {
    const name = head.textContent;
    head.dataset.name = name;
    head.setAttribute("aria-sort", "none");
    head.replaceChildren(
      make(
        "button",
        {
          type: "button",
          onclick: () => {
            order = [name, order?.[0] === name ? -order[1] : 1];
            sort();
          },
        },
        name,
      ),
    );
  }
  const words = make("input", {
    type: "search",
    id: "filter-words",
    oninput: () => {
      filters.set("words", words.value);
      filter();
    },
  });
  words.value = filters.get("words") ?? "";
  bar.replaceChildren(make("label", {}, "Find", words));
  heads.forEach((head, column) => {
    const values = [...new Set(lines.map(({ cells }) => cells[column].textContent))];
    if (!("filter" in head.dataset) || values.length < 2) return;
    const name = head.dataset.name;
    const list = make(
      "select",
      {
        "data-filter-of": name,
        onchange: () => {
          filters.set(name, list.value);
          filter();
        },
      },
      make("option", { value: "" }, "all"),
      ...values.map((value) => make("option", { value }, value)),
    );
    list.value = filters.get(name) ?? "";
    bar.append(make("label", {}, name, list));
  });
  const after = heads.findIndex((head) => head.dataset.name === "±");
  heads[after].after(make("th", { scope: "col" }, "samples"));
  for (const { line, cells } of lines) {
    const key = line.dataset.key;
    const phases = data.series[key];
    const cell = make("td");
    if (phases) {
      const series = Object.values(phases).reduce((sum, each) => sum + each.length, 0);
      cell.append(
        make(
          "button",
          {
            type: "button",
            "aria-label": `Samples of ${data.names[key]}`,
            onclick: () => showSamples(key, true),
          },
          `${series} series`,
        ),
      );
    }
    cells[after].after(cell);
  }
  bar.hidden = false;
  for (const hint of all("[data-hint]")) hint.hidden = false;
  if (order) sort();
  else body.append(...original);
  filter();
}
