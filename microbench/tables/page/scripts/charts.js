// What each chart draws of a panel: a function that returns an option of ECharts.
const BUILDERS = {
  latency(panel) {
    const [factor, unit] = panel.axes.y;
    const sizes = panel.lines.flatMap((line) => line.batch_sizes);
    const series = panel.lines.flatMap((line) => {
      const { color, symbol, dash } = lookOf(line.configuration);
      const points = line.times.map((time, place) => ({
        value: [line.batch_sizes[place], time.seconds / factor],
        key: time.key,
        time,
      }));
      return [
        {
          type: "line",
          name: line.configuration,
          data: points,
          symbol,
          symbolSize: 9,
          color,
          z: 3,
          lineStyle: { type: dash, width: 2 },
        },
        whiskers(
          line.configuration,
          line.times.map((time, place) => [
            line.batch_sizes[place],
            time.low / factor,
            time.high === null ? null : time.high / factor,
          ]),
          color,
        ),
      ];
    });
    const values = panel.lines.flatMap((line) => line.times.map((time) => time.seconds / factor));
    return base({
      xAxis: axis({
        type: "log",
        logBase: 2,
        name: "batch size (items), log scale",
        nameGap: 30,
        min: Math.min(...sizes),
        max: Math.max(...sizes),
      }),
      yAxis: scale(values, `${panel.phase} (${unit} per call)`, { nameGap: 48 }),
      series,
      tooltip: {
        formatter: ({ seriesName, value, data: { time } }) =>
          tip(
            seriesName,
            `batch ${value[0]}`,
            withUnit(time.seconds, panel.axes.y),
            between(time.low, time.high, panel.axes.y),
            `${time.rounds} rounds`,
          ),
      },
    });
  },

  speedup(panel) {
    const lines = panel.groups.flatMap((group) => group.bars.map((bar) => ({ group, bar })));
    const baselines = new Set(panel.groups.map((group) => group.baseline));
    const over = baselines.size === 1 ? ` over ${[...baselines][0]}` : "";
    const names = lines.map(
      ({ group, bar }) => `${group.work}: ${bar.configuration}${over ? "" : ` over ${group.baseline}`}`,
    );
    const bars = lines.map(({ bar }) => {
      const { color } = lookOf(bar.configuration);
      const sure = bar.verdict === "faster" || bar.verdict === "slower";
      return {
        value: bar.speedup,
        key: bar.key,
        bar,
        itemStyle: { color: sure ? color : "transparent", borderColor: color, borderWidth: 1.5 },
      };
    });
    // An interval over few rounds may be a thousand times as wide as the bars are long: it runs off the chart.
    const most = Math.ceil(3 * Math.max(1, ...lines.map(({ bar }) => bar.speedup)));
    const end = (bar) => Math.min(most, Math.max(bar.speedup, bar.high ?? 0));
    return base({
      height: lines.length * 44 + 64,
      legend: { show: false },
      grid: { left: 12, right: 64, top: 52, bottom: 12 },
      xAxis: axis({
        type: "value",
        position: "top",
        name: `speedup${over} (times as fast)`,
        nameGap: 28,
        min: 0,
        max: lines.some(({ bar }) => bar.high > most) ? most : null,
      }),
      yAxis: rows(lines.length),
      series: [
        labels(names),
        {
          type: "bar",
          data: bars,
          barWidth: 10,
          z: 2,
          markLine: {
            silent: true,
            symbol: "none",
            label: { show: false },
            lineStyle: { color: ink.text, type: "dashed" },
            data: [{ xAxis: 1 }],
          },
        },
        whiskers(
          "interval",
          lines.map(({ bar }, place) => [place, bar.low, bar.high]),
          ink.text,
          true,
        ),
        figures(
          lines.map(({ bar }) => end(bar)),
          (place) => `${lines[place].bar.speedup.toFixed(2)}×`,
        ),
      ],
      tooltip: {
        formatter: ({ data: { bar }, dataIndex }) =>
          tip(
            names[dataIndex],
            `${digits(bar.speedup)} times as fast`,
            isNumber(bar.low) ? `95 % CI ${digits(bar.low)} to ${digits(bar.high)}` : "no interval",
            bar.reason ? `${bar.verdict}: ${bar.reason}` : bar.verdict,
          ),
      },
    });
  },

  phases(panel) {
    const [factor, unit] = panel.axes.x;
    return base({
      height: panel.bars.length * 44 + 70,
      grid: { left: 12, right: 80, top: 56, bottom: 12 },
      xAxis: axis({ type: "value", position: "top", name: `time (${unit} per step)`, nameGap: 28, min: 0 }),
      yAxis: rows(panel.bars.length),
      series: [
        labels(panel.bars.map((bar) => bar.name)),
        ...panel.phases.map((phase, place) => ({
          type: "bar",
          name: phase,
          stack: "step",
          barWidth: 12,
          color: ink.colors[place % ink.colors.length],
          itemStyle: { borderColor: ink.paper, borderWidth: 1, decal: DECALS[place % DECALS.length] },
          data: panel.bars.map((bar) => ({
            value: (bar.parts[phase] ?? 0) / factor,
            key: bar.total.key,
            bar,
          })),
        })),
        {
          type: "scatter",
          name: "whole step",
          symbol: "diamond",
          symbolSize: 11,
          color: ink.text,
          z: 5,
          data: panel.bars.map((bar, place) => ({
            value: [bar.total.seconds / factor, place],
            key: bar.total.key,
            bar,
          })),
        },
        whiskers(
          "whole step",
          panel.bars.map((bar, place) => [
            place,
            bar.total.low / factor,
            bar.total.high === null ? null : bar.total.high / factor,
          ]),
          ink.text,
          true,
        ),
        figures(
          panel.bars.map(({ total, parts }) => {
            const sum = Object.values(parts).reduce((all, each) => all + each, 0);
            return Math.max(total.seconds, total.high ?? 0, sum) / factor;
          }),
          (place) => withUnit(panel.bars[place].total.seconds, panel.axes.x),
        ),
      ],
      tooltip: {
        formatter: ({ data: { bar } }) =>
          tip(
            bar.name,
            ...Object.entries(bar.parts).map(
              ([phase, seconds]) => `${phase}: ${withUnit(seconds, panel.axes.x)}`,
            ),
            `whole step: ${withUnit(bar.total.seconds, panel.axes.x)}`,
            between(bar.total.low, bar.total.high, panel.axes.x),
          ),
      },
    });
  },

  memory(panel) {
    const { x, y } = panel.axes;
    const points = panel.lines.flatMap((line) => line.points);
    return base({
      xAxis: scale(
        points.map((point) => point.memory / x[0]),
        `peak memory (${x[1]})`,
        { nameGap: 30, scale: true },
      ),
      yAxis: scale(
        points.map((point) => point.throughput / y[0]),
        y[1],
        { nameGap: 48 },
      ),
      series: panel.lines.flatMap((line) => {
        const { color, symbol, dash } = lookOf(line.configuration);
        return [
          {
            type: "line",
            name: line.configuration,
            color,
            symbol,
            symbolSize: 9,
            lineStyle: { type: dash },
            z: 3,
            label: {
              show: true,
              position: "right",
              color: ink.text,
              ...onLines(),
              formatter: ({ data: each }) => String(each.point.batch_size),
            },
            labelLayout: { dx: 2, dy: -10, hideOverlap: true }, // beside the marker and the whisker
            data: line.points.map((point) => ({
              value: [point.memory / x[0], point.throughput / y[0]],
              key: point.key,
              point,
            })),
          },
          whiskers(
            line.configuration,
            line.points.map((point) => [
              point.memory / x[0],
              point.low / y[0],
              point.high === null ? null : point.high / y[0],
            ]),
            color,
          ),
        ];
      }),
      tooltip: {
        formatter: ({ seriesName, data: { point } }) =>
          tip(
            seriesName,
            `batch ${point.batch_size}`,
            withUnit(point.throughput, y),
            between(point.low, point.high, y),
            `${withUnit(point.memory, x)} at most`,
          ),
      },
    });
  },

  accuracy(panel) {
    const { x } = panel.axes;
    const kinds = [...new Set(panel.points.map((point) => point.configuration))];
    const frontier = panel.points.filter((point) => point.is_on_frontier);
    return base({
      legend: { data: kinds },
      xAxis: scale(
        panel.points.map((point) => point.time.seconds / x[0]),
        `inference (${x[1]} per call)`,
        { nameGap: 30 },
      ),
      yAxis: axis({ type: "value", name: "ImageNet top-1 (%)", nameGap: 44, scale: true }),
      series: [
        {
          type: "line",
          name: "Pareto frontier",
          step: "end",
          symbol: "none",
          color: ink.quiet,
          z: 1,
          silent: true,
          lineStyle: { type: "dashed", width: 1.5 },
          data: frontier.map((point) => [point.time.seconds / x[0], point.top1]),
        },
        ...kinds.flatMap((kind) => {
          const { color, symbol } = lookOf(kind);
          const points = panel.points.filter((point) => point.configuration === kind);
          return [
            {
              type: "scatter",
              name: kind,
              color,
              symbol,
              symbolSize: 11,
              z: 3,
              label: {
                show: true,
                position: "top",
                color: ink.text,
                formatter: ({ data: each }) => each.point.model,
              },
              labelLayout: { hideOverlap: true, moveOverlap: "shiftY" },
              data: points.map((point) => ({
                value: [point.time.seconds / x[0], point.top1],
                key: point.time.key,
                point,
                itemStyle: {
                  color: point.is_on_frontier ? color : ink.paper,
                  borderColor: color,
                  borderWidth: 2,
                },
              })),
            },
            whiskers(
              kind,
              points.map((point) => [
                point.top1,
                point.time.low / x[0],
                point.time.high === null ? null : point.time.high / x[0],
              ]),
              color,
              true,
              2,
            ),
          ];
        }),
      ],
      tooltip: {
        formatter: ({ data: { point } }) =>
          tip(
            point.model,
            `${digits(point.top1)} % with ${point.weights}`,
            withUnit(point.time.seconds, x),
            between(point.time.low, point.time.high, x),
            point.configuration,
            point.is_on_frontier ? "on the Pareto frontier" : "",
          ),
      },
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
    const highest =
      Math.max(...peaks.map(([, rate]) => rate), ...panel.points.map((point) => point.rate)) / factor;
    const lowest = Math.min(...panel.points.map((point) => point.rate)) / factor;
    const slopes = panel.bandwidths.length
      ? [
          ["memory", panel.bandwidths.at(-1)[1]],
          ["fastest cache", Math.max(...panel.bandwidths.map(([, rate]) => rate))],
        ]
      : [];
    const top = Math.max(...peaks.map(([, rate]) => rate), 0);
    const roof = (name, ends, place) => ({
      type: "line",
      name,
      data: ends.map(([x, rate]) => [x, rate / factor]),
      symbol: "none",
      silent: true,
      z: 1,
      color: ink.quiet,
      lineStyle: { width: 1.5, type: DASHES[place % DASHES.length] },
    });
    const ridge = (rate) => Math.min(right, top / rate || right); // where the peak meets a bandwidth
    const roofs = [
      ...peaks.map(([name, rate], place) =>
        roof(
          `${name} peak ${withUnit(rate, panel.axes.y)}`,
          [
            [left, rate],
            [right, rate],
          ],
          place,
        ),
      ),
      ...slopes.map(([name, rate], place) =>
        roof(
          `${name} ${withUnit(rate, [1e9, "GB/s"])}`,
          [
            [left, left * rate],
            [ridge(rate), ridge(rate) * rate],
          ],
          place,
        ),
      ),
    ];
    return base({
      height: 420,
      legend: {
        data: [
          ...kinds,
          ...(total ? ["whole model"] : []),
          ...roofs.map(({ name }) => ({ name, icon: LINE })),
        ],
      },
      xAxis: axis({
        type: "log",
        name: "arithmetic intensity (FLOP/byte), log scale",
        nameGap: 30,
        min: left,
        max: right,
      }),
      yAxis: axis({
        type: "log",
        name: `speed (${unit}), log scale`,
        nameGap: 52,
        min: 10 ** Math.floor(Math.log10(lowest)),
        max: 10 ** Math.ceil(Math.log10(highest * 1.05)),
      }),
      series: [
        ...kinds.map((kind, place) => {
          const { color, symbol } = look(place);
          return {
            type: "scatter",
            name: kind,
            color,
            symbol,
            z: 3,
            itemStyle: { opacity: 0.85, borderColor: ink.paper, borderWidth: 0.5 },
            symbolSize: (_, { data: each }) => 6 + 26 * Math.sqrt(each.point.share ?? 0),
            data: points
              .filter((point) => kindOf(point.type) === kind)
              .map((point) => ({ value: [point.intensity, point.rate / factor], point })),
          };
        }),
        ...(total
          ? [
              {
                type: "scatter",
                name: "whole model",
                symbol: "diamond",
                symbolSize: 16,
                color: ink.text,
                z: 4,
                data: [{ value: [total.intensity, total.rate / factor], point: total }],
              },
            ]
          : []),
        ...roofs,
      ],
      tooltip: {
        formatter: ({ seriesName, data: each }) =>
          each.point &&
          tip(
            each.point.name === "total" ? "whole model" : each.point.name,
            each.point.type || seriesName,
            withUnit(each.point.rate, panel.axes.y),
            `${digits(each.point.intensity)} FLOP/byte`,
            isNumber(each.point.share) ? `${digits(100 * each.point.share)} % of the time` : "",
            each.point.bound ? `limited by ${each.point.bound}` : "",
          ),
      },
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
      const isPatterned = leaf.node.type !== "" && place >= ink.colors.length;
      leaf.itemStyle = { color, decal: isPatterned ? DECALS[1] : undefined };
      leaf.label = { color: inkOn(color), backgroundColor: isPatterned ? color : undefined };
    }
    const border = { borderColor: ink.paper, borderWidth: 1, gapWidth: 1 };
    const name = (item) =>
      item.node.type && item.node.type !== item.node.name
        ? `${item.node.name} ${item.node.type}`
        : item.node.name;
    return {
      height: 520,
      animation: false,
      textStyle: { fontFamily: "system-ui, sans-serif" },
      tooltip: {
        confine: true,
        backgroundColor: ink.panel,
        borderColor: ink.line,
        textStyle: { color: ink.text },
        formatter: ({ data: each }) =>
          each?.node &&
          tip(
            each.node.name,
            each.node.type,
            withUnit(each.node.value, panel.axes.value),
            isNumber(each.node.share) ? `${digits(100 * each.node.share)} % of the model` : "",
          ),
      },
      series: [
        {
          type: "treemap",
          data: path.root.children,
          name: path.root.name,
          left: 0,
          right: 0,
          top: 4,
          bottom: 34,
          roam: false,
          nodeClick: "zoomToNode",
          visibleMin: 60,
          label: {
            formatter: ({ data: each }) => (each.node ? name(each) : ""),
            fontSize: 11,
          },
          upperLabel: {
            show: true,
            height: 18,
            color: ink.text,
            formatter: ({ data: each }) => (each?.node ? name(each) : ""),
            fontSize: 11,
          },
          breadcrumb: {
            bottom: 2,
            itemStyle: { color: ink.panel, borderColor: ink.line, textStyle: { color: ink.text } },
            emphasis: { itemStyle: { color: ink.line, textStyle: { color: ink.text } } },
          },
          levels: [
            { itemStyle: border, upperLabel: { show: false } },
            ...Array(8).fill({ itemStyle: { ...border, borderColor: ink.line } }),
          ],
        },
      ],
    };
  },

  published(panel) {
    const { x } = panel.axes;
    const originOf = ({ device, software }) => [device, software].filter(Boolean).join(", ");
    const origins = [...new Set(panel.points.map(originOf))];
    const values = panel.points.flatMap((point) => [point.measured / x[0], point.published / x[0]]);
    const room = (4 * Math.max(...panel.points.map((point) => point.published))) / x[0]; // for a name
    const ends = decades([...values, room]); // the same on both axes
    const short = (point) => `${point.model}, batch ${point.batch_size}`;
    const configurations = new Map(); // by short name
    for (const point of panel.points)
      configurations.set(
        short(point),
        (configurations.get(short(point)) ?? new Set()).add(point.configuration),
      );
    const nameOf = (point) => {
      const alike = [...configurations.get(short(point))].map((each) => each.split(", "));
      const parts = point.configuration.split(", ");
      const own = parts.filter((part) => !alike.every((other) => other.includes(part)));
      return [short(point), own.join(", ")].filter(Boolean).join("\n");
    };
    const highest = new Map(); // a case's figures are above each other: its name is above the highest
    for (const point of panel.points)
      highest.set(point.key, Math.max(highest.get(point.key) ?? 0, point.published));
    return base({
      legend: { data: origins },
      xAxis: axis({ type: "log", name: `measured here (${x[1]}), log scale`, nameGap: 30, ...ends }),
      yAxis: axis({ type: "log", name: `published (${x[1]}), log scale`, nameGap: 52, ...ends }),
      series: [
        {
          type: "line",
          name: "equal",
          data: [ends.min, ends.max].map((value) => [value, value]),
          symbol: "none",
          silent: true,
          color: ink.quiet,
          z: 1,
          lineStyle: { type: "dashed", width: 1.5 },
        },
        ...origins.map((origin, place) => ({
          type: "scatter",
          name: origin,
          color: look(place).color,
          symbol: look(place).symbol,
          symbolSize: 11,
          z: 3,
          label: {
            show: true,
            position: "top",
            color: ink.text,
            ...onLines(),
            formatter: ({ data: { point } }) =>
              point.published === highest.get(point.key) ? nameOf(point) : "",
          },
          labelLayout: { hideOverlap: true },
          data: panel.points
            .filter((point) => originOf(point) === origin)
            .map((point) => ({
              value: [point.measured / x[0], point.published / x[0]],
              key: point.key,
              point,
            })),
        })),
      ],
      tooltip: {
        formatter: ({ seriesName, data: { point } }) =>
          tip(
            nameOf(point),
            point.variant,
            `here ${withUnit(point.measured, x)}`,
            `published ${withUnit(point.published, x)}`,
            seriesName,
          ),
      },
    });
  },
};
