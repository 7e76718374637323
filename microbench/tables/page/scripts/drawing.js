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
const seen = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries)
      if (isIntersecting && !("drawn" in target.dataset)) draw(target);
  },
  { rootMargin: "300px" },
);
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
  const list = make(
    "select",
    {
      id,
      onchange: () => {
        chosen.set(id, list.value);
        onchange(list.value);
      },
    },
    ...names.map(([value, text]) => make("option", { value }, text)),
  );
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
      const [label, list] = select(
        `${kind}-panel`,
        "Show",
        panels.map((each) => [each.name, each.name]),
        take,
      );
      controls.replaceChildren(label);
      panel = panels.find((each) => each.name === list.value);
    } else controls.replaceChildren(make("strong", {}, panel.name));
    place(plot, build);
  }
}
