// Samples: three bytes each, the upper ones of a 32-bit float.
function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  const found = new Float32Array(bytes.length / 3);
  const bits = new Uint32Array(found.buffer);
  for (let index = 0; index < found.length; index++)
    bits[index] = (bytes[3 * index] << 8) | (bytes[3 * index + 1] << 16) | (bytes[3 * index + 2] << 24);
  return found;
}
const quantile = (sorted, share) => {
  const at = share * (sorted.length - 1);
  const below = Math.floor(at);
  return sorted[below] + (at - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below]);
};
function histogram(sorted) {
  const low = sorted[0],
    high = sorted.at(-1);
  const spread = (2 * (quantile(sorted, 0.75) - quantile(sorted, 0.25))) / Math.cbrt(sorted.length); // Freedman and Diaconis
  const bins =
    high > low ? Math.min(80, Math.max(5, Math.ceil((high - low) / (spread || (high - low) / 10)))) : 1;
  const step = (high - low) / bins || low * 0.01 || 1e-9;
  const counts = Array(bins).fill(0);
  for (const value of sorted) counts[Math.min(bins - 1, Math.floor((value - low) / step))]++;
  return counts.map((count, index) => [low + index * step, low + (index + 1) * step, count]);
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
  const [phaseLabel, phaseList] = select(
    "samples-phase",
    "Phase",
    names.map((name) => [name, name]),
    rounds,
  );
  if (!chosen.has("samples-phase") || !(chosen.get("samples-phase") in phases))
    phaseList.value = wholes[0] ?? names[0];
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
  const parts = taken.map(([number, text, calls, warnings, counts]) => ({
    number,
    values: [...unpack(text)],
    calls,
    warnings,
    counts,
  }));
  const sorted = parts.flatMap((part) => part.values).sort((a, b) => a - b);
  const middle = quantile(sorted, 0.5);
  const unit = timeAxis(middle);
  const calls = Math.max(...parts.map((part) => part.calls));
  const left = parts.filter((part) => !part.counts).length;
  find("[data-samples-summary]").textContent = [
    `${sorted.length.toLocaleString("en")} ${sorted.length === 1 ? "sample" : "samples"} in ${parts.length} ${parts.length === 1 ? "round" : "rounds"}`,
    `median ${withUnit(middle, unit)}`,
    `least ${withUnit(sorted[0], unit)}`,
    `most ${withUnit(sorted.at(-1), unit)}`,
    calls > 1 ? `a sample is the mean of ${calls} calls` : "a sample is one call",
    ...(left ? [`${left} of the rounds does not count`] : []),
  ].join(" · ");
  const told = new Map();
  for (const part of parts)
    for (const index of part.warnings) told.set(index, [...(told.get(index) ?? []), part.number]);
  find("[data-samples-warnings]").replaceChildren(
    ...(told.size
      ? [...told].map(([index, numbers]) => {
          const [code, text] = data.warnings[index];
          return make(
            "li",
            {},
            make("span", { class: "doubt" }, code),
            `: ${text} (round ${numbers.join(", ")})`,
          );
        })
      : [make("li", {}, "No warnings.")]),
  );
  const margin = Math.max(0.5, sorted.length / 50); // of the axis: no point lies on the frame
  let start = 0;
  place(find("[data-samples-order]"), () => {
    start = 0;
    return base({
      height: 320,
      legend: { show: parts.length > 1 },
      xAxis: axis({
        type: "value",
        name: "sample, in order",
        nameGap: 30,
        min: -margin,
        max: sorted.length - 1 + margin,
        minInterval: 1,
        axisLabel: { color: ink.quiet, hideOverlap: true, showMinLabel: false, showMaxLabel: false },
      }),
      yAxis: axis({ type: "value", name: `time (${unit[1]} per call)`, nameGap: 52, scale: true }),
      series: parts.map((part, index) => {
        const points = part.values.map((value, index) => [start + index, value / unit[0]]);
        start += part.values.length;
        return {
          type: "scatter",
          name: `round ${part.number}`,
          data: points,
          large: sorted.length > 4000,
          z: 3,
          symbolSize: sorted.length > 100 ? 5 : 9,
          symbol: look(index).symbol,
          color: look(index).color,
        };
      }),
      tooltip: { formatter: ({ seriesName, value }) => tip(seriesName, `${digits(value[1])} ${unit[1]}`) },
    });
  });
  const bins = histogram(sorted);
  place(find("[data-samples-histogram]"), () =>
    base({
      height: 320,
      legend: { show: false },
      xAxis: axis({
        type: "value",
        name: `time (${unit[1]} per call)`,
        nameGap: 30,
        scale: true,
        axisLabel: { color: ink.quiet, hideOverlap: true, formatter: (value) => digits(value) },
      }),
      yAxis: axis({ type: "value", name: "samples", nameGap: 44, minInterval: 1 }),
      series: [
        {
          type: "custom",
          data: bins.map(([a, b, count]) => [a / unit[0], b / unit[0], count]),
          encode: { x: [0, 1], y: 2 },
          renderItem(params, api) {
            const [x1, y] = api.coord([api.value(0), api.value(2)]);
            const [x2, zero] = api.coord([api.value(1), 0]);
            return {
              type: "rect",
              shape: { x: x1, y, width: Math.max(1, x2 - x1 - 1), height: zero - y },
              style: { fill: ink.colors[0] },
            };
          },
        },
      ],
      tooltip: {
        formatter: ({ value }) =>
          tip(
            `${value[2]} ${value[2] === 1 ? "sample" : "samples"}`,
            `${digits(value[0])} – ${digits(value[1])} ${unit[1]}`,
          ),
      },
    }),
  );
}
