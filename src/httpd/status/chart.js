// Charts over time, in SVG: lines or stacked areas, one scale, a legend that tells the values of now or of where the pointer is.

const { clockText, make, setText } = await import(new URL("?asset=figures.js", import.meta.url));
const { keptSeconds } = await import(new URL("?asset=history.js", import.meta.url));

const leastSeconds = 60;
const height = 156;
const edge = { top: 18, right: 2, bottom: 20, left: 2 };

function svg(tag, attributes = {}) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function linearScale(most, base, least) {
  let top = Math.max(most, least);
  let unit = 1;
  while (top / unit >= base) unit *= base;
  top = unit * (top / unit <= 1 ? 1 : niceAbove(top / unit));
  return { at: (value) => value / top, ticks: [0, top / 2, top] };
}

function niceAbove(value) {
  const ten = 10 ** Math.floor(Math.log10(value));
  return ten * [1, 2, 4, 6, 8, 10].find((each) => each * ten >= value * 0.9999);
}

// Whole decades, at least two of them.
function decadeScale(least, most) {
  const low = Math.floor(Math.log10(least) + 1e-9);
  const high = Math.max(Math.ceil(Math.log10(most) - 1e-9), low + 2);
  const step = Math.ceil((high - low) / 4);
  const ticks = [];
  for (let decade = low; decade <= high; decade += step) ticks.push(10 ** decade);
  return { at: (value) => Math.max(0, (Math.log10(value) - low) / (high - low)), ticks };
}

export class Chart {
  // `series`: { key, label, tone } each, from the bottom. Of `options`: `stacked`, `decades` for a logarithmic scale, `base` (1024 for
  // bytes), `least` (of the scale's upper end), `total` (what stands in the head: a function of a point), `empty` (what is said without a value).
  constructor(group, id, title, series, text, options = {}) {
    Object.assign(this, { group, title, series, text, base: 1000, least: 1, ...options });
    this.value = make("strong", { id: `${id}-now`, class: "value" }, "–");
    this.note = make("p", { class: "note", hidden: "" }, this.empty ?? "");
    this.legend = new Map(series.map(({ key, tone }) => [key, make("dd", { class: tone }, "–")]));
    const entries = series.map(({ key, label, tone }) => make("div", {}, make("dt", { class: `swatch ${tone}` }, label), this.legend.get(key)));
    this.svg = svg("svg", { role: "img", height });
    this.plot = make("div", { class: "plot" }, this.svg, this.note);
    this.element = make("section", { class: "card chart", id, "aria-labelledby": `${id}-title` },
      make("div", { class: "head" }, make("h2", { id: `${id}-title` }, title), this.value), make("dl", { class: "legend" }, ...entries), this.plot);
    this.points = [];
    this.width = 0;
    new ResizeObserver(([{ contentRect }]) => {
      this.width = Math.floor(contentRect.width);
      this.draw();
    }).observe(this.plot);
    this.plot.addEventListener("pointermove", (event) => this.point(event));
    this.plot.addEventListener("pointerleave", () => group.hover(null));
  }

  point({ clientX }) {
    const { left, width } = this.plot.getBoundingClientRect();
    this.group.hover(this.from + ((clientX - left) / width) * (this.until - this.from));
  }

  show(points) {
    this.points = points;
    this.draw();
  }

  x(time) {
    return edge.left + ((time - this.from) / (this.until - this.from)) * (this.width - edge.left - edge.right);
  }

  y(value) {
    return height - edge.bottom - this.scale.at(value) * (height - edge.top - edge.bottom);
  }

  draw() {
    const { points, width } = this;
    if (points.length === 0 || width === 0) return;
    this.until = points.at(-1).time;
    this.from = this.until - Math.min(keptSeconds, Math.max(leastSeconds, this.until - points[0].time));
    this.layers = this.layer();
    const values = this.layers.flatMap(({ tops }) => tops).filter((value) => value !== null);
    this.scale = this.decades
      ? decadeScale(Math.min(1e-4, ...values.filter((value) => value > 0)), Math.max(1e-4, ...values))
      : linearScale(Math.max(0, ...values), this.base, this.least);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("width", width);
    this.cursor = svg("g", { class: "cursor" });
    this.svg.replaceChildren(...this.areas(), ...this.grid(), ...this.lines(), this.cursor);
    this.note.hidden = values.length > 0 || !this.empty;
    this.mark();
    this.svg.setAttribute("aria-label", `${this.title}: ${this.series.map(({ key, label }) => `${label} ${this.text(points.at(-1)[key])}`).join(", ")}`);
  }

  // Of each series the values at its upper and lower edge.
  layer() {
    let below = this.points.map(() => 0);
    return this.series.map((each) => {
      const tops = this.points.map((point, i) => (point[each.key] === null ? null : point[each.key] + (this.stacked ? below[i] : 0)));
      const layer = { ...each, tops, bottoms: below };
      if (this.stacked) below = tops.map((top) => top ?? 0);
      return layer;
    });
  }

  grid() {
    return this.scale.ticks.flatMap((tick) => {
      const y = Math.round(this.y(tick)) + 0.5;
      const label = svg("text", { class: "tick", x: edge.left, y: y - 4 });
      label.textContent = tick === 0 ? "" : this.text(tick);
      return [svg("line", { class: tick === 0 ? "axis" : "rule", x1: 0, x2: this.width, y1: y, y2: y }), label];
    }).concat(this.times());
  }

  times() {
    const span = this.until - this.from;
    const start = svg("text", { class: "tick", x: edge.left, y: height - 5 });
    start.textContent = span >= 120 ? `${Math.round(span / 60)} min ago` : `${Math.round(span)} s ago`;
    const end = svg("text", { class: "tick", x: this.width - edge.right, y: height - 5, "text-anchor": "end" });
    end.textContent = "now";
    return [start, end];
  }

  // The stretches without a missing value or a gap in time, as indexes of points.
  runs(tops) {
    const runs = [];
    for (const [i, top] of tops.entries()) {
      if (top === null) continue;
      const goes = i > 0 && tops[i - 1] !== null && this.points[i].time - this.points[i - 1].time < 8;
      if (goes) runs.at(-1).push(i);
      else runs.push([i]);
    }
    return runs;
  }

  trace(run, values, command = "M") {
    return run.map((i, n) => `${n === 0 ? command : "L"}${this.x(this.points[i].time).toFixed(1)} ${this.y(values[i]).toFixed(1)}`).join("");
  }

  areas() {
    if (this.decades) return [];
    return this.layers.map(({ tone, tops, bottoms }) => svg("path", {
      class: `area ${tone}${this.stacked ? " stacked" : ""}`,
      d: this.runs(tops).map((run) => `${this.trace(run, tops)}${this.trace(run.toReversed(), bottoms, "L")}Z`).join(""),
    }));
  }

  // A series that has never been above 0 would only lie on the axis.
  lines() {
    return this.layers.filter(({ key }) => this.points.some((point) => point[key] > 0)).map(({ tone, tops }) => svg("path", {
      class: `line ${tone}`,
      d: this.runs(tops).map((run) => this.trace(run, tops) + (run.length === 1 ? "h.01" : "")).join(""),
    }));
  }

  // Tells the values of where the pointer is, or the last ones.
  mark() {
    const { points, group: { at } } = this;
    if (points.length === 0 || !this.scale) return;
    const near = at === null ? points.length - 1 : nearest(points, at);
    const point = points[near];
    for (const { key } of this.series) setText(this.legend.get(key), this.text(point[key]));
    setText(this.value, this.total ? this.total(point) : this.text(point[this.series[0].key]));
    this.cursor.replaceChildren();
    if (at === null) return;
    const x = this.x(point.time);
    const end = x > this.width / 2;
    const label = svg("text", { class: "tick at", x: x + (end ? -5 : 5), y: 11, "text-anchor": end ? "end" : "start" });
    label.textContent = clockText(point.time);
    this.cursor.append(svg("line", { x1: x, x2: x, y1: 0, y2: height - edge.bottom }), label);
    for (const { tone, tops } of this.layers) {
      if (tops[near] !== null) this.cursor.append(svg("circle", { class: tone, cx: x, cy: this.y(tops[near]), r: 3.5 }));
    }
  }
}

function nearest(points, time) {
  let best = 0;
  for (const [i, point] of points.entries()) if (Math.abs(point.time - time) < Math.abs(points[best].time - time)) best = i;
  return best;
}

// Charts with a pointer in common.
export class ChartGroup {
  constructor(parent) {
    this.parent = parent;
    this.charts = [];
    this.at = null;
  }

  add(...words) {
    const chart = new Chart(this, ...words);
    this.charts.push(chart);
    this.parent.append(chart.element);
  }

  show(points) {
    for (const each of this.charts) each.show(points);
  }

  hover(at) {
    this.at = at;
    for (const each of this.charts) each.mark();
  }
}
