// Bars and sortable tables. A row is kept as long as its key is there, so that focus and selection stay.

const { exactText, make, setText } = await import(new URL("?asset=figures.js", import.meta.url));

const pageRows = 25;

// Brings the children of `parent` into the order of `elements`, moving only what is elsewhere.
function arrange(parent, elements) {
  const wanted = new Set(elements);
  for (const each of [...parent.children]) if (!wanted.has(each)) each.remove();
  for (const [i, element] of elements.entries()) if (parent.children[i] !== element) parent.insertBefore(element, parent.children[i] ?? null);
}

function dropUnused(rows, keys) {
  for (const key of rows.keys()) if (!keys.has(key)) rows.delete(key);
}

export class Bars {
  // `label(row)` and `text(row)` word a row, `size(row)` is what its bar shows.
  constructor(parent, { label, text, size, empty }) {
    Object.assign(this, { label, text, size });
    this.rows = new Map();
    this.list = make("ul", { class: "bars", hidden: "" });
    this.none = make("p", { class: "empty" }, empty);
    parent.append(this.list, this.none);
  }

  show(rows) {
    this.list.hidden = rows.length === 0;
    this.none.hidden = rows.length > 0;
    const sorted = rows.toSorted((a, b) => this.size(b) - this.size(a)).slice(0, 8);
    const most = Math.max(...sorted.map(this.size));
    arrange(this.list, sorted.map((row) => this.row(row, most)));
    dropUnused(this.rows, new Set(sorted.map(({ key }) => key)));
  }

  row(row, most) {
    let parts = this.rows.get(row.key);
    if (!parts) {
      parts = { label: make("span", { class: "label" }), text: make("span", { class: "number" }), more: make("span", { class: "recent" }), bar: make("span", { class: "fill" }) };
      parts.element = make("li", { "data-key": row.key }, parts.label, parts.text, parts.more, make("span", { class: "track", "aria-hidden": "true" }, parts.bar));
      this.rows.set(row.key, parts);
    }
    setText(parts.label, this.label(row));
    setText(parts.text, this.text(row));
    setText(parts.more, row.recent > 0 ? `+${exactText(row.recent)}` : "");
    parts.bar.style.width = `${Math.max(1, (100 * this.size(row)) / most)}%`;
    return parts.element;
  }
}

export class Table {
  // Columns: { key, label, title, text(row), number, wide }; a row's value at `key` is what is sorted by, `text` what is shown. Of `options`:
  // `caption`, `sort` (a column's key), `down`, `empty`, and `action(row)`, which makes a button for the last cell and is given a
  // function that finds the row.
  constructor(parent, columns, options) {
    Object.assign(this, { columns, action: null, down: false, ...options });
    this.rows = new Map();
    this.shown = [];
    this.none = make("p", { class: "empty" }, this.empty);
    this.body = make("tbody");
    this.heads = new Map(columns.map((column) => [column.key, this.head(column)]));
    const row = make("tr", {}, ...this.heads.values(), ...(this.action ? [make("th", { scope: "col" }, make("span", { class: "sr" }, "Action"))] : []));
    this.table = make("table", {}, make("caption", { class: "sr" }, this.caption), make("thead", {}, row), this.body);
    this.chooser = this.sortChooser();
    this.most = pageRows;
    this.further = make("button", { type: "button", class: "quiet more-rows", hidden: "" });
    this.further.addEventListener("click", () => { this.most *= 4; this.show(this.shown); });
    parent.append(this.chooser, make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": this.caption }, this.table), this.further, this.none);
    this.sortBy(this.sort, this.down);
  }

  head({ key, label, title, number }) {
    const button = make("button", { type: "button", "data-sort": key }, label);
    if (title) button.title = title;
    button.addEventListener("click", () => this.sortBy(key, this.sort === key ? !this.down : Boolean(number)));
    return make("th", { scope: "col", class: number ? "n" : "", "data-column": key }, button);
  }

  // For narrow screens, where the head of the table is not shown.
  sortChooser() {
    this.select = make("select", {}, ...this.columns.map(({ key, label, title }) => make("option", { value: key }, title ?? label)));
    this.select.addEventListener("change", () => {
      const { number } = this.columns.find(({ key }) => key === this.select.value);
      this.sortBy(this.select.value, Boolean(number));
    });
    return make("label", { class: "sorter" }, "Sort by ", this.select);
  }

  sortBy(key, down) {
    this.sort = key;
    this.down = down;
    this.select.value = key;
    for (const [name, head] of this.heads) {
      if (name === key) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    this.show(this.shown);
  }

  compare(a, b) {
    const [x, y] = [a[this.sort], b[this.sort]];
    if (x === y) return a.key < b.key ? -1 : 1;
    if (x === null || y === null) return x === null ? 1 : -1; // What is not known comes last.
    const order = typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y;
    return this.down ? -order : order;
  }

  show(rows) {
    this.shown = rows.toSorted((a, b) => this.compare(a, b));
    this.none.hidden = rows.length > 0;
    this.table.parentElement.hidden = this.chooser.hidden = rows.length === 0;
    const visible = this.shown.slice(0, this.most);
    arrange(this.body, visible.map((row) => this.row(row)));
    dropUnused(this.rows, new Set(visible.map(({ key }) => key)));
    this.further.hidden = visible.length === rows.length;
    setText(this.further, `Show more of the other ${exactText(rows.length - visible.length)}`);
    this.table.classList.toggle("same-server", rows.every(({ server }) => server === rows[0].server));
  }

  row(row) {
    let element = this.rows.get(row.key);
    if (!element) {
      element = make("tr", { "data-key": row.key });
      for (const { key, label, title, number, wide } of this.columns) {
        element.append(make("td", { class: number ? "n" : wide ? "wide" : "", "data-label": label, "data-column": key }));
      }
      if (this.action) element.append(make("td", { class: "act" }, this.action(() => this.shown.find(({ key }) => key === row.key))));
      this.rows.set(row.key, element);
    }
    for (const [i, column] of this.columns.entries()) {
      setText(element.cells[i], column.text(row));
      if (column.wide) element.cells[i].title = column.text(row);
      element.cells[i].classList.toggle("zero", row[column.key] === 0 || row[column.key] === null);
    }
    return element;
  }
}
