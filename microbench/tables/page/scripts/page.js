// The theme, a served page, and the beginning.
function setUpTheme() {
  const button = find("#theme");
  const say = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    say();
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    say();
    redraw();
  });
  say();
}

// A served page asks for what is new, and takes it over without losing what the reader chose.
const INTERVAL = 2000;
async function refresh() {
  setTimeout(refresh, INTERVAL);
  const answer = await fetch("data", { headers: { "If-None-Match": data.tag }, cache: "no-store" }).catch(
    () => null,
  );
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
  all("details").forEach((each, index) => {
    each.open = open[index] ?? false;
  });
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
