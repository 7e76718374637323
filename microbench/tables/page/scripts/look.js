// What all charts share: texts of numbers, colours, axes, legends, whiskers. The files of this folder are joined in one function.
const LIGHT = ["#0072b2", "#d55e00", "#00805c", "#b0568f", "#b07800", "#2b8cc4", "#5a5a5a", "#7a3e00"];
const DARK = ["#56b4e9", "#ff8a3d", "#2bc79a", "#e39cc4", "#f0c040", "#8fb8ff", "#c0c6cc", "#f0e442"];
const SYMBOLS = ["circle", "rect", "triangle", "diamond", "path://M0,3H3V0H5V3H8V5H5V8H3V5H0Z", "arrow"];
const DASHES = ["solid", "dashed", "dotted", [8, 3, 2, 3]];
const LINE = "path://M0,0H24V3H0Z";
const MOST_CHARACTERS = 48; // of a name in a legend
const MOST_LINES = 8; // of a legend
const WIDE = 30; // a ratio of values from which an axis is logarithmic
const root = document.documentElement;
root.classList.add("js");
let data = {};
let ink = {};

const find = (selector, from = document) => from.querySelector(selector);
const all = (selector, from = document) => [...from.querySelectorAll(selector)];
const isNumber = (value) => value !== null && value !== undefined && Number.isFinite(value);

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

// Numbers as texts.
function digits(value) {
  if (!isNumber(value)) return "";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1000) return value.toLocaleString("en", { maximumFractionDigits: 0 });
  return String(Number(value.toPrecision(size >= 1 ? 4 : 3)));
}
const withUnit = (value, [factor, unit]) => `${digits(value / factor)} ${unit}`;
const between = (low, high, axis) =>
  isNumber(low) && isNumber(high) ? `${digits(low / axis[0])} – ${withUnit(high, axis)}` : "no interval";
function timeAxis(seconds) {
  for (const axis of [
    [1, "s"],
    [1e-3, "ms"],
    [1e-6, "µs"],
  ])
    if (seconds >= axis[0]) return axis;
  return [1e-9, "ns"];
}

// Colours, symbols and dashes: each configuration has the same in every chart.
const isDark = () =>
  root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
function readInk() {
  const style = getComputedStyle(root);
  const value = (name) => style.getPropertyValue(name).trim();
  ink = {
    paper: value("--paper"),
    panel: value("--panel"),
    text: value("--ink"),
    quiet: value("--quiet"),
    line: value("--line"),
    colors: isDark() ? DARK : LIGHT,
  };
}
function look(place) {
  const index = place < 0 ? 0 : place;
  return {
    color: ink.colors[index % ink.colors.length],
    symbol: SYMBOLS[index % SYMBOLS.length],
    dash: DASHES[Math.floor(index / 2) % DASHES.length],
  };
}
// Black or white, whichever is easier to read on a colour such as #0072b2: a contrast of at least 4.5:1 on any.
function inkOn(color) {
  const [red, green, blue] = [1, 3, 5]
    .map((start) => parseInt(color.slice(start, start + 2), 16) / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  const luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue; // as WCAG 2 defines it
  return luminance > 0.179 ? "#000000" : "#ffffff";
}
const lookOf = (configuration) => look(data.configurations.indexOf(configuration));

// What all charts have.
const axis = (more) => ({
  axisLine: { show: true, lineStyle: { color: ink.quiet } },
  axisTick: { lineStyle: { color: ink.quiet } },
  axisLabel: { color: ink.quiet, hideOverlap: true },
  splitLine: { lineStyle: { color: ink.line } },
  nameTextStyle: { color: ink.quiet },
  nameLocation: "middle",
  ...more,
});
// The whole powers of ten around some values: a logarithmic axis has ticks nowhere else.
function decades(values) {
  const [low, high] = [
    Math.floor(Math.log10(Math.min(...values))),
    Math.ceil(Math.log10(Math.max(...values))),
  ];
  return { min: 10 ** low, max: 10 ** Math.max(high, low + 1) };
}
function scale(values, name, more = {}) {
  const known = values.filter((value) => isNumber(value) && value > 0);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  if (known.length && high / low > WIDE) {
    return axis({ type: "log", name: `${name}, log scale`, ...decades(known), ...more });
  }
  return axis({ type: "value", name, ...more });
}
// What a text that may lie on a line looks like.
const onLines = () => ({ textBorderColor: ink.paper, textBorderWidth: 3 });
// The legend wraps, and the plot begins below it.
function base({ grid = {}, legend = {}, height = 380, tooltip = {}, ...more }) {
  const names = legend.data?.map((item) => item.name ?? item) ?? [
    ...new Set(more.series.map(({ name }) => name).filter(Boolean)),
  ];
  let [lines, used] = [1, 0];
  for (const name of names) {
    const wide = Math.min(name.length, MOST_CHARACTERS) * 6.8 + 46;
    if (used && used + wide > width - 12) [lines, used] = [lines + 1, 0];
    used += wide;
  }
  const room = legend.show === false ? 0 : 22 * (lines > MOST_LINES ? 1 : lines);
  return {
    animation: false,
    textStyle: { fontFamily: "system-ui, sans-serif" },
    ...more,
    height: height + room,
    grid: { left: 68, right: 24, bottom: 52, ...grid, top: (grid.top ?? 22) + room },
    legend: {
      type: lines > MOST_LINES ? "scroll" : "plain",
      top: 4,
      itemGap: 12,
      textStyle: { color: ink.text },
      pageTextStyle: { color: ink.text },
      pageIconColor: ink.text,
      pageIconInactiveColor: ink.line,
      formatter: (name) => shortened(name, MOST_CHARACTERS),
      ...legend,
    },
    tooltip: {
      confine: true,
      backgroundColor: ink.panel,
      borderColor: ink.line,
      textStyle: { color: ink.text },
      ...tooltip,
    },
  };
}
const shortened = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
const tip = (title, ...lines) =>
  make(
    "div",
    { class: "tip" },
    make("strong", {}, title),
    ...lines.filter(Boolean).map((line) => make("div", {}, line)),
  );

// Whiskers: [x, low, high] upright, [y, low, high] lying.
function whiskers(name, points, color, lying = false, z = 4) {
  return {
    type: "custom",
    name,
    silent: true,
    clip: true,
    z,
    data: points.filter((point) => isNumber(point[1]) && isNumber(point[2])),
    encode: lying ? { x: [1, 2], y: 0 } : { x: 0, y: [1, 2] },
    itemStyle: { color },
    tooltip: { show: false },
    renderItem(params, api) {
      const place = api.value(0);
      const [a, b] = [1, 2].map((end) =>
        api.coord(lying ? [api.value(end), place] : [place, api.value(end)]),
      );
      const style = { stroke: color, lineWidth: 1.5, fill: null };
      const line = (x1, y1, x2, y2) => ({ type: "line", shape: { x1, y1, x2, y2 }, style });
      const caps = lying
        ? [line(a[0], a[1] - 4, a[0], a[1] + 4), line(b[0], b[1] - 4, b[0], b[1] + 4)]
        : [line(a[0] - 4, a[1], a[0] + 4, a[1]), line(b[0] - 4, b[1], b[0] + 4, b[1])];
      return { type: "group", children: [line(a[0], a[1], b[0], b[1]), ...caps] };
    },
  };
}
// Rows of bars, each with its label above it, so that long names are readable on a phone.
const rows = (number) =>
  axis({
    type: "category",
    data: Array.from({ length: number }, (_, place) => String(place)),
    inverse: true,
    axisTick: { show: false },
    axisLabel: { show: false },
    splitLine: { show: false },
  });
const labels = (names) => ({
  type: "scatter",
  silent: true,
  symbolSize: 0,
  z: 5,
  data: names.map((name, place) => [0, place]),
  label: {
    show: true,
    position: "right",
    offset: [-3, -13],
    color: ink.text,
    backgroundColor: ink.paper,
    padding: [1, 3],
    formatter: ({ dataIndex }) => shortened(names[dataIndex], Math.floor((width - 40) / 6.4)),
  },
});
// A number beside each row's bar and whisker.
const figures = (ends, text) => ({
  type: "scatter",
  silent: true,
  symbolSize: 0,
  z: 5,
  data: ends.map((end, place) => [end, place]),
  label: {
    show: true,
    position: "right",
    color: ink.text,
    formatter: ({ dataIndex }) => text(dataIndex),
  },
});
let width = 800;

const DECALS = [
  { symbol: "none" },
  {
    symbol: "rect",
    dashArrayX: [1, 0],
    dashArrayY: [2, 4],
    rotation: -Math.PI / 4,
    color: "rgba(255,255,255,.55)",
  },
  {
    symbol: "circle",
    dashArrayX: [
      [5, 5],
      [0, 5, 5, 0],
    ],
    dashArrayY: [5, 0],
    symbolSize: 0.6,
    color: "rgba(255,255,255,.7)",
  },
  {
    symbol: "rect",
    dashArrayX: [1, 0],
    dashArrayY: [2, 4],
    rotation: Math.PI / 4,
    color: "rgba(0,0,0,.35)",
  },
  { symbol: "none" },
];
