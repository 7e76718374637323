"""The page of a report in a real browser: it draws, sorts, filters, shows samples, and requests nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from browser import DESKTOP, PHONE, browser, errors, requested, resize
from factory import call_of, configured, record_of, told

from microbench.analysis.page import page
from microbench.cli.source import Source
from microbench.config import ModelConfig
from microbench.records.cases import cases_of
from microbench.records.peaks import Peaks
from microbench.records.record import BenchmarkWarning, Kind, RoundRecord, WarningCode, encode
from microbench.tables.page import html
from microbench.tables.page.server import Server

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

EVIL = "<img src=x onerror=alert(1)>"
CHARTS = ["speedup", "latency", "phases", "memory", "accuracy", "roofline", "layers", "published"]
DRAWN = """
const done = arguments[arguments.length - 1];
const plots = [...document.querySelectorAll("[data-chart]")];
(async () => {
  for (const plot of plots) {
    plot.scrollIntoView();
    while (!("drawn" in plot.dataset)) await new Promise(requestAnimationFrame);
  }
  scrollTo(0, 0);
  done(plots.map((plot) => [plot.dataset.chart, echarts.getInstanceByDom(plot).getOption().series.length]));
})();
"""
CONTRAST = """
const light = (color) => {
  const parts = color.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
};
const contrast = (one, other) => {
  const [a, b] = [light(one), light(other)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
};
const behind = (node) => {
  for (; node; node = node.parentElement) {
    const color = getComputedStyle(node).backgroundColor;
    if (!color.endsWith(", 0)")) return color;
  }
};
const tags = "h1, h2, p, a, td, th, dt, dd, li, summary, button, select, label, .doubt, .bad";
const texts = [...document.querySelectorAll(tags)];
const plain = (color) => `${color.match(/\\w\\w/g).map((part) => parseInt(part, 16))}`;
const leaves = (item) => (item.children ? item.children.flatMap(leaves) : [item]);
const areas = echarts.getInstanceByDom(document.querySelector('[data-chart="layers"]'))
  .getOption().series[0].data.flatMap(leaves);
return Math.min(
  ...texts.filter((node) => node.offsetParent && node.textContent.trim())
    .map((node) => contrast(getComputedStyle(node).color, behind(node))),
  ...areas.map((area) => contrast(plain(area.label.color), plain(area.itemStyle.color))),
);
"""


def records(timed: Any) -> list[RoundRecord]:
    """A run that fills every chart, with a model whose name is HTML."""
    found: list[RoundRecord] = []
    for order, (name, batch, engine) in enumerate(
        (name, batch, engine)
        for name in ("resnet18", "resnet50", EVIL)
        for batch in (1, 8)
        for engine in ("eager", "compile")
    ):
        model = ModelConfig("torchvision", name, input_shape=[3, 224, 224])
        share = (1 + order % 4) * (3 if name == "resnet50" else 1) * (0.8 if engine == "compile" else 1.0)
        times = [share * factor / 100 for factor in (1.0, 1.01, 0.99, 1.02, 1.0, 1.01)]
        case = timed(times, order, model=model, batch_size=batch, engine=engine)
        found += told(case, peak_memory=(order + 1) * 2**20)
    drift = BenchmarkWarning(WarningCode.DRIFT, f"it drifts: {EVIL}")
    found[0] = told([found[0]], warnings=(drift,))[0]
    step = {"forward": [0.1] * 6, "backward": [0.2] * 6, "total": [0.31] * 6}
    found += timed(
        step, 12, mode="train", model=ModelConfig("torchvision", "resnet18", input_shape=[3, 64, 64])
    )
    peaks = Peaks(fp32=1e9, bf16=None, fp32_by="", bf16_by="", bandwidths=((1000, 1e8),), call_seconds=1e-6)
    calls = [
        call_of(0, "", Kind.CONTAINER, "Net", 0, times=[5e-3] * 4),
        call_of(1, "a", Kind.MODULE, EVIL, 1, times=[3e-3] * 4, flops=9999, mem_r=30, mem_w=20),
        call_of(2, "b", Kind.MODULE, "Linear", 1, times=[1e-3] * 4, flops=100, mem_r=30, mem_w=20),
    ]
    config = configured(mode="profile", batch_size=1)
    return [*found, record_of({"inference": 5e-3}, config, order=13, calls=calls, peaks=peaks)]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, timed: Any) -> str:
    """The address of the page's file."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html(page(cases_of(records(timed))), ["outputs/sweep"]), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def opened(driver: Chrome, file: str) -> Chrome:
    """The browser with the page, every chart of which is drawn."""
    driver.get(file)
    driver.execute_async_script(DRAWN)
    return driver


def find(driver: Chrome, selector: str) -> WebElement:
    return driver.find_element("css selector", selector)


def rows(driver: Chrome) -> list[str]:
    """Return the keys of the table's rows that can be seen, in order."""
    lines = driver.find_elements("css selector", "#table tbody tr:not([hidden])")
    return [str(line.get_attribute("data-key")) for line in lines]


def heading(driver: Chrome, name: str) -> WebElement:
    return find(driver, f'#table th[data-name="{name}"]')


def test_it_draws_every_chart_without_an_error_or_a_request(opened: Chrome, file: str) -> None:
    drawn = dict(opened.execute_async_script(DRAWN))
    assert sorted(drawn) == sorted(CHARTS)
    assert all(drawn.values())
    assert errors(opened) == []
    assert requested(opened) == {file}


def test_html_in_a_name_stays_text(opened: Chrome) -> None:
    assert opened.execute_script("return document.images.length") == 0
    assert EVIL in find(opened, "#table").text
    opened.execute_script(
        "const plot = document.querySelector('[data-chart=layers]'); plot.scrollIntoView();"
        "echarts.getInstanceByDom(plot).dispatchAction({type: 'showTip', seriesIndex: 0, dataIndex: 2})"
    )
    tips = opened.execute_script(
        "return [...document.querySelectorAll('.tip')].map((tip) => tip.textContent)"
    )
    assert any(EVIL in tip for tip in tips)
    assert opened.execute_script("return document.images.length") == 0
    assert errors(opened) == []


def test_headings_sort_by_value_with_the_keyboard_too(opened: Chrome) -> None:
    values = (
        "return [...document.querySelectorAll('#table tbody tr')].map(r => Number(r.cells[6].dataset.value))"
    )
    assert heading(opened, "median").get_attribute("aria-sort") == "none"
    heading(opened, "median").find_element("tag name", "button").send_keys("\n")
    assert heading(opened, "median").get_attribute("aria-sort") == "ascending"
    found = opened.execute_script(values)
    assert found == sorted(found)
    heading(opened, "median").find_element("tag name", "button").click()
    assert heading(opened, "median").get_attribute("aria-sort") == "descending"
    assert opened.execute_script(values) == sorted(found, reverse=True)
    heading(opened, "model").find_element("tag name", "button").click()
    assert heading(opened, "median").get_attribute("aria-sort") == "none"
    names = opened.execute_script(
        "return [...document.querySelectorAll('#table tbody tr')].map(r => r.cells[0].textContent)"
    )
    assert names == [EVIL] * 4 + ["dense"] + ["resnet18"] * 5 + ["resnet50"] * 4


def test_words_and_settings_filter(opened: Chrome) -> None:
    words = find(opened, "#filter-words")
    words.send_keys("resnet18 compile")
    assert rows(opened) == ["r/1", "r/3"]
    assert find(opened, "[data-count]").text == "2 of 14 cases"
    words.clear()
    words.send_keys(" ")
    engine = find(opened, '[data-filter-of="engine"]')
    engine.send_keys("compile")
    assert set(rows(opened)) == {f"r/{order}" for order in range(1, 12, 2)}
    opened.execute_script(
        "const list = arguments[0]; list.value = ''; list.dispatchEvent(new Event('change'))", engine
    )
    assert len(rows(opened)) == 14


def test_a_case_s_button_shows_its_samples_with_their_warnings(opened: Chrome) -> None:
    opened.execute_script("arguments[0].click()", find(opened, 'tr[data-key="r/0"] button'))
    assert find(opened, "[data-samples-name]").text.startswith("resnet18 infer, batch_size=1, engine=eager")
    assert find(opened, "[data-samples-summary]").text.startswith("36 samples in 6 rounds · median 10.05 ms")
    assert find(opened, "[data-samples-warnings]").text == f"drift: it drifts: {EVIL} (round 0)"
    assert opened.switch_to.active_element == find(opened, "[data-samples-name]")
    find(opened, "#samples-round").send_keys("round 3")
    assert find(opened, "[data-samples-summary]").text.startswith("6 samples in 1 round · median 10.2 ms")
    assert find(opened, "[data-samples-warnings]").text == "No warnings."
    plot = find(opened, "[data-samples-order]")
    data = "return echarts.getInstanceByDom(arguments[0]).getOption().series[0].data"
    drawn = opened.execute_script(data, plot)
    assert [value for _, value in drawn] == pytest.approx([10.2] * 6, rel=2e-5)


def test_a_click_on_a_point_shows_its_samples(opened: Chrome) -> None:
    from selenium.webdriver import ActionChains

    plot = find(opened, '[data-chart="latency"]')
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    x, y, width, height = opened.execute_script(
        "const chart = echarts.getInstanceByDom(arguments[0]);"
        "const point = chart.convertToPixel({seriesIndex: 0}, chart.getOption().series[0].data[1].value);"
        "return [...point, chart.getWidth(), chart.getHeight()]",
        plot,
    )
    ActionChains(opened).move_to_element_with_offset(plot, x - width // 2, y - height // 2).click().perform()
    assert find(opened, "[data-samples-name]").text.startswith("resnet18 infer, batch_size=8, engine=eager")
    assert find(opened, "tr.chosen").get_attribute("data-key") == "r/2"


def test_points_lie_within_the_frame_and_the_line_of_equal_figures_from_corner_to_corner(
    opened: Chrome,
) -> None:
    opened.execute_script("document.querySelector('#table td button').click()")
    opened.execute_async_script(DRAWN)
    option = "return echarts.getInstanceByDom(document.querySelector(arguments[0])).getOption()"
    samples = opened.execute_script(option, "[data-samples-order]")
    places = [point[0] for each in samples["series"] for point in each["data"]]
    assert samples["xAxis"][0]["min"] < min(places) <= max(places) < samples["xAxis"][0]["max"]
    published = opened.execute_script(option, "[data-chart=published]")
    ends = [published["xAxis"][0][end] for end in ("min", "max")]
    assert ends == [published["yAxis"][0][end] for end in ("min", "max")]
    assert published["series"][0]["data"] == [[end, end] for end in ends]


def test_everything_to_operate_has_a_focus_that_can_be_seen(opened: Chrome) -> None:
    script = """
    const tags = "a, button, select, input, summary, .scroll";
    const nodes = [...document.querySelectorAll(tags)].filter((node) => node.offsetParent);
    return [nodes.length, nodes.filter((node) => node.tabIndex < 0).length];
    """
    number, unreachable = opened.execute_script(script)
    assert number > 40
    assert unreachable == 0
    find(opened, "#theme").send_keys("")
    opened.switch_to.active_element.send_keys("\t")
    style = opened.switch_to.active_element.value_of_css_property("outline-style")
    assert style == "solid"


def test_texts_are_readable_in_light_and_in_dark(opened: Chrome) -> None:
    before = find(opened, "body").value_of_css_property("background-color")
    assert opened.execute_script(CONTRAST) >= 4.5
    opened.execute_script("arguments[0].click()", find(opened, "#theme"))
    assert find(opened, "body").value_of_css_property("background-color") != before
    assert opened.execute_script(CONTRAST) >= 4.5
    opened.execute_script("arguments[0].click()", find(opened, "#theme"))
    assert errors(opened) == []


def test_on_a_phone_only_tables_scroll_sideways(opened: Chrome) -> None:
    resize(opened, PHONE)
    try:
        opened.execute_async_script(DRAWN)
        widths = "return [document.documentElement.scrollWidth, innerWidth]"
        assert opened.execute_script(widths) == [390, 390]
        script = "return [...document.querySelectorAll('.plot')].map((p) => p.getBoundingClientRect().right)"
        assert max(opened.execute_script(script)) <= 390
    finally:
        resize(opened, DESKTOP)


def test_without_javascript_the_answers_and_tables_are_there(driver: Chrome, file: str) -> None:
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver.get(file)
        assert "is fastest for" in find(driver, "#answer").text
        assert len(driver.find_elements("css selector", "#table tbody tr")) == 14
        assert EVIL in find(driver, "#table").text
        assert not any(plot.is_displayed() for plot in driver.find_elements("css selector", ".plot"))
        find(driver, "#latency summary").click()
        assert "10.0" in find(driver, "#latency table").text
        assert find(driver, "#theme").is_displayed() is False
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_a_served_page_takes_over_what_is_new_and_keeps_what_was_chosen(
    driver: Chrome, tmp_path: Path, timed: Any
) -> None:
    def add(*made: RoundRecord) -> None:
        with (tmp_path / "records.jsonl").open("ab") as written:
            written.writelines(encode(each) + b"\n" for each in made)

    def wait_for(text: str) -> None:
        deadline = time.monotonic() + 20
        while text not in find(driver, "#subtitle").text:
            assert time.monotonic() < deadline, f"{text} does not come: {errors(driver)}"
            time.sleep(0.05)

    paths = [str(tmp_path)]
    with Server(Source(paths).current, paths) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            driver.get(server.url)
            requested(driver)
            wait_for("No records yet.")
            add(*records(timed))
            wait_for("14 cases")
            heading(driver, "median").find_element("tag name", "button").click()
            find(driver, "#filter-words").send_keys("eager")
            driver.execute_script("scrollTo(0, 500)")
            before = driver.execute_script("return scrollY")
            add(*timed([0.001] * 6, 20))
            wait_for("15 cases")
            assert heading(driver, "median").get_attribute("aria-sort") == "ascending"
            assert find(driver, "#filter-words").get_attribute("value") == "eager"
            assert rows(driver)[0] == "r/20"
            assert not {f"r/{order}" for order in range(1, 12, 2)} & set(rows(driver))
            assert driver.execute_script("return scrollY") == before
            assert errors(driver) == []
            assert {url.removeprefix(server.url) for url in requested(driver)} == {"data"}
        finally:
            driver.get("about:blank")
            server.shutdown()
            thread.join()
