"use strict";
(() => {
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
    for (const axis of [[1, "s"], [1e-3, "ms"], [1e-6, "µs"]]) if (seconds >= axis[0]) return axis;
    return [1e-9, "ns"];
  }

  // Colours, symbols and dashes: each configuration has the same in every chart.
  const isDark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  function readInk() {
    const style = getComputedStyle(root);
    const value = (name) => style.getPropertyValue(name).trim();
    ink = { paper: value("--paper"), panel: value("--panel"), text: value("--ink"), quiet: value("--quiet"),
      line: value("--line"), colors: isDark() ? DARK : LIGHT };
  }
  function look(place) {
    const index = place < 0 ? 0 : place;
    return {
      color: ink.colors[index % ink.colors.length],
      symbol: SYMBOLS[index % SYMBOLS.length],
      dash: DASHES[Math.floor(index / 2) % DASHES.length],
    };
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
  function scale(values, name, more = {}) {
    const known = values.filter((value) => isNumber(value) && value > 0);
    const [low, high] = [Math.min(...known), Math.max(...known)];
    if (known.length && high / low > WIDE) {
      const ends = { min: 10 ** Math.floor(Math.log10(low)), max: 10 ** Math.ceil(Math.log10(high)) };
      return axis({ type: "log", name: `${name}, log scale`, ...ends, ...more });
    }
    return axis({ type: "value", name, ...more });
  }
  // The legend wraps, and the plot begins below it.
  function base({ grid = {}, legend = {}, height = 380, tooltip = {}, ...more }) {
    const names = legend.data?.map((item) => item.name ?? item) ?? [...new Set(more.series.map(({ name }) => name).filter(Boolean))];
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
      legend: { type: lines > MOST_LINES ? "scroll" : "plain", top: 4, itemGap: 12, textStyle: { color: ink.text },
        pageTextStyle: { color: ink.text }, pageIconColor: ink.text, pageIconInactiveColor: ink.line,
        formatter: (name) => shortened(name, MOST_CHARACTERS), ...legend },
      tooltip: { confine: true, backgroundColor: ink.panel, borderColor: ink.line, textStyle: { color: ink.text }, ...tooltip },
    };
  }
  const shortened = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
  const tip = (title, ...lines) => make("div", { class: "tip" }, make("strong", {}, title),
    ...lines.filter(Boolean).map((line) => make("div", {}, line)));

  // Whiskers: [x, low, high] upright, [y, low, high] lying.
  function whiskers(name, points, color, lying = false, z = 4) {
    return {
      type: "custom", name, silent: true, z, data: points.filter((point) => isNumber(point[1]) && isNumber(point[2])),
      encode: lying ? { x: [1, 2], y: 0 } : { x: 0, y: [1, 2] },
      itemStyle: { color },
      tooltip: { show: false },
      renderItem(params, api) {
        const place = api.value(0);
        const [a, b] = [1, 2].map((end) => api.coord(lying ? [api.value(end), place] : [place, api.value(end)]));
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
  const rows = (number) => axis({ type: "category", data: Array.from({ length: number }, (_, place) => String(place)), inverse: true,
    axisTick: { show: false }, axisLabel: { show: false }, splitLine: { show: false } });
  const labels = (names) => ({
    type: "scatter", silent: true, symbolSize: 0, z: 5, data: names.map((name, place) => [0, place]),
    label: { show: true, position: "right", offset: [-3, -13], color: ink.text, backgroundColor: ink.paper, padding: [1, 3],
      formatter: ({ dataIndex }) => shortened(names[dataIndex], Math.floor((width - 40) / 6.4)) },
  });
  let width = 800;

  const BUILDERS = {
    latency(panel) {
      const [factor, unit] = panel.axes.y;
      const sizes = panel.lines.flatMap((line) => line.batch_sizes);
      const series = panel.lines.flatMap((line) => {
        const { color, symbol, dash } = lookOf(line.configuration);
        const points = line.times.map((time, place) => ({
          value: [line.batch_sizes[place], time.seconds / factor], key: time.key, time,
        }));
        return [
          { type: "line", name: line.configuration, data: points, symbol, symbolSize: 9, color, z: 3,
            lineStyle: { type: dash, width: 2 } },
          whiskers(line.configuration, line.times.map((time, place) =>
            [line.batch_sizes[place], time.low / factor, time.high === null ? null : time.high / factor]), color),
        ];
      });
      const values = panel.lines.flatMap((line) => line.times.map((time) => time.seconds / factor));
      return base({
        xAxis: axis({ type: "log", logBase: 2, name: "batch size (items), log scale", nameGap: 30,
          min: Math.min(...sizes), max: Math.max(...sizes) }),
        yAxis: scale(values, `${panel.phase} (${unit} per call)`, { nameGap: 48 }),
        series,
        tooltip: { formatter: ({ seriesName, value, data: { time } }) => tip(seriesName, `batch ${value[0]}`,
          withUnit(time.seconds, panel.axes.y), between(time.low, time.high, panel.axes.y), `${time.rounds} rounds`) },
      });
    },

    speedup(panel) {
      const lines = panel.groups.flatMap((group) => group.bars.map((bar) => ({ group, bar })));
      const baselines = new Set(panel.groups.map((group) => group.baseline));
      const over = baselines.size === 1 ? ` over ${[...baselines][0]}` : "";
      const names = lines.map(({ group, bar }) =>
        `${group.work}: ${bar.configuration}${over ? "" : ` over ${group.baseline}`}`);
      const bars = lines.map(({ bar }) => {
        const { color } = lookOf(bar.configuration);
        const sure = bar.verdict === "faster" || bar.verdict === "slower";
        return { value: bar.speedup, key: bar.key, bar,
          itemStyle: { color: sure ? color : "transparent", borderColor: color, borderWidth: 1.5 } };
      });
      return base({
        height: lines.length * 44 + 64,
        legend: { show: false },
        grid: { left: 12, right: 64, top: 52, bottom: 12 },
        xAxis: axis({ type: "value", position: "top", name: `speedup${over} (times as fast)`, nameGap: 28, min: 0 }),
        yAxis: rows(lines.length),
        series: [
          labels(names),
          { type: "bar", data: bars, barWidth: 10, z: 2,
            markLine: { silent: true, symbol: "none", label: { show: false }, lineStyle: { color: ink.text, type: "dashed" },
              data: [{ xAxis: 1 }] } },
          whiskers("interval", lines.map(({ bar }, place) => [place, bar.low, bar.high]), ink.text, true),
          { type: "scatter", silent: true, symbolSize: 0, z: 5,
            data: lines.map(({ bar }, place) => [Math.max(bar.speedup, bar.high ?? 0), place]),
            label: { show: true, position: "right", color: ink.text, formatter: ({ dataIndex }) =>
              `${lines[dataIndex].bar.speedup.toFixed(2)}×` } },
        ],
        tooltip: { formatter: ({ data: { bar }, dataIndex }) => tip(names[dataIndex], `${digits(bar.speedup)} times as fast`,
          isNumber(bar.low) ? `95 % CI ${digits(bar.low)} to ${digits(bar.high)}` : "no interval",
          bar.reason ? `${bar.verdict}: ${bar.reason}` : bar.verdict) },
      });
    },

    phases(panel) {
      const [factor, unit] = panel.axes.x;
      return base({
        height: panel.bars.length * 44 + 70,
        grid: { left: 12, right: 24, top: 56, bottom: 12 },
        xAxis: axis({ type: "value", position: "top", name: `time (${unit} per step)`, nameGap: 28, min: 0 }),
        yAxis: rows(panel.bars.length),
        series: [
          labels(panel.bars.map((bar) => bar.name)),
          ...panel.phases.map((phase, place) => ({
            type: "bar", name: phase, stack: "step", barWidth: 12, color: ink.colors[place % ink.colors.length],
            itemStyle: { borderColor: ink.paper, borderWidth: 1, decal: DECALS[place % DECALS.length] },
            data: panel.bars.map((bar) => ({ value: (bar.parts[phase] ?? 0) / factor, key: bar.total.key, bar })),
          })),
          { type: "scatter", name: "whole step", symbol: "diamond", symbolSize: 11, color: ink.text, z: 5,
            data: panel.bars.map((bar, place) => ({ value: [bar.total.seconds / factor, place], key: bar.total.key, bar })) },
          whiskers("whole step", panel.bars.map((bar, place) =>
            [place, bar.total.low / factor, bar.total.high === null ? null : bar.total.high / factor]), ink.text, true),
        ],
        tooltip: { formatter: ({ data: { bar } }) => tip(bar.name,
          ...Object.entries(bar.parts).map(([phase, seconds]) => `${phase}: ${withUnit(seconds, panel.axes.x)}`),
          `whole step: ${withUnit(bar.total.seconds, panel.axes.x)}`,
          between(bar.total.low, bar.total.high, panel.axes.x)) },
      });
    },

    memory(panel) {
      const { x, y } = panel.axes;
      const points = panel.lines.flatMap((line) => line.points);
      return base({
        xAxis: scale(points.map((point) => point.memory / x[0]), `peak memory (${x[1]})`, { nameGap: 30, scale: true }),
        yAxis: scale(points.map((point) => point.throughput / y[0]), y[1], { nameGap: 48 }),
        series: panel.lines.flatMap((line) => {
          const { color, symbol, dash } = lookOf(line.configuration);
          return [
            { type: "line", name: line.configuration, color, symbol, symbolSize: 9, lineStyle: { type: dash }, z: 3,
              label: { show: true, position: "top", color: ink.quiet, formatter: ({ data: each }) => String(each.point.batch_size) },
              labelLayout: { hideOverlap: true },
              data: line.points.map((point) => ({ value: [point.memory / x[0], point.throughput / y[0]], key: point.key, point })) },
            whiskers(line.configuration, line.points.map((point) =>
              [point.memory / x[0], point.low / y[0], point.high === null ? null : point.high / y[0]]), color),
          ];
        }),
        tooltip: { formatter: ({ seriesName, data: { point } }) => tip(seriesName, `batch ${point.batch_size}`,
          withUnit(point.throughput, y), between(point.low, point.high, y), `${withUnit(point.memory, x)} at most`) },
      });
    },

    accuracy(panel) {
      const { x } = panel.axes;
      const kinds = [...new Set(panel.points.map((point) => point.configuration))];
      const frontier = panel.points.filter((point) => point.is_on_frontier);
      return base({
        legend: { data: kinds },
        xAxis: scale(panel.points.map((point) => point.time.seconds / x[0]), `inference (${x[1]} per call)`, { nameGap: 30 }),
        yAxis: axis({ type: "value", name: "ImageNet top-1 (%)", nameGap: 44, scale: true }),
        series: [
          { type: "line", name: "Pareto frontier", step: "end", symbol: "none", color: ink.quiet, z: 1, silent: true,
            lineStyle: { type: "dashed", width: 1.5 },
            data: frontier.map((point) => [point.time.seconds / x[0], point.top1]) },
          ...kinds.flatMap((kind) => {
            const { color, symbol } = lookOf(kind);
            const points = panel.points.filter((point) => point.configuration === kind);
            return [
              { type: "scatter", name: kind, color, symbol, symbolSize: 11, z: 3,
                label: { show: true, position: "top", color: ink.text, formatter: ({ data: each }) => each.point.model },
                labelLayout: { hideOverlap: true, moveOverlap: "shiftY" },
                data: points.map((point) => ({ value: [point.time.seconds / x[0], point.top1], key: point.time.key, point,
                  itemStyle: { color: point.is_on_frontier ? color : ink.paper, borderColor: color, borderWidth: 2 } })) },
              whiskers(kind, points.map((point) => [point.top1, point.time.low / x[0],
                point.time.high === null ? null : point.time.high / x[0]]), color, true, 2),
            ];
          }),
        ],
        tooltip: { formatter: ({ data: { point } }) => tip(point.model, `${digits(point.top1)} % with ${point.weights}`,
          withUnit(point.time.seconds, x), between(point.time.low, point.time.high, x), point.configuration,
          point.is_on_frontier ? "on the Pareto frontier" : "") },
      });
    },

    roofline(panel) {
      const [factor, unit] = panel.axes.y;
      const points = panel.points.filter((point) => point.name !== "total");
      const total = panel.points.find((point) => point.name === "total");
      const shares = {};
      for (const point of points) shares[point.type] = (shares[point.type] ?? 0) + (point.share ?? 0);
      const types = Object.keys(shares).sort((a, b) => shares[b] - shares[a]);
      const kindOf = (type) => (types.indexOf(type) < 6 || types.length <= 7 ? type : "others");
      const kinds = [...new Set(types.map(kindOf))];
      const inner = panel.points.map((point) => point.intensity);
      const left = 10 ** Math.floor(Math.log10(Math.min(...inner, 1)));
      const right = 10 ** Math.ceil(Math.log10(Math.max(...inner, 10)));
      const peaks = Object.entries(panel.peaks);
      const highest = Math.max(...peaks.map(([, rate]) => rate), ...panel.points.map((point) => point.rate)) / factor;
      const lowest = Math.min(...panel.points.map((point) => point.rate)) / factor;
      const slopes = panel.bandwidths.length
        ? [["memory", panel.bandwidths.at(-1)[1]], ["fastest cache", Math.max(...panel.bandwidths.map(([, rate]) => rate))]]
        : [];
      const top = Math.max(...peaks.map(([, rate]) => rate), 0);
      const roof = (name, ends, place) => ({ type: "line", name, data: ends.map(([x, rate]) => [x, rate / factor]),
        symbol: "none", silent: true, z: 1, color: ink.quiet,
        lineStyle: { width: 1.5, type: DASHES[place % DASHES.length] } });
      const ridge = (rate) => Math.min(right, top / rate || right); // where the peak meets a bandwidth
      const roofs = [
        ...peaks.map(([name, rate], place) =>
          roof(`${name} peak ${withUnit(rate, panel.axes.y)}`, [[left, rate], [right, rate]], place)),
        ...slopes.map(([name, rate], place) =>
          roof(`${name} ${withUnit(rate, [1e9, "GB/s"])}`, [[left, left * rate], [ridge(rate), ridge(rate) * rate]], place)),
      ];
      return base({
        height: 420,
        legend: { data: [...kinds, ...(total ? ["whole model"] : []), ...roofs.map(({ name }) => ({ name, icon: LINE }))] },
        xAxis: axis({ type: "log", name: "arithmetic intensity (FLOP/byte), log scale", nameGap: 30, min: left, max: right }),
        yAxis: axis({ type: "log", name: `speed (${unit}), log scale`, nameGap: 52,
          min: 10 ** Math.floor(Math.log10(lowest)), max: 10 ** Math.ceil(Math.log10(highest * 1.05)) }),
        series: [
          ...kinds.map((kind, place) => {
            const { color, symbol } = look(place);
            return { type: "scatter", name: kind, color, symbol, z: 3,
              itemStyle: { opacity: 0.85, borderColor: ink.paper, borderWidth: 0.5 },
              symbolSize: (_, { data: each }) => 6 + 26 * Math.sqrt(each.point.share ?? 0),
              data: points.filter((point) => kindOf(point.type) === kind)
                .map((point) => ({ value: [point.intensity, point.rate / factor], point })) };
          }),
          ...(total ? [{ type: "scatter", name: "whole model", symbol: "diamond", symbolSize: 16, color: ink.text, z: 4,
            data: [{ value: [total.intensity, total.rate / factor], point: total }] }] : []),
          ...roofs,
        ],
        tooltip: { formatter: ({ seriesName, data: each }) => each.point && tip(each.point.name === "total" ? "whole model" : each.point.name, each.point.type || seriesName,
          withUnit(each.point.rate, panel.axes.y), `${digits(each.point.intensity)} FLOP/byte`,
          isNumber(each.point.share) ? `${digits(100 * each.point.share)} % of the time` : "",
          each.point.bound ? `limited by ${each.point.bound}` : "") },
      });
    },

    layers(panel) {
      const types = [...new Set(panel.nodes.map((node) => node.type))];
      const totals = new Map(types.map((type) => [type, 0]));
      const path = [];
      for (const node of panel.nodes) {
        const item = { name: node.name, value: node.value, node };
        path.length = node.level;
        if (path.length) (path.at(-1).children ??= []).push(item);
        path.push(item);
        path.root ??= item;
      }
      const leaves = [];
      (function walk(item) {
        if (!item.children) leaves.push(item);
        else item.children.forEach(walk);
      })(path.root);
      for (const leaf of leaves) totals.set(leaf.node.type, totals.get(leaf.node.type) + leaf.value);
      const order = [...totals].sort((a, b) => b[1] - a[1]).map(([type]) => type);
      for (const leaf of leaves) {
        const place = order.indexOf(leaf.node.type);
        const color = leaf.node.type === "" ? ink.line : ink.colors[Math.min(place, ink.colors.length - 1)];
        leaf.itemStyle = { color, decal: place >= ink.colors.length ? DECALS[1] : undefined };
      }
      const border = { borderColor: ink.paper, borderWidth: 1, gapWidth: 1 };
      const name = (item) => (item.node.type && item.node.type !== item.node.name ? `${item.node.name} ${item.node.type}` : item.node.name);
      return {
        height: 520, animation: false, textStyle: { fontFamily: "system-ui, sans-serif" },
        tooltip: { confine: true, backgroundColor: ink.panel, borderColor: ink.line, textStyle: { color: ink.text },
          formatter: ({ data: each }) => each?.node && tip(each.node.name, each.node.type, withUnit(each.node.value, panel.axes.value),
            isNumber(each.node.share) ? `${digits(100 * each.node.share)} % of the model` : "") },
        series: [{
          type: "treemap", data: path.root.children, name: path.root.name, left: 0, right: 0, top: 4, bottom: 34,
          roam: false, nodeClick: "zoomToNode", visibleMin: 60,
          label: { formatter: ({ data: each }) => (each.node ? name(each) : ""), color: isDark() ? "#101418" : "#ffffff", fontSize: 11 },
          upperLabel: { show: true, height: 18, color: ink.text, formatter: ({ data: each }) => (each?.node ? name(each) : ""), fontSize: 11 },
          breadcrumb: { bottom: 2, itemStyle: { color: ink.panel, borderColor: ink.line, textStyle: { color: ink.text } },
            emphasis: { itemStyle: { color: ink.line, textStyle: { color: ink.text } } } },
          levels: [{ itemStyle: border, upperLabel: { show: false } }, ...Array(8).fill({ itemStyle: { ...border, borderColor: ink.line } })],
        }],
      };
    },

    published(panel) {
      const { x } = panel.axes;
      const origins = [...new Set(panel.points.map((point) => [point.device, point.software].filter(Boolean).join(", ")))];
      const values = panel.points.flatMap((point) => [point.measured / x[0], point.published / x[0]]);
      const [low, high] = [10 ** Math.floor(Math.log10(Math.min(...values))), 10 ** Math.ceil(Math.log10(Math.max(...values)))];
      return base({
        legend: { data: origins },
        xAxis: axis({ type: "log", name: `measured here (${x[1]}), log scale`, nameGap: 30, min: low, max: high }),
        yAxis: axis({ type: "log", name: `published (${x[1]}), log scale`, nameGap: 52, min: low, max: high }),
        series: [
          { type: "line", name: "equal", data: [[low, low], [high, high]], symbol: "none", silent: true, color: ink.quiet, z: 1,
            lineStyle: { type: "dashed", width: 1.5 } },
          ...origins.map((origin, place) => ({
            type: "scatter", name: origin, ...{ color: look(place).color, symbol: look(place).symbol }, symbolSize: 11, z: 3,
            label: { show: true, position: "top", color: ink.text, formatter: ({ data: each }) => each.point.model },
            labelLayout: { hideOverlap: true },
            data: panel.points.filter((point) => [point.device, point.software].filter(Boolean).join(", ") === origin)
              .map((point) => ({ value: [point.measured / x[0], point.published / x[0]], key: point.key, point })) })),
        ],
        tooltip: { formatter: ({ seriesName, data: { point } }) => tip(`${point.model}, batch ${point.batch_size}`, point.variant,
          `here ${withUnit(point.measured, x)}`, `published ${withUnit(point.published, x)}`, seriesName) },
      });
    },
  };
  const DECALS = [
    { symbol: "none" },
    { symbol: "rect", dashArrayX: [1, 0], dashArrayY: [2, 4], rotation: -Math.PI / 4, color: "rgba(255,255,255,.55)" },
    { symbol: "circle", dashArrayX: [[5, 5], [0, 5, 5, 0]], dashArrayY: [5, 0], symbolSize: 0.6, color: "rgba(255,255,255,.7)" },
    { symbol: "rect", dashArrayX: [1, 0], dashArrayY: [2, 4], rotation: Math.PI / 4, color: "rgba(0,0,0,.35)" },
    { symbol: "none" },
  ];

  // Drawing: a chart is drawn when it comes into view, and again when its panel, width or theme changes.
  const shown = new Map(); // by plot, what draws it
  const chosen = new Map(); // by select, the value that the reader chose
  function draw(plot) {
    const build = shown.get(plot);
    if (!build || !plot.clientWidth) return;
    width = plot.clientWidth;
    const { height = 380, ...option } = build();
    plot.style.height = `${height}px`;
    let chart = echarts.getInstanceByDom(plot);
    if (!chart) {
      chart = echarts.init(plot, null, { renderer: "canvas" });
      chart.on("click", ({ data: item }) => item?.key && showSamples(item.key, true));
    }
    chart.resize({ width: plot.clientWidth, height });
    chart.setOption(option, true);
    plot.dataset.drawn = "";
  }
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries)
      if (isIntersecting && !("drawn" in target.dataset)) draw(target);
  }, { rootMargin: "300px" });
  const sized = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const chart = echarts.getInstanceByDom(target);
      if (chart && chart.getWidth() !== target.clientWidth) draw(target);
    }
  });
  function place(plot, build) {
    if (!shown.has(plot)) {
      seen.observe(plot);
      sized.observe(plot);
    }
    shown.set(plot, build);
    if ("drawn" in plot.dataset) draw(plot);
  }
  function redraw() {
    readInk();
    for (const plot of shown.keys()) if ("drawn" in plot.dataset) draw(plot);
  }
  function select(id, label, names, onchange) {
    const list = make("select", { id, onchange: () => { chosen.set(id, list.value); onchange(list.value); } },
      ...names.map(([value, text]) => make("option", { value }, text)));
    if (chosen.has(id) && names.some(([value]) => value === chosen.get(id))) list.value = chosen.get(id);
    return [make("label", {}, label, list), list];
  }
  function setUpCharts() {
    for (const plot of all("[data-chart]")) {
      const kind = plot.dataset.chart;
      const panels = data.charts[kind];
      let panel = panels[0];
      const build = () => BUILDERS[kind](panel);
      const controls = find(`[data-controls="${kind}"]`);
      controls.hidden = false;
      if (panels.length > 1) {
        const take = (name) => {
          panel = panels.find((each) => each.name === name) ?? panels[0];
          place(plot, build);
        };
        const [label, list] = select(`${kind}-panel`, "Show", panels.map((each) => [each.name, each.name]), take);
        controls.replaceChildren(label);
        panel = panels.find((each) => each.name === list.value);
      } else controls.replaceChildren(make("strong", {}, panel.name));
      place(plot, build);
    }
  }

  // The table: sorted by its headings, filtered by words and by settings.
  const filters = new Map();
  let order = null; // [column's name, direction]
  function setUpTable() {
    const table = find("#table");
    if (!table) return;
    const heads = all("th", table);
    const body = find("tbody", table);
    const lines = all("tr", body).map((line) => ({ line, cells: [...line.cells], text: line.textContent.toLowerCase() }));
    const original = lines.map(({ line }) => line);
    const bar = find(".filters");
    const count = find("[data-count]");
    function filter() {
      let left = 0;
      for (const { line, cells, text } of lines) {
        const words = (filters.get("words") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
        const fits = words.every((word) => text.includes(word)) &&
          heads.every((head, column) => !filters.get(head.dataset.name) || cells[column].textContent === filters.get(head.dataset.name));
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
      const keyed = lines.map(({ line, cells }) => ({ line, key: isNumeric
        ? ("value" in cells[column].dataset ? Number(cells[column].dataset.value) : null) : cells[column].textContent }));
      keyed.sort((a, b) => {
        if (a.key === null || b.key === null) return (a.key === null) - (b.key === null); // unknown comes last
        return order[1] * (isNumeric ? a.key - b.key : a.key.localeCompare(b.key, "en", { numeric: true }));
      });
      body.append(...keyed.map(({ line }) => line));
      for (const [place_, head] of heads.entries())
        head.setAttribute("aria-sort", place_ === column ? (order[1] > 0 ? "ascending" : "descending") : "none");
    }
    for (const head of heads) {
      const name = head.textContent;
      head.dataset.name = name;
      head.setAttribute("aria-sort", "none");
      head.replaceChildren(make("button", { type: "button", onclick: () => {
        order = [name, order?.[0] === name ? -order[1] : 1];
        sort();
      } }, name));
    }
    const words = make("input", { type: "search", id: "filter-words", oninput: () => { filters.set("words", words.value); filter(); } });
    words.value = filters.get("words") ?? "";
    bar.replaceChildren(make("label", {}, "Find", words));
    heads.forEach((head, column) => {
      const values = [...new Set(lines.map(({ cells }) => cells[column].textContent))];
      if (!("filter" in head.dataset) || values.length < 2) return;
      const name = head.dataset.name;
      const list = make("select", { "data-filter-of": name, onchange: () => { filters.set(name, list.value); filter(); } },
        make("option", { value: "" }, "all"), ...values.map((value) => make("option", { value }, value)));
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
        cell.append(make("button", { type: "button", "aria-label": `Samples of ${data.names[key]}`,
          onclick: () => showSamples(key, true) }, `${series} series`));
      }
      cells[after].after(cell);
    }
    bar.hidden = false;
    for (const hint of all("[data-hint]")) hint.hidden = false;
    if (order) sort();
    else body.append(...original);
    filter();
  }

  // Samples: three bytes each, the upper ones of a 32-bit float.
  function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
    const found = new Float32Array(bytes.length / 3);
    const bits = new Uint32Array(found.buffer);
    for (let place_ = 0; place_ < found.length; place_++)
      bits[place_] = (bytes[3 * place_] << 8) | (bytes[3 * place_ + 1] << 16) | (bytes[3 * place_ + 2] << 24);
    return found;
  }
  const quantile = (sorted, share) => {
    const at = share * (sorted.length - 1);
    const below = Math.floor(at);
    return sorted[below] + (at - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below]);
  };
  function histogram(sorted) {
    const low = sorted[0], high = sorted.at(-1);
    const spread = 2 * (quantile(sorted, 0.75) - quantile(sorted, 0.25)) / Math.cbrt(sorted.length); // Freedman and Diaconis
    const bins = high > low ? Math.min(80, Math.max(5, Math.ceil((high - low) / (spread || (high - low) / 10)))) : 1;
    const step = (high - low) / bins || low * 0.01 || 1e-9;
    const counts = Array(bins).fill(0);
    for (const value of sorted) counts[Math.min(bins - 1, Math.floor((value - low) / step))]++;
    return counts.map((count, place_) => [low + place_ * step, low + (place_ + 1) * step, count]);
  }
  let current = null;
  function showSamples(key, isAsked) {
    const phases = data.series[key];
    if (!phases) return;
    current = key;
    find("[data-samples]").hidden = false;
    find("[data-samples-hint]").hidden = true;
    const heading = find("[data-samples-name]");
    heading.textContent = data.names[key];
    for (const line of all("#table tbody tr")) line.classList.toggle("chosen", line.dataset.key === key);
    const controls = find('[data-controls="samples"]');
    const names = Object.keys(phases);
    const wholes = ["total", "inference"].filter((name) => name in phases);
    const [phaseLabel, phaseList] = select("samples-phase", "Phase", names.map((name) => [name, name]), rounds);
    if (!chosen.has("samples-phase") || !(chosen.get("samples-phase") in phases)) phaseList.value = wholes[0] ?? names[0];
    function rounds() {
      const series = phases[phaseList.value];
      const options = [["all", "all rounds"], ...series.map(([round]) => [String(round), `round ${round}`])];
      const [label, list] = select("samples-round", "Round", options, () => drawSamples(series, list.value));
      controls.replaceChildren(phaseLabel, label);
      drawSamples(series, list.value);
    }
    rounds();
    if (isAsked) {
      find("#samples").scrollIntoView({ block: "start" });
      heading.focus({ preventScroll: true });
    }
  }
  function drawSamples(series, round) {
    const taken = series.filter(([number]) => round === "all" || String(number) === round);
    const parts = taken.map(([number, text, calls, warnings, counts]) => ({ number, values: [...unpack(text)], calls, warnings, counts }));
    const sorted = parts.flatMap((part) => part.values).sort((a, b) => a - b);
    const middle = quantile(sorted, 0.5);
    const unit = timeAxis(middle);
    const calls = Math.max(...parts.map((part) => part.calls));
    const left = parts.filter((part) => !part.counts).length;
    find("[data-samples-summary]").textContent = [
      `${sorted.length.toLocaleString("en")} ${sorted.length === 1 ? "sample" : "samples"} in ${parts.length} ${parts.length === 1 ? "round" : "rounds"}`,
      `median ${withUnit(middle, unit)}`, `least ${withUnit(sorted[0], unit)}`, `most ${withUnit(sorted.at(-1), unit)}`,
      calls > 1 ? `a sample is the mean of ${calls} calls` : "a sample is one call",
      ...(left ? [`${left} of the rounds does not count`] : []),
    ].join(" · ");
    const told = new Map();
    for (const part of parts) for (const place_ of part.warnings) told.set(place_, [...(told.get(place_) ?? []), part.number]);
    find("[data-samples-warnings]").replaceChildren(...(told.size ? [...told].map(([place_, numbers]) => {
      const [code, text] = data.warnings[place_];
      return make("li", {}, make("span", { class: "doubt" }, code), `: ${text} (round ${numbers.join(", ")})`);
    }) : [make("li", {}, "No warnings.")]));
    let start = 0;
    place(find("[data-samples-order]"), () => {
      start = 0;
      return base({
        height: 320,
        legend: { show: parts.length > 1 },
        xAxis: axis({ type: "value", name: "sample, in order", nameGap: 30, min: 0, max: Math.max(1, sorted.length - 1) }),
        yAxis: axis({ type: "value", name: `time (${unit[1]} per call)`, nameGap: 52, scale: true }),
        series: parts.map((part, place_) => {
          const points = part.values.map((value, index) => [start + index, value / unit[0]]);
          start += part.values.length;
          return { type: "scatter", name: `round ${part.number}`, data: points, large: sorted.length > 4000, z: 3,
            symbolSize: 5, symbol: look(place_).symbol, color: look(place_).color };
        }),
        tooltip: { formatter: ({ seriesName, value }) => tip(seriesName, `${digits(value[1])} ${unit[1]}`) },
      });
    });
    const bins = histogram(sorted);
    place(find("[data-samples-histogram]"), () => base({
      height: 320,
      legend: { show: false },
      xAxis: axis({ type: "value", name: `time (${unit[1]} per call)`, nameGap: 30, scale: true, min: bins[0][0] / unit[0], max: bins.at(-1)[1] / unit[0],
        axisLabel: { color: ink.quiet, hideOverlap: true, formatter: (value) => digits(value) } }),
      yAxis: axis({ type: "value", name: "samples", nameGap: 44, minInterval: 1 }),
      series: [{
        type: "custom", data: bins.map(([a, b, count]) => [a / unit[0], b / unit[0], count]), encode: { x: [0, 1], y: 2 },
        renderItem(params, api) {
          const [x1, y] = api.coord([api.value(0), api.value(2)]);
          const [x2, zero] = api.coord([api.value(1), 0]);
          return { type: "rect", shape: { x: x1, y, width: Math.max(1, x2 - x1 - 1), height: zero - y }, style: { fill: ink.colors[0] } };
        },
      }],
      tooltip: { formatter: ({ value }) => tip(`${value[2]} ${value[2] === 1 ? "sample" : "samples"}`, `${digits(value[0])} – ${digits(value[1])} ${unit[1]}`) },
    }));
  }

  // The theme.
  function setUpTheme() {
    const button = find("#theme");
    const say = () => { button.textContent = isDark() ? "Light" : "Dark"; button.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`); };
    button.hidden = false;
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      say();
      redraw();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { say(); redraw(); });
    say();
  }

  // A served page asks for what is new, and takes it over without losing what the reader chose.
  const INTERVAL = 2000;
  async function refresh() {
    setTimeout(refresh, INTERVAL);
    const answer = await fetch("data", { headers: { "If-None-Match": data.tag }, cache: "no-store" }).catch(() => null);
    if (answer?.status === 200) take(await answer.json()); // without an answer, what is shown stays
  }
  function take(fresh) {
    const open = all("details").map((each) => each.open);
    const at = scrollY;
    const focus = document.activeElement?.id;
    for (const plot of shown.keys()) echarts.getInstanceByDom(plot)?.dispose();
    shown.clear();
    seen.disconnect();
    sized.disconnect();
    const made = new DOMParser().parseFromString(fresh.main, "text/html");
    find("#main").replaceChildren(...made.body.childNodes);
    find("#subtitle").textContent = fresh.subtitle;
    data = fresh.data;
    all("details").forEach((each, place_) => { each.open = open[place_] ?? false; });
    setUp();
    scrollTo(0, at);
    if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
  }

  function setUp() {
    setUpCharts();
    setUpTable();
    const first = current in data.series ? current : Object.keys(data.series)[0];
    if (first) showSamples(first, false);
  }
  data = JSON.parse(find("#data").textContent);
  readInk();
  setUpTheme();
  setUp();
  if (data.tag !== null) refresh();
})();
