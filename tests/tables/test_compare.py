"""What a comparison and a ranking print."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from factory import FAST, NOISY, SLOW, busy_in, configured, record_of, result_of
from msgspec.structs import replace
from rich.console import Console

import microbench
from microbench.analysis.ranking import BreakEven, rankings
from microbench.errors import NothingToCompareError, UserError
from microbench.records.record import Check, Correctness, Plan, RoundsReason, Status
from microbench.records.store import Store
from microbench.tables import terminal
from microbench.tables.compare import interval_text, ratio_text, sentence, show_comparison
from microbench.tables.ranking import break_even_text, show_rankings
from microbench.verify.judging import Checked


def printed(show: Callable[[Console], None], width: int = 200) -> list[str]:
    file = StringIO()
    show(Console(file=file, width=width, highlight=False, force_terminal=False))
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_a_comparison_of_percentiles_says_so_everywhere() -> None:
    models = ("dense", "relu")
    a, b = (
        result_of(
            *(
                [
                    record_of(
                        {"inference": [*[1.0] * 60, *[time * (1 + i / 1000)] * 40]},
                        configured(model=model),
                        order=order,
                        round=i,
                        run=run,
                    )
                    for i in range(6)
                ]
                for order, model in enumerate(models)
            )
        )
        for run, time in (("r", 2.0), ("s", 3.0))
    )
    compared = microbench.compare(a, b, at="p90")
    lines = printed(lambda out: show_comparison(compared, out))
    rows = [line.split() for line in lines if line.startswith(models)]
    assert [row[:4] for row in rows] == [[model, "infer", "inference", "p90"] for model in models]
    assert any(line.startswith("all 2 cases, inference p90: B/A 1.500, ") for line in lines)
    assert any(
        line.startswith(
            "B/A: B's p90 over A's, mean of unpaired rounds, not of the times shown; above 1 is slower."
        )
        and ". p90: the median over processes of each one's own" in line
        for line in lines
    )
    assert compared.failing("slower")[0].startswith("slower: dense infer inference p90: B/A 1.500, ")


class TestFailing:
    """Checks of a comparison fail on verdicts and absences."""

    def test_slower_fails_on_slower_rows_and_on_absences(self, timed: Any) -> None:
        before = result_of(timed(FAST), timed(FAST, 1, mode="train"), timed(FAST, 2, model="relu"))
        after = result_of(timed(SLOW, run_id="s"), timed([None], 1, run_id="s", mode="train"))
        compared = microbench.compare(before, after)
        slower, failed, missing = compared.failing()
        assert slower.startswith("slower: dense infer inference: B/A 1.199, ")
        assert failed == "failed: dense train: B: error: it broke"
        assert missing == "missing: relu infer: B has no such case"
        assert compared.failing(["missing"]) == compared.failing("missing") == [missing]
        assert compared.failing("faster, inconclusive") == []

    def test_one_round_per_side_cannot_pass(self, timed: Any) -> None:
        compared = microbench.compare(result_of(timed([1.0])), result_of(timed([9.0], run_id="s")))
        for on in ("slower", "faster", "slower,faster"):
            with pytest.raises(NothingToCompareError, match=r"measure\.rounds=6"):
                compared.failing(on)
        (inconclusive,) = compared.failing("slower,inconclusive")
        assert inconclusive.startswith("inconclusive: ")
        assert compared.failing("failed") == []

    def test_rows_without_a_verdict_are_found_among_those_with_one(self, timed: Any) -> None:
        a = result_of(timed(FAST), timed([1.0], 1, model="relu"))
        b = result_of(timed(FAST, run_id="s"), timed([9.0], 1, run_id="s", model="relu"))
        compared = microbench.compare(a, b)
        assert compared.failing("slower") == []
        assert [row.case for row in compared.unjudged] == ["relu infer"]

    def test_an_unknown_word_is_answered_with_the_nearest(self, timed: Any) -> None:
        compared = microbench.compare(result_of(timed(FAST)), result_of(timed(SLOW, run_id="s")))
        with pytest.raises(UserError, match="Did you mean missing"):
            compared.failing("slower,mising")


def cells(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


@pytest.mark.parametrize(
    ("ratio", "low", "high", "texts"),
    [
        (1.1034, 1.05, 1.16, ("1.10", "1.05 to 1.16")),
        (1.00234, 1.0011, 1.0036, ("1.0023", "1.0011 to 1.0036")),
        (0.36, 0.001, 120.0, ("0.36", "0.001 to 120.00")),
        (35.24, 30.87, 40.21, ("35", "31 to 40")),
        (13.0, 0.303, 599.0, ("13", "0.30 to 599")),
        (0.00391, 0.00348, 0.00439, ("0.00391", "0.00348 to 0.00439")),
        (25612.3, 22000.0, 28000.0, ("2.56e+04", "2.2e+04 to 2.8e+04")),
        (1.5, 0.0, float("inf"), ("1.50", "0 to inf")),
        (1.0, 1.0, 1.0, ("1.00", "1.00 to 1.00")),
        (9.0, None, None, ("9.00", "none")),
    ],
)
def test_a_ratio_has_the_digits_that_its_interval_supports(
    ratio: float, low: float | None, high: float | None, texts: tuple[str, str]
) -> None:
    assert (ratio_text(ratio, low, high), interval_text(ratio, low, high)) == texts


class TestComparison:
    def test_two_runs_are_a_table_with_notes(self, timed: Any) -> None:
        a = result_of(timed(FAST, 0), timed(FAST, 1, batch_size=1))
        b = result_of(timed(SLOW, 0, run_id="s"), timed(NOISY, 1, run_id="s", batch_size=1))
        comparison = microbench.compare(a, b)
        lines = printed(lambda out: show_comparison(comparison, out))
        assert lines[:2] == ["A: outputs/x/records.jsonl", "B: outputs/x/records.jsonl"]
        assert cells(lines[2]) == ["case", "phase", "A", "B", "ratio", "95 % CI", "verdict"]
        assert cells(lines[3]) == [
            "dense infer, batch_size=8", "inference", "1.00 s", "1.21 s",
            "B/A 1.199", "1.184 to 1.214", "slower",
        ]  # fmt: skip
        assert cells(lines[4])[:4] == ["dense infer, batch_size=1", "inference", "1.00 s", "1.05 s"]
        more = comparison.rows[1].more_rounds
        assert cells(lines[4])[-1] == f"inconclusive: about {more} more rounds"
        assert lines[5].startswith("all 2 cases, inference: B/A 1.11, 95 % CI ")
        assert (
            "B/A: B's time over A's, mean of unpaired rounds, not of the times shown; above 1 is slower. "
            in lines[6]
        )
        assert lines[7].startswith("warning: separate runs are not interleaved")

    def test_one_run_is_compared_by_an_option(self, timed: Any) -> None:
        run = result_of(
            timed(FAST, 0),
            timed(SLOW, 1, allocator="tuned"),
            timed([None], 2, allocator="tcmalloc", measure__rounds=6, error=(Status.SKIPPED, "not [there]")),
        )
        comparison = microbench.compare(run, by="allocator")
        lines = printed(lambda out: show_comparison(comparison, out))
        assert lines[1] == "compared: allocator: system → tuned, tcmalloc"
        assert cells(lines[2])[2:5] == ["system", "tuned", "ratio"]
        assert cells(lines[3])[4] == "tuned/system 1.199"
        assert "a value's time over that of system, mean of paired rounds, not of the times" in lines[4]
        assert lines[5] == "tcmalloc: dense infer: skipped: not [there]"

    def test_a_row_can_be_put_in_words(self, timed: Any) -> None:
        run = result_of(timed(FAST, 0), timed(SLOW, 1, engine="compile"), timed(NOISY, 2, engine="openvino"))
        slower, unclear = microbench.compare(run, by="engine").rows
        assert sentence(slower) == "compile/eager 1.199, 95 % CI 1.191 to 1.207, slower"
        assert sentence(unclear).endswith(f", inconclusive (about {unclear.more_rounds} more rounds)")

    def test_one_round_has_no_interval_and_says_why(self, timed: Any) -> None:
        comparison = microbench.compare(result_of(timed([1.0])), result_of(timed([2.0], run_id="s")))
        (row,) = comparison.rows
        assert sentence(row).startswith(
            "B/A 2.00, inconclusive (one round says nothing of how processes differ"
        )
        line = next(line for line in str(comparison).splitlines() if line.startswith("dense"))
        assert cells(line)[4:6] == ["B/A 2.00", "none"]

    def test_a_comparison_prints_as_its_table(self, timed: Any) -> None:
        comparison = microbench.compare(result_of(timed(FAST)), result_of(timed(SLOW, run_id="s")))
        lines = printed(lambda out: show_comparison(comparison, out), width=120)
        assert [line.rstrip() for line in str(comparison).splitlines()] == lines
        assert "\x1b" not in str(comparison)

    def test_the_frame_has_one_row_per_pair_and_phase(self, timed: Any) -> None:
        run = result_of(timed(FAST, 0), timed(SLOW, 1, engine="compile"), timed(SLOW, 2, engine="openvino"))
        frame = microbench.compare(run, by="engine").to_frame()
        assert list(frame["b"]) == ["compile", "openvino"]
        assert list(frame["verdict"]) == ["slower", "slower"]
        assert frame["ratio"].tolist() == pytest.approx([frame["ratio"][0]] * 2)

    def test_results_are_given_as_objects_or_paths(self, tmp_path: Path, timed: Any) -> None:
        for name, times, run_id in (("a", FAST, "r"), ("b", SLOW, "s")):
            with Store(tmp_path / name) as store:
                for record in timed(times, run_id=run_id):
                    store.append(record)
        places: list[Any] = [str(tmp_path / "a"), tmp_path / "a" / "records.jsonl", [tmp_path / "a"]]
        for place in (*places, microbench.load(tmp_path / "a")):
            (row,) = microbench.compare(place, tmp_path / "b").rows
            assert (row.a_run_id, row.b_run_id, row.verdict) == ("r", "s", "slower")


class TestRanking:
    def test_a_ranking_has_places_times_ratios_and_verdicts(self, timed: Any) -> None:
        run = result_of(
            timed(SLOW, 0),
            timed(FAST, 1, allocator="tuned"),
            timed([None], 2, allocator="tcmalloc", error=(Status.SKIPPED, "not installed")),
            timed(FAST, 3, batch_size=1),
            timed(NOISY, 4, batch_size=1, allocator="tuned"),
        )
        lines = printed(lambda out: show_rankings(rankings(run.cases()), out))
        assert lines[:2] == ["", "fastest first"]
        assert cells(lines[2]) == ["time", "ratio", "95 % CI", "verdict"]
        assert [cells(line) for line in lines[3:7]] == [
            ["dense infer, batch_size=8"],
            ["1", "allocator=tuned", "1.005 s", "fastest"],
            ["2", "allocator=system", "1.205 s", "1.199", "1.191 to 1.207", "slower"],
            ["–", "allocator=tcmalloc", "skipped"],
        ]
        assert [cells(line)[:3] for line in lines[7:10]] == [
            ["dense infer, batch_size=1"],
            ["1", "allocator=system", "1.005 s"],
            ["2", "allocator=tuned", "1.1 s"],
        ]
        assert cells(lines[8])[-1] == "1.005 s", "it is not told apart from the second"
        assert re.search(r"not significantly slower than the fastest: about \d+ more rounds$", lines[9])
        assert lines[10].endswith(
            "mean of paired rounds, not of the times shown; above 1 is slower; same: within ±1.0 %"
        )

    def test_the_rounds_of_a_loser_that_left_are_told(self, timed: Any) -> None:
        plan = Plan(rounds=10, reason=RoundsReason.DECIDED, most=10)
        run = result_of(
            timed(FAST, 0, schedule="adaptive"), timed(SLOW[:4], 1, schedule="adaptive", threads=1)
        )
        found = [replace(record, plan=plan) for record in run.records]
        lines = printed(lambda out: show_rankings(rankings(result_of(found).cases()), out))
        assert cells(lines[5])[-1] == "slower (4 rounds)"

    def test_the_rounds_left_out_as_disturbed_are_told(self, timed: Any) -> None:
        quiet, other = busy_in(timed(FAST, 0)), busy_in(timed([*SLOW, 9.0, 9.0], 1, threads=1), 6, 7)
        lines = printed(lambda out: show_rankings(rankings(result_of(quiet, other).cases()), out))
        assert cells(lines[2]) == ["time", "ratio", "95 % CI", "disturbed", "verdict"]
        assert cells(lines[4])[-2:] == ["1.005 s", "fastest"]
        assert cells(lines[5])[-2:] == ["2 of 8 rounds", "slower"]
        assert "; disturbed: rounds left out because" in lines[6]

    def test_an_alternative_that_is_as_fast_is_the_same(self, timed: Any) -> None:
        tiny = [each * 1.002 for each in FAST]
        lines = printed(
            lambda out: show_rankings(
                rankings(result_of(timed(FAST, 0), timed(tiny, 1, threads=1)).cases()), out
            )
        )
        assert cells(lines[5])[-1] == "same"
        assert cells(lines[4]) == ["1", "threads=2", "1.005 s"]

    def test_single_rounds_have_no_verdict(self, timed: Any) -> None:
        run = result_of(timed([2.0], 0), timed([1.0], 1, allocator="tuned"))
        lines = printed(lambda out: show_rankings(rankings(run.cases()), out))
        assert cells(lines[4]) == ["1", "allocator=tuned", "1.00 s"]
        assert cells(lines[5]) == [
            "2", "allocator=system", "2.00 s", "2.00", "none",
            "not significantly slower than the fastest: one round each",
        ]  # fmt: skip
        assert lines[6] == "One round says nothing of how processes differ: measure.rounds=6"

    def test_engines_are_ranked_with_their_time_until_the_first_answer(self, timed: Any) -> None:
        phases = [
            {"inference": times, "prepare": [prepare] * 6, "first_call": [0.5] * 6}
            for times, prepare in ((SLOW, 0.5), (FAST, 20.5), ([each * 2 for each in SLOW], 1.5))
        ]
        engines = ("eager", "compile", "torchscript")
        made = [timed(each, order, engine=engines[order]) for order, each in enumerate(phases)]
        wrong = timed(
            [0.1], 3, engine="export", check=Checked(Check(Correctness.MISMATCH), "the output is off")
        )
        lines = printed(lambda out: show_rankings(rankings(result_of(*made, wrong).cases()), out))
        assert cells(lines[2]) == [
            "time", "ratio", "95 % CI", "first answer", "break-even", "verdict",
        ]  # fmt: skip
        assert [cells(line) for line in lines[4:8]] == [
            ["1", "engine=compile", "1.005 s", "21.0 s", "101 calls", "fastest"],
            ["2", "engine=eager", "1.205 s", "1.199", "1.191 to 1.207", "1.00 s", "slower"],
            ["3", "engine=torchscript", "2.41 s", "2.398", "2.383 to 2.413", "2.00 s", "never", "slower"],
            ["–", "engine=export", "~100 ms~", "mismatch"],
        ]
        assert "first answer: prepare and first_call; break-even: number of calls" in lines[8]

    @pytest.mark.parametrize(
        ("found", "phase", "text"),
        [
            (None, "inference", ""),
            (BreakEven(12345, is_told=True), "total", "12,345 steps"),
            (BreakEven(1, is_told=None), "inference", "about 1 call"),
            (BreakEven(None, is_told=None), "inference", "never"),
            (BreakEven(12, is_told=False), "inference", "not significant"),
        ],
    )
    def test_the_break_even_is_in_calls_or_steps(
        self, found: BreakEven | None, phase: str, text: str
    ) -> None:
        assert break_even_text(found, phase) == text

    def test_a_sweep_ends_with_its_ranking_and_the_place_of_the_records(self, timed: Any) -> None:
        run = result_of(timed(SLOW, 0), timed(FAST, 1, allocator="tuned"))
        lines = printed(lambda out: terminal.show(run, out))
        assert lines.index("fastest first") > next(i for i, line in enumerate(lines) if line.startswith("±"))
        assert lines[-1].startswith("records: ")

    def test_a_sweep_without_alternatives_has_no_ranking(self, timed: Any) -> None:
        run = result_of(timed(FAST, 0), timed(SLOW, 1, seed=1))
        assert "fastest first" not in printed(lambda out: terminal.show(run, out))
        assert "fastest first" not in printed(lambda out: terminal.show(result_of(timed(FAST)), out))

    def test_names_with_brackets_are_shown_as_they_are(self, timed: Any) -> None:
        run = result_of(timed(FAST, 0, model="a[b]"), timed(SLOW, 1, model="a[b]", engine="[red]x"))
        lines = printed(lambda out: show_rankings(rankings(run.cases()), out))
        assert lines[3] == "a[b] infer"
        assert cells(lines[5])[1] == "engine=[red]x"
        comparison = microbench.compare(run, by="engine")
        assert "[red]x/eager 1.199" in str(comparison)
