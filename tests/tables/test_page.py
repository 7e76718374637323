"""The page of a report as a file: what it says without JavaScript, and what its script is given."""

from __future__ import annotations

import json
import re
import struct
from base64 import b64decode, b64encode
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import pytest
from factory import FAST, IMPLAUSIBLE, NOISY, SLOW, WRONG, told

from microbench.analysis.page import page
from microbench.config import ModelConfig
from microbench.records.cases import cases_of
from microbench.records.record import RoundRecord
from microbench.tables.page import ECHARTS, FOLDER, html, packed

EVIL = "<img src=x onerror=alert(1)></script>\u2028"
VOID = {"meta", "link", "img", "br", "input"}


class Read(HTMLParser):
    """A page's tags with their attributes, and the texts within each element with an id or a data block."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[list[str], str]] = []
        self._open: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append((tag, dict(attrs).get("id") or ""))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag, f"{tag} is not closed where it was opened"

    def handle_data(self, data: str) -> None:
        self.texts.append(([name for each in self._open for name in each], data))

    def within(self, name: str) -> str:
        """Return the text of the elements with a tag or an id."""
        return "".join(text for around, text in self.texts if name in around)


def made(*cases: list[RoundRecord]) -> str:
    return html(page(cases_of([record for case in cases for record in case])), ["outputs/sweep"])


def test_the_first_words_say_what_is_fastest_by_how_much_and_how_sure_that_is(timed: Any) -> None:
    found = Read(made(timed(SLOW, 0), timed(FAST, 1, engine="compile"))).within("answer")
    assert (
        "compile fp32 is fastest for dense infer, batch 8: "
        "1.199 times as fast as eager fp32 (95 % CI 1.191 to 1.207, 6 rounds)." in found
    )


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (NOISY, " may be as fast: ratio "),
        (FAST, " takes equally long within ±1.0 %."),
        (FAST[:1], "one round says nothing of how processes differ"),
    ],
)
def test_what_is_not_decided_is_said_to_be_open(timed: Any, other: list[float], words: str) -> None:
    first = FAST[: len(other)]
    found = Read(made(timed(first, 0), timed(other, 1, engine="compile"))).within("answer")
    assert "Not decided for dense infer, batch 8: " in found
    assert words in found
    assert "is fastest for" not in found


def test_separate_runs_are_not_decided(timed: Any) -> None:
    found = made(timed(SLOW), timed(FAST, run_id="later", engine="compile"))
    assert (
        "Not decided for dense infer, batch 8: compile fp32 has the shortest time, 1.005 s. eager fp32: "
        "ratio 1.199, "
        "95 % CI 1.184 to 1.214, measured in separate runs, which are not interleaved: no verdict."
    ) in Read(found).within("answer")


def test_the_headline_counts_the_works_that_each_configuration_wins(timed: Any) -> None:
    works = [(SLOW, FAST), (SLOW, FAST), (FAST, SLOW), (FAST, NOISY)]  # by batch size: 1, 2, 4, 8
    cases = [
        timed(times, 2 * size + place, batch_size=2**size, engine=engine)
        for size, pair in enumerate(works)
        for place, (engine, times) in enumerate(zip(("eager", "compile"), pair, strict=True))
    ]
    words = "Of 4 workloads: compile fp32 is fastest in 2, eager fp32 in 1, not decided in 1."
    assert words in Read(made(*cases)).within("answer")
    open_ones = [timed(NOISY, 9, batch_size=16), timed(FAST, 10, batch_size=16, engine="compile"), *cases[6:]]
    assert "Not decided for any of 2 workloads." in Read(made(*open_ones)).within("answer")


def test_without_alternatives_the_times_stand_alone(timed: Any) -> None:
    found = Read(made(timed(FAST))).within("answer")
    assert "Nothing to rank: each workload was measured in one configuration." in found
    assert "dense infer, batch 8, eager fp32: 1.005 s (interval 0.990 – 1.020 s, 6 rounds)." in found


def test_eager_that_is_fastest_is_compared_with_the_next(timed: Any) -> None:
    found = Read(made(timed(FAST, 0), timed(SLOW, 1, engine="compile"))).within("answer")
    assert "eager fp32 is fastest for dense infer, batch 8: 1.199 times as fast as the next, compile" in found


def test_every_case_is_a_row_and_a_time_that_does_not_count_is_struck_out(timed: Any) -> None:
    cases = [
        timed(FAST, 0),
        timed([1.0], 1, engine="compile", check=WRONG),
        timed([None] * 2, 2, engine="export"),
        told(timed(FAST, 3, engine="openvino"), warnings=(IMPLAUSIBLE,)),
    ]
    text = made(*cases)
    rows = re.findall(r'<tr data-key="r/(\d)">(.*?)</tr>', text)
    assert [key for key, _ in rows] == ["0", "1", "2", "3"]
    struck = ['class="number invalid"' in row for _, row in rows]
    assert struck == [False, True, True, True]
    ended = [re.findall(">(ok|mismatch|error|implausible)<", row)[0] for _, row in rows]
    assert ended == ["ok", "mismatch", "error", "implausible"]
    assert "error: dense infer, engine=export: it broke" in Read(text).within("warnings")


def test_how_cases_were_measured_is_in_no_column_and_no_name(timed: Any) -> None:
    broken = timed([None] * 2, 1, experiment__name="threads", measure__budget=30.0, threads=4)
    again = timed(FAST, 2, experiment__name="eager", measure__budget=3.0)
    text = made(timed(FAST, 0), broken, again)
    headings = re.findall(r"<th [^>]*>(.*?)</th>", text[text.index('<table id="table">') :])
    settings = ["model", "mode", "batch_size", "engine", "precision", "threads"]
    assert headings[: len(settings) + 2] == [*settings, "median", "interval"]
    assert "error: dense infer, threads=4: it broke" in Read(text).within("warnings")
    assert "experiment.name" not in text
    assert "measure.budget" not in text


def test_texts_of_records_stay_texts(timed: Any) -> None:
    cases = [
        timed(SLOW, 0, model=ModelConfig("layer", EVIL), env={"cpu": EVIL}),
        timed(FAST, 1, model=ModelConfig("layer", EVIL), engine="compile", env={"cpu": EVIL}),
    ]
    text = html(page(cases_of([each for case in cases for each in case])), [EVIL])
    found = Read(text)
    assert "img" not in {tag for tag, _ in found.tags}
    assert [tag for tag, _ in found.tags].count("script") == 3
    assert EVIL in found.within("answer")
    assert EVIL in found.within("h1")
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert not set(data) & set("<>&\u2028\u2029")
    assert EVIL in json.loads(data)["names"]["r/0"]


def test_the_policy_allows_the_page_s_own_scripts_and_styles_alone(timed: Any) -> None:
    text = made(timed(FAST))
    (policy,) = (
        tag["content"]
        for name, tag in Read(text).tags
        if name == "meta" and tag.get("http-equiv") == "Content-Security-Policy"
    )
    blocks = re.findall(r"<(?:script|style)>(.*?)</(?:script|style)>", text, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        assert f"'sha256-{b64encode(sha256(block.encode()).digest()).decode()}'" in str(policy)
    assert "default-src 'none'" in str(policy)
    assert "connect-src" not in str(policy)
    assert "unsafe" not in str(policy)
    assert all("src" not in tag and not tag.get("href", "").startswith("http") for _, tag in Read(text).tags)  # type: ignore[union-attr]


def test_the_library_is_the_version_that_the_page_names() -> None:
    assert set(re.findall(r'version="([\d.]+)"', (FOLDER / "vendor/echarts.min.js").read_text())) == {ECHARTS}


def unpacked(text: str) -> list[float]:
    data = b64decode(text)
    return [struct.unpack("<f", b"\0" + data[place : place + 3])[0] for place in range(0, len(data), 3)]


def test_samples_keep_five_digits() -> None:
    samples = [0.0, 1e-9, 20.0412e-3, 0.123456789, 3599.99, 1 / 3]
    assert unpacked(packed(samples)) == pytest.approx(samples, rel=1.6e-5)


def test_samples_are_there_in_order_by_case_phase_and_round(timed: Any) -> None:
    text = made(timed({"forward": [1.0, 2.0], "total": [3.0, 4.0]}, mode="train"))
    (data,) = re.findall(r'id="data">(.*?)</script>', text)
    series = json.loads(data)["series"]["r/0"]
    assert series.keys() == {"forward", "total"}
    assert [each[0] for each in series["total"]] == [0, 1]
    assert [unpacked(each[1]) for each in series["total"]] == [[3.0] * 6, [4.0] * 6]


def test_the_level_of_the_intervals_is_said(timed: Any) -> None:
    found = Read(made(timed(FAST))).within("cases")
    assert "its interval (±: half-width of the 95 % CI over 6 rounds, relative to the median)" in found


def test_what_would_fill_a_chart_without_data_is_said(timed: Any) -> None:
    found = Read(made(timed(FAST)))
    assert "Roofline: no timed profile with peaks in these records: add mode=profile." in found.within(
        "missing"
    )
    assert "Phases of a step: no case has phases: measure mode=train." in found.within("missing")
    assert found.within("phases") == ""


def test_a_page_without_records_says_so() -> None:
    assert "There are no records yet." in Read(html(page([]), ["outputs/new"])).within("answer")


def test_the_machine_and_its_versions_are_there(timed: Any) -> None:
    found = Read(made(timed(FAST, env={"memory": 2**35, "torch": "2.99"}))).within("machine")
    for text in ("Some CPU", "memory32.00 GiB", "torch2.99", "Python3.12", "1 case, 6 rounds"):
        assert text in found
