"""`microbench report`, on files that the test writes: tables, their marks, ratios and footnotes."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
from factory import FAST, IMPLAUSIBLE, NOISY, SLOW, told
from markdown_it import MarkdownIt
from msgspec.structs import replace
from rich.console import Console
from scipy.stats import t

from microbench.analysis.charts import charts
from microbench.analysis.page import page
from microbench.analysis.pivot import pivots
from microbench.analysis.ranking import rankings
from microbench.analysis.selection import Request, select
from microbench.cli import report
from microbench.config import ModelConfig
from microbench.errors import UserError
from microbench.records.record import (
    BenchmarkWarning,
    Check,
    Correctness,
    Plan,
    RoundRecord,
    RoundsReason,
    Status,
    WarningCode,
)
from microbench.records.result import load
from microbench.tables.pivot import show_pivots

from .support import write

ENGINES = ("eager", "export", "onnxruntime")
HOSTILE = "<img src=x onerror=alert(1)>|@you_50%$#&{x}~^\\[1]"


def of_run(records: list[RoundRecord], run: str, day: str) -> list[RoundRecord]:
    """The records as those of a run on another day."""
    return [
        replace(each, run=replace(each.run, id=run), started_at=day + each.started_at[10:])
        for each in records
    ]


def model(name: str) -> ModelConfig:
    return ModelConfig("layer", name, "torch.nn.Linear", input_shape=[1024])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, timed: Any) -> Path:
    """Where a sweep over engines and batch sizes is, and what is wrong in one way each."""
    found = tmp_path_factory.mktemp("report")
    write(
        found / "sweep",
        *(
            timed(
                [x * b * f for x in times], 3 * row + column, engine=engine, batch_size=b, model=model(name)
            )
            for row, (name, b, f) in enumerate([("dense", 1, 1.0), ("dense", 8, 0.5), ("wide", 1, 3.0)])
            for column, (engine, times) in enumerate(zip(ENGINES, (SLOW, FAST, NOISY), strict=True))
        ),
    )
    write(
        found / "faults",
        timed(SLOW),
        timed(FAST, 1, engine="export"),
        told(timed([0.1] * 6, 2, engine="onnxruntime"), status=Status.MISMATCH, error="it is off"),
        timed([None] * 6, 3, engine="openvino", error=(Status.TIMEOUT, "took longer than timeout=60 s")),
        told(timed([0.01] * 6, 4, engine="compile"), warnings=(IMPLAUSIBLE,)),
        timed([None] * 6, 5, engine="tensorrt", error=(Status.SKIPPED, "needs a GPU")),
        timed([0.2, None, *[0.2] * 4], 6, engine="torchscript"),
    )
    write(found / "holes", timed(FAST), timed(FAST, 1, engine="export", model=model("wide")))
    both = {"forward": FAST, "total": SLOW}
    write(
        found / "modes",
        timed(FAST),
        timed(both, 1, mode="train"),
        timed(both, 2, mode="train", engine="export"),
    )
    write(found / "once", timed([1.0]), timed([2.0], 1, engine="export"))
    write(found / "empty")
    write(
        found / "hostile",
        timed(FAST, model=model(HOSTILE)),
        timed(SLOW, 1, model=model(HOSTILE), engine="export"),
    )
    write(
        found / "again",
        of_run(timed(SLOW), "a", "2026-01-01"),
        of_run(timed(FAST, env={"torch": "2.12"}), "b", "2026-02-01"),
    )
    return found


@pytest.fixture(autouse=True)
def there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert report.main(arguments) == 0
    return capsys.readouterr().out


def cells(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in shown(capsys, *arguments, "--json").splitlines()]


def marks(found: list[dict[str, Any]], *axes: str) -> dict[Any, str]:
    """The cells that have a mark, by their values on some axes."""
    return {tuple(each[axis] for axis in axes): each["mark"] for each in found if each["mark"]}


def test_axes_that_vary_lay_the_table_out(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, "sweep").splitlines()
    assert lines[0].startswith("Some CPU, 4 cores")
    assert "torch 2.11" in lines[0]
    assert lines[1] == "2026-01-01 · 6 rounds · 95 % CI"
    assert lines[2] == "inference (infer):"
    assert lines[3].split() == ["engine", *(engine for engine in ENGINES for _ in range(2))]
    assert lines[4].split() == ["batch_size", *"181818"]
    assert lines[5].split() == ["model"]
    assert [line.split()[0] for line in lines[6:8]] == ["dense", "wide"]


def test_given_axes_are_followed_and_no_case_is_averaged(capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(capsys, "sweep", "--rows", "engine", "--columns", "model")
    assert "batch_size varies too, and is in the rows: cases are not averaged" in found
    rows = list(
        csv.DictReader(io.StringIO(shown(capsys, "sweep", "--rows", "engine", "--columns", "model", "--csv")))
    )
    assert [(row["engine"], row["batch_size"]) for row in rows] == [
        (engine, batch) for engine in ENGINES for batch in ("1", "8")
    ]
    assert float(rows[0]["dense"]) == pytest.approx(1.205)
    assert rows[1]["wide"] == ""


def test_the_best_is_marked_only_where_the_difference_is_real(capsys: pytest.CaptureFixture[str]) -> None:
    found = cells(capsys, "sweep", "--where", "engine=eager", "--where", "engine=export")
    assert set(marks(found, "engine").items()) == {(("export",), "best")}
    noisy = cells(capsys, "sweep", "--where", "engine=export", "--where", "engine=onnxruntime")
    assert set(marks(noisy, "engine").values()) == {"may be as good"}
    assert len(marks(noisy, "engine", "model", "batch_size")) == 6
    alone = cells(capsys, "sweep", "--where", "engine=export")
    assert marks(alone, "engine") == {}


def test_marks_do_not_depend_on_where_the_alternatives_stand(capsys: pytest.CaptureFixture[str]) -> None:
    """Another batch size is another work: it is compared with nothing but its alternatives."""
    wide = marks(cells(capsys, "sweep"), "model", "batch_size", "engine")
    across = marks(cells(capsys, "sweep", "--rows", "model,batch_size"), "model", "batch_size", "engine")
    assert wide == across
    assert marks(cells(capsys, "sweep", "--columns", "model", "--rows", "engine,batch_size"), "engine") == {}


def test_what_failed_is_shown_as_such_and_never_wins(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "faults")
    for words in (
        "mismatch ~100 ms~[1]",
        "timeout[2]",
        "implausible ~10.0 ms~[3]",
        "skipped[4]",
        "[1] mismatch: it is off",
        "[2] timeout: took longer than timeout=60 s",
        "[4] skipped: needs a GPU",
        "1 of 6 rounds failed: error: it broke",
    ):
        assert words in text, text
    found = cells(capsys, "faults")
    assert marks(found, "engine") == {("export",): "best"}
    assert {each["engine"] for each in found if each["estimate"] is None} == {
        *("onnxruntime", "openvino", "compile", "tensorrt")
    }


def test_one_round_has_no_best(capsys: pytest.CaptureFixture[str]) -> None:
    found = cells(capsys, "once")
    assert marks(found, "engine") == {}
    assert all("all: no best of the row: one round says nothing" in " ".join(each["notes"]) for each in found)


def test_ratios_are_those_of_paired_rounds(capsys: pytest.CaptureFixture[str]) -> None:
    found = {each["engine"]: each for each in cells(capsys, "faults", "--baseline", "engine=eager")}
    logs = [math.log(b / a) for a, b in zip(SLOW, FAST, strict=True)]
    half = t.ppf(0.975, 5) * stdev(logs) / math.sqrt(6)
    ratio = found["export"]
    assert ratio["ratio"] == pytest.approx(math.exp(mean(logs)))
    assert ratio["ratio_ci_low"] == pytest.approx(math.exp(mean(logs) - half))
    assert ratio["ratio_ci_high"] == pytest.approx(math.exp(mean(logs) + half))
    assert ratio["verdict"] == "faster"
    assert found["eager"]["is_baseline"]
    assert found["eager"]["ratio"] is None
    assert found["onnxruntime"]["ratio"] is None
    assert re.search(
        r"×0\.83\d+ \(0\.8\d+ to 0\.8\d+\)", shown(capsys, "faults", "--baseline", "engine=eager")
    )


def test_a_baseline_may_have_several_settings(capsys: pytest.CaptureFixture[str]) -> None:
    def ratios(baseline: str) -> dict[tuple[str, str, str], float | None]:
        found = cells(capsys, "sweep", "--baseline", baseline)
        return {(each["model"], each["engine"], each["batch_size"]): each["ratio"] for each in found}

    assert ratios("engine=eager,precision=fp32") == ratios("engine=eager")
    across = ratios("engine=eager,batch_size=1")
    assert across["dense", "eager", "8"] == pytest.approx(4)
    assert across["dense", "eager", "1"] is None
    assert across["dense", "export", "8"] == pytest.approx(4 * (across["dense", "export", "1"] or 0))


def test_versions_are_compared_with_one_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    found = {
        each["torch"]: each
        for each in cells(capsys, "again", "--columns", "torch", "--baseline", "torch=2.11")
    }
    assert found["2.11"]["is_baseline"]
    assert found["2.12"]["ratio"] == pytest.approx(1.005 / 1.205, rel=1e-3)
    assert any("separate runs are not interleaved" in note for note in found["2.12"]["notes"])
    with pytest.raises(UserError, match=r"--baseline torch=2\.11 needs torch among --rows or --columns"):
        report.main(["again", "--baseline", "torch=2.11"])
    with pytest.raises(UserError, match=r"Unknown baseline of torch '2\.10'"):
        report.main(["again", "--columns", "torch", "--baseline", "torch=2.10"])


def test_no_case_hides_another_that_differs_in_what_is_no_axis(
    timed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two ways of one engine beside another engine; and files of one name with other contents."""
    ways = write(
        tmp_path / "ways",
        timed(SLOW),
        timed(FAST, 1, engine="export"),
        timed(NOISY, 2, engine="export", engine__freeze=True),
    )
    found = cells(capsys, str(ways))
    assert [(each["engine"], each["engine.freeze"]) for each in found] == [
        *(("eager", "false"), ("export", "false"), ("export", "true"))
    ]
    first, second = timed(SLOW), timed(FAST, 1)
    other = [replace(each, case=replace(each.case, id="other")) for each in second]
    twins = cells(capsys, str(write(tmp_path / "twins", first, other)))
    assert [each["estimate"] for each in twins] == pytest.approx([1.205, 1.005])
    assert len({each["case"] for each in twins}) == 2


def test_a_speedup_is_the_inverse_with_its_interval(capsys: pytest.CaptureFixture[str]) -> None:
    asked = "faults", "--baseline", "engine=eager", "--where", "engine=eager", "--where", "engine=export"
    times = {each["engine"]: each for each in cells(capsys, *asked)}
    speedups = {each["engine"]: each for each in cells(capsys, *asked, "--value", "speedup")}
    assert speedups["eager"]["estimate"] == 1
    assert speedups["export"]["estimate"] == pytest.approx(1 / times["export"]["ratio"])
    assert speedups["export"]["ci_low"] == pytest.approx(1 / times["export"]["ratio_ci_high"])
    assert speedups["export"]["mark"] == "best"


def test_speedups_over_different_baselines_are_no_rivals(
    timed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With four threads the time is least, and with one the speedup is largest: neither is best of both."""
    times = {("eager", 1): 10, ("export", 1): 4, ("eager", 4): 3, ("export", 4): 2}
    path = write(
        tmp_path / "run",
        *(
            timed([factor * each for each in FAST], order, engine=engine, threads=threads)
            for order, ((engine, threads), factor) in enumerate(times.items())
        ),
    )
    found = cells(capsys, str(path), "--value", "speedup", "--baseline", "engine=eager", "--rows", "model")
    assert {(each["engine"], each["threads"]): round(each["estimate"], 9) for each in found} == {
        ("eager", "1"): 1,
        ("export", "1"): 2.5,
        ("eager", "4"): 1,
        ("export", "4"): 1.5,
    }
    assert marks(found, "engine", "threads") == {("export", "1"): "best", ("export", "4"): "best"}


def test_a_row_without_its_baseline_says_so(
    timed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(
        tmp_path / "run",
        timed(SLOW),
        timed(FAST, 1, engine="export"),
        timed(FAST, 2, engine="export", batch_size=1),
    )
    assert "no ratio: no case with engine=eager agrees in everything else" in shown(
        capsys, str(path), "--baseline", "engine=eager"
    )


@pytest.mark.parametrize(
    ("of_baseline", "of_this", "why"),
    [
        (0, 5, "the baseline has a round with memory 0"),
        (5, 0, "this case has a round with memory 0"),
        (None, 5, "the baseline has no value"),
    ],
)
def test_a_value_without_a_ratio_says_why(
    of_baseline: int | None,
    of_this: int,
    why: str,
    timed: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write(
        tmp_path / "run",
        told(timed(SLOW), peak_memory=of_baseline),
        told(timed(FAST, 1, engine="export"), peak_memory=of_this),
    )
    found = cells(capsys, str(path), "--value", "memory", "--baseline", "engine=eager")
    notes = {each["engine"]: each["notes"] for each in found}
    assert f"no ratio: {why}" in notes["export"]


def test_throughput_is_compared_over_batch_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    asked = "sweep", "--value", "throughput", "--where", "engine=export", "--where", "engine=eager"
    found = cells(capsys, *asked)
    assert found[0]["unit"] == "items/s"
    by_case = {(each["model"], each["engine"], each["batch_size"]): each for each in found}
    assert by_case["dense", "eager", "8"]["estimate"] == pytest.approx(8 / (1.205 * 8 * 0.5))
    assert marks(found, "model", "engine", "batch_size") == {
        ("dense", "export", "8"): "best",
        ("wide", "export", "1"): "best",
    }


def test_an_adaptive_run_decides_on_times_alone(
    timed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its marks allow for a look after each round, as its ranking does."""
    plan = Plan(rounds=10, reason=RoundsReason.DECIDED, most=10)
    cases = [
        timed([f * each for each in times], order, schedule="adaptive", engine=engine, batch_size=batch)
        for order, (engine, batch, times, f) in enumerate(
            [("eager", 8, SLOW, 1.0), ("export", 8, FAST, 1.0), ("export", 1, FAST, 0.5)]
        )
    ]
    path = str(write(tmp_path / "run", *([replace(each, plan=plan) for each in case] for case in cases)))
    assert marks(cells(capsys, path), "engine", "batch_size") == {("export", "8"): "best"}
    (ranking,) = rankings(load(path).cases())
    assert ranking.is_decided
    rates = cells(capsys, path, "--value", "throughput")
    assert marks(rates, "engine") == {}
    assert "the run decided by times how many rounds" in rates[0]["notes"][0]
    few = str(write(tmp_path / "few", *([replace(each, plan=plan) for each in case[:3]] for case in cases)))
    assert marks(cells(capsys, few), "engine") == {}


def test_both_modes_stand_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "modes")
    assert "inference (infer), total (train):" in text
    found = cells(capsys, "modes", "--value", "forward")
    assert {each.get("mode", "train") for each in found} == {"train"}
    assert any("left out, without forward: mode=infer" in note for note in found[0]["notes"])
    several = cells(capsys, "modes", "--value", "forward,total", "--where", "mode=train")
    assert {(each["engine"], each["value"]) for each in several} == {
        (engine, phase) for engine in ("eager", "export") for phase in ("forward", "total")
    }


def test_memory_energy_and_tails_have_their_units(
    timed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = timed(FAST), timed(FAST, 1, engine="export")
    peaks = [(100 + i) * 2**20 for i in range(6)]
    records = [
        [replace(each, outcome=replace(each.outcome, peak_memory=int(peak * f), joules=0.5 * f, params=10))
         for each, peak in zip(case, peaks, strict=True)]
        for case, f in ((first, 1), (second, 2))
    ]  # fmt: skip
    path = str(write(tmp_path / "run", *records))
    memory = cells(capsys, path, "--value", "memory")
    assert [each["estimate"] for each in memory] == [102.5 * 2**20, 205 * 2**20]
    assert marks(memory, "engine") == {("eager",): "best"}
    assert "102 MiB" in shown(capsys, path, "--value", "memory") or "103 MiB" in shown(
        capsys, path, "--value", "memory"
    )
    assert [each["estimate"] for each in cells(capsys, path, "--value", "energy")] == [0.5, 1.0]
    assert "500 mJ" in shown(capsys, path, "--value", "energy")
    assert "10" in shown(capsys, path, "--value", "params")
    tails = cells(capsys, path, "--value", "p90")
    assert [each["estimate"] for each in tails] == [pytest.approx(1.02), pytest.approx(1.02)]
    assert marks(tails, "engine") == {}


def test_of_several_runs_the_latest_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert "–: not measured" in shown(capsys, "holes")
    (only,) = cells(capsys, "again")
    assert only["estimate"] == pytest.approx(1.005)
    assert only["notes"] == ["the latest of several runs of the case (2); microbench history shows all"]
    versions = cells(capsys, "again", "--columns", "torch")
    assert [(each["torch"], round(each["estimate"], 2)) for each in versions] == [
        ("2.11", 1.21),
        ("2.12", 1.0),
    ]


def test_a_later_run_that_failed_does_not_replace_one_that_ended_well(
    timed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table, the picture and the page agree on which measurement counts."""
    failed = timed([None], error=(Status.TIMEOUT, "too long"))
    path = write(
        tmp_path / "run",
        of_run(timed(FAST), "a", "2026-01-01"),
        of_run(timed(SLOW, 1, engine="export"), "a", "2026-01-01"),
        of_run(failed, "b", "2026-02-01"),
    )
    found = {each["engine"]: each for each in cells(capsys, str(path))}
    assert found["eager"]["estimate"] == pytest.approx(1.005)
    assert found["eager"]["notes"] == [
        "the latest of several runs of the case (2) that ended well; after it, timeout: too long; microbench "
        "history shows all"
    ]
    cases = load(path).cases()
    (shown_page,) = page(cases).answers
    assert shown_page.time.seconds == pytest.approx(1.005)
    assert charts(cases).repeated == 1


def test_the_gpus_of_a_host_have_cells_of_their_own(
    timed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [
        of_run(
            timed([factor * each for each in FAST], env={"gpu_uuid": uuid}, engine=engine), run, "2026-01-01"
        )
        for run, uuid, engine, factor in (
            ("a", "A", "eager", 1),
            ("b", "B", "eager", 2),
            ("c", "B", "export", 3),
        )
    ]
    path = str(write(tmp_path / "run", *runs))
    found = {
        (each["gpu_uuid"], each["engine"]): each for each in cells(capsys, path, "--baseline", "engine=eager")
    }
    assert {key: round(each["estimate"] / 1.005, 3) for key, each in found.items()} == {
        ("A", "eager"): 1,
        ("B", "eager"): 2,
        ("B", "export"): 3,
    }
    assert found["B", "export"]["ratio"] == pytest.approx(1.5)


def test_separate_runs_have_a_ratio_and_no_verdict(
    timed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = of_run(timed(FAST, 0, engine="export"), "b", "2026-02-01")
    path = str(write(tmp_path / "two", timed(SLOW), later))
    found = cells(capsys, path, "--baseline", "engine=eager")
    assert marks(found, "engine") == {}
    words = "no best of the row: measured in separate runs, which are not interleaved: no verdict"
    assert f"all: {words}" in shown(capsys, path)
    assert found[1]["ratio"] == pytest.approx(1 / 1.199, rel=1e-3)
    assert found[1]["verdict"] == "inconclusive"
    together = write(tmp_path / "one", timed(SLOW), timed(FAST, 1, engine="export"))
    assert marks(cells(capsys, str(together)), "engine") == {("export",): "best"}


def test_warnings_are_footnotes_once(timed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drifts = (BenchmarkWarning(WarningCode.DRIFT, "drifts by 4 %"),)
    some = told(timed(FAST, 1, engine="export"), warnings=drifts)
    path = write(tmp_path / "run", timed(FAST), some)
    assert "[1] drifts by 4 % [drift]" in shown(capsys, str(path))
    everywhere = write(tmp_path / "all", told(timed(FAST), warnings=drifts), some)
    assert "all: drifts by 4 % [drift]" in shown(capsys, str(everywhere))


def test_markdown_is_one_table_in_which_names_stay_text(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "hostile", "--markdown", "--baseline", "engine=eager")
    html = MarkdownIt("commonmark").enable("table").render(text)
    assert html.count("<table>") == 1
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    assert [len(re.findall("<t[hd]", row)) for row in rows] == [3, 3]
    assert "<img" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;|@<!-- -->you_50%$#&amp;{x}~^\\[1]" in rows[1]
    assert "★ <strong>1.005 s" in rows[1]


def test_latex_has_the_same_number_of_cells_in_each_row_and_no_bare_specials(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = shown(capsys, "hostile", "--latex", "--baseline", "engine=eager")
    body = text.partition(r"\begin{tabular}{lrr}")[2].partition(r"\end{tabular}")[0]
    rows = [line.removesuffix(r" \\") for line in body.splitlines() if line.endswith(r"\\")]
    assert [len(re.split(r"(?<!\\)&", row)) for row in rows] == [3, 3, 3]
    assert rows[2].startswith(
        r"\textless{}img src=x onerror=alert(1)\textgreater{}\textbar{}@you\_50\%\$\#\&\{x\}"
        r"$\sim$\textasciicircum{}\textbackslash{}{[}1{]}"
    )
    assert text.isascii()
    assert text.count(r"\begin{document}") == 1
    assert all(line.count("{") == line.count("}") for line in rows if "\\{" not in line)


def test_a_file_is_written_or_the_error_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "table.txt"
    assert shown(capsys, "sweep", "-o", str(file)) == ""
    assert file.read_text(encoding="utf-8").rstrip() == shown(capsys, "sweep").rstrip()
    with pytest.raises(UserError, match=r"Cannot write .*nowhere/x: No such file"):
        report.main(["sweep", "--csv", "-o", str(tmp_path / "nowhere" / "x")])
    with pytest.raises(UserError, match="Is a directory"):
        report.main(["sweep", "-o", str(tmp_path)])


def printed(path: str, width: int, encoding: str = "utf-8") -> str:
    selection = select(load(path).cases(), Request())
    file = io.TextIOWrapper(io.BytesIO(), encoding, errors="replace")
    show_pivots(pivots(selection), Console(file=file, width=width))
    file.seek(0)
    return file.read()


def test_what_does_not_fit_the_terminal_falls_back_to_rows() -> None:
    for width in (50, 80, 120):
        found = printed("sweep", width)
        lines = found.partition("infer):\n")[2].partition("±:")[0].splitlines()
        assert max(map(len, lines)) <= width
        assert "columns hidden" not in found
    assert ["dense", "8"] in [line.split()[:2] for line in printed("sweep", 80).splitlines()]


def test_a_stream_without_block_characters_gets_others() -> None:
    found = printed("sweep", 200, "ascii").partition("infer):\n")[2].partition("?: half")[0]
    assert " = " in found
    assert "#" in found
    assert found.isascii()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Give the runs to report: microbench report PATH."),
        (["empty"], "Nothing to report: empty has no records."),
        (["nowhere"], "nowhere"),
        (["sweep", "--rows", "modle"], "Unknown axis 'modle'. Did you mean mode, model"),
        (["sweep", "--columns", "engin"], "These vary: model, engine, batch_size."),
        (["sweep", "--rows", "model,model"], "Axis model is given 2 times"),
        (["sweep", "--rows", "engine", "--columns", "engine"], "Axis engine is given 2 times"),
        (["sweep", "--value", "forwrd"], "Unknown value 'forwrd'."),
        (["sweep", "--value", "inference,memory"], "inference is in seconds, memory is in bytes: give one"),
        (["sweep", "--value", "p100"], "p100 is not possible: give a percentile between p0 and p100."),
        (["sweep", "--value", "energy"], "No case has a value of energy."),
        (["sweep", "--value", "speedup"], "give it, such as --baseline engine=eager"),
        (["sweep", "--value", "params", "--baseline", "engine=eager"], "params"),
        (["sweep", "--where", "engine=onnx"], "Did you mean"),
        (["sweep", "--where", "model=wide,batch_size=8"], "No case has model=wide, batch_size=8 together"),
        (["sweep", "--where", "model"], "--where model is not possible: give AXIS=VALUE"),
        (["sweep", "--baseline", "engine=openvino"], "Unknown baseline of engine 'openvino'."),
        (["sweep", "--baseline", "precision=fp32"], "There is no baseline precision=fp32."),
        (["sweep", "--margin", "2"], "--margin 2 is not possible"),
        (["sweep", "--csv", "--json"], "not allowed with argument"),
        (["sweep", "--jsn"], "Unknown option '--jsn'. Did you mean --json"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], words: str) -> None:
    with pytest.raises(UserError) as error:
        report.main(arguments)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2


def test_the_reference_is_said_to_have_no_error(
    timed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = Check(Correctness.SAME, error_rel=1e-3)
    cases = timed(SLOW, check=Check(Correctness.REFERENCE)), timed(FAST, 1, engine="export", check=same)
    found = cells(capsys, str(write(tmp_path / "run", *cases)), "--value", "error")
    assert found[0]["notes"] == ["unknown: it is the reference that others are compared with"]
    assert found[1]["estimate"] == pytest.approx(1e-3)


def test_a_percentile_that_no_case_has_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^No case has a value of p99: p99 needs [1-9]\d* samples"):
        report.main(["once", "--value", "p99"])


def test_a_record_without_its_mode_does_not_end_the_report(
    timed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    emptied = [
        replace(each, case=replace(each.case, config={}))
        for case in (timed(FAST), timed({"forward": FAST, "total": SLOW}, 1, mode="train"))
        for each in case
    ]
    found = cells(capsys, str(write(tmp_path / "run", emptied)))
    assert sorted(each["estimate"] for each in found) == pytest.approx([1.005, 1.205])


def test_a_value_may_have_a_comma(timed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "run", timed(SLOW), timed(FAST, 1, affinity="0,2"))
    (only,) = cells(capsys, str(path), "--where", "affinity=0,2,mode=infer")
    assert only["estimate"] == pytest.approx(1.005)


def test_throughputs_of_several_things_do_not_mix(timed: Any, tmp_path: Path) -> None:
    images, tokens = told(timed(FAST), item="images"), told(timed(FAST, 1, batch_size=1), item="tokens")
    path = write(tmp_path / "run", images, tokens)
    with pytest.raises(UserError, match="throughput would be in images/s and tokens/s"):
        report.main([str(path), "--value", "throughput"])


def test_a_case_measured_once_more_stays_beside_the_alternatives_of_its_run(
    timed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = [*timed(NOISY), *timed(NOISY[::-1], 1, engine="export")]
    once_more = of_run(timed([0.01] * 6, engine="export"), "b", "2026-02-01")
    path = str(write(tmp_path / "more", first, once_more))
    found = cells(capsys, path, "--baseline", "engine=eager")
    assert [each["estimate"] for each in found] == pytest.approx([1.05, 1.05])
    assert marks(found, "engine") == {("eager",): "may be as good", ("export",): "may be as good"}
    assert found[1]["verdict"] == "inconclusive"
    told = "the latest of several runs of the case (2) that interleaved it with most alternatives"
    assert found[1]["notes"][0] == f"{told}; microbench history shows all"
    both = [
        *of_run(timed(SLOW), "c", "2026-03-01"),
        *of_run(timed(FAST, 1, engine="export"), "c", "2026-03-01"),
    ]
    later = cells(capsys, path, str(write(tmp_path / "both", both)))
    assert marks(later, "engine") == {("export",): "best"}
