"""The table of a sweep."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Any

import pytest
from factory import busy_in, configured, record_of, series_of

from microbench.analysis.case import intervals
from microbench.analysis.sweep import sweep as rows_of
from microbench.records.clocks import BACKLOG, EVENTS
from microbench.records.record import BenchmarkWarning, Check, Correctness, RoundRecord, WarningCode
from microbench.tables.sweep import error_note, interval_note, show_sweep
from microbench.verify.judging import Checked

from .support import INFER, TRAIN, MakeCase, Rendered, case_of, cases, cells, over_rounds, rows


def sweep(made: Sequence[list[RoundRecord]], rendered: Rendered, width: int = 300) -> list[str]:
    """Return the lines of the table alone."""
    lines = rendered(width=width, using=partial(show_sweep, rows_of(cases(*made))))
    return [line for line in lines if not line.startswith(("±: ", "error: ", "answers: "))]


class TestRows:
    def test_train_and_infer_of_a_model_share_a_row(self, make_case: MakeCase, rendered: Rendered) -> None:
        made = [
            make_case(TRAIN, model="vgg16", mode="train"),
            make_case(INFER, model="vgg16", mode="infer", order=1),
            make_case(INFER, model="alexnet", mode="infer", order=2),
        ]
        table = rows(sweep(made, rendered))
        assert list(table) == ["vgg16", "alexnet"]
        assert table["vgg16"]["total"] == "40.0 ms ±0.75 %"
        assert table["vgg16"]["inference"] == "8.0 ms ±5.0 %"
        assert (table["alexnet"]["total"], table["alexnet"]["inference"]) == ("", "8.0 ms ±5.0 %")
        assert table["vgg16"]["total images/s"] == "200.0"
        assert table["vgg16"]["inference memory"] == "1.50 GiB"

    def test_an_implausible_time_is_reported_as_one(self, make_case: MakeCase, rendered: Rendered) -> None:
        doubted = BenchmarkWarning(WarningCode.IMPLAUSIBLE, "no machine is so fast")
        made = [
            make_case(INFER, model="vgg16", mode="infer"),
            make_case(INFER, model="alexnet", mode="infer", order=1, warnings=(doubted,)),
        ]
        table = rows(sweep(made, rendered))
        assert (table["vgg16"]["status"], table["alexnet"]["status"]) == ("ok", "implausible")

    def test_a_cell_is_the_median_over_rounds(self, make_case: MakeCase, rendered: Rendered) -> None:
        times = (0.0100, 0.0106, 0.0102, 0.0101, 0.0103, 0.0102)
        made = [over_rounds(make_case, *times), make_case(INFER, mode="infer", order=1, batch_size=1)]
        table = sweep(made, rendered)
        assert cells(table[1])[:3] == ["resnet18", "8", "10.2 ms ±2.9 %"]

    def test_only_settings_that_vary_are_columns(self, make_case: MakeCase, rendered: Rendered) -> None:
        made = [make_case(INFER, mode="infer", order=i, batch_size=2**i, threads=2) for i in range(3)]
        lines = sweep(made, rendered)
        assert cells(lines[0])[:2] == ["model", "batch_size"]
        assert "threads" not in lines[0]
        assert [cells(line)[:2] for line in lines[1:]] == [["resnet18", str(2**i)] for i in range(3)]

    def test_rows_differ_by_each_setting_that_varies(self, make_case: MakeCase, rendered: Rendered) -> None:
        made = [
            make_case(INFER, mode="infer", batch_size=batch, threads=threads, order=order)
            for order, (batch, threads) in enumerate([(1, 1), (1, 2), (8, 1), (8, 2)])
        ]
        lines = sweep(made, rendered)
        assert cells(lines[0])[:3] == ["model", "batch_size", "threads"]
        assert [cells(line)[1:3] for line in lines[1:]] == [["1", "1"], ["1", "2"], ["8", "1"], ["8", "2"]]

    def test_allocator_and_affinity_are_columns_if_they_vary(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        made = [
            make_case(INFER, mode="infer", order=0),
            make_case(INFER, mode="infer", order=1, allocator="tuned", affinity=[0, 1]),
        ]
        lines = sweep(made, rendered)
        assert cells(lines[0])[:3] == ["model", "affinity", "allocator"]
        assert [cells(line)[1:3] for line in lines[1:]] == [["none", "system"], ["0,1", "tuned"]]

    def test_a_case_that_ran_twice_has_two_rows(self, make_case: MakeCase, rendered: Rendered) -> None:
        made = [make_case(INFER, mode="infer"), make_case({"inference": (0.5, 0.05)}, mode="infer", order=1)]
        lines = sweep(made, rendered)
        assert [cells(line)[:2] for line in lines[1:]] == [
            ["resnet18", "8.0 ms ±5.0 %"],
            ["resnet18", "500 ms ±10 %"],
        ]

    def test_names_with_brackets_are_shown_as_they_are(self, make_case: MakeCase, rendered: Rendered) -> None:
        names = ["a[b]", "[red]x", "x[/y]", "[bold]"]
        made = [make_case(INFER, model=name, mode="infer", order=i) for i, name in enumerate(names)]
        assert [line.split()[0] for line in sweep(made, rendered)[1:]] == names

    def test_a_phase_that_took_no_time_is_shown(self, make_case: MakeCase, rendered: Rendered) -> None:
        coarse = make_case(TRAIN | {"update": (0.0, 1e-6)})
        table = sweep([coarse, make_case(TRAIN, order=1, batch_size=1)], rendered)
        assert [line.split()[:2] for line in table[1:]] == [["resnet18", "8"], ["resnet18", "1"]]


class TestDisturbedRounds:
    def test_each_row_says_how_many_of_its_rounds_are_left_out(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        made = [
            busy_in(over_rounds(make_case, *[0.01] * 9), 0, 3, 4),
            over_rounds(make_case, *[0.01] * 6, order=1, batch_size=1),
        ]
        lines = rendered(using=partial(show_sweep, rows_of(cases(*made))))
        assert re.findall("[0-9] of [0-9] rounds|disturbed", " ".join(lines[:3])) == [
            "disturbed",
            "3 of 9 rounds",
        ]
        assert cells(lines[1])[-1] == "3 of 9 rounds"
        assert lines[-1] == "disturbed: rounds left out because something else slowed the machine down"

    def test_the_modes_of_a_row_are_added_up(self, make_case: MakeCase) -> None:
        infer = busy_in(over_rounds(make_case, *[0.01] * 7), 1)
        train = [*chain(*(make_case(TRAIN, order=1, round=number, rounds=6) for number in range(6)))]
        (row,) = rows_of(cases(infer, train)).rows
        assert row.disturbed == (1, 13)

    def test_there_is_no_such_column_if_all_rounds_count(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        made = [over_rounds(make_case, *[0.01] * 6, order=order, batch_size=1 + order) for order in range(2)]
        few = busy_in(over_rounds(make_case, 0.01, 0.01, order=2, batch_size=3), 0)
        assert "disturbed" not in " ".join(sweep([*made, few], rendered))


class TestStatus:
    def test_a_failed_case_has_its_status_in_its_row(self, make_case: MakeCase, rendered: Rendered) -> None:
        made = [
            make_case(INFER, mode="infer", batch_size=1),
            make_case({}, mode="infer", order=1, batch_size=8, status="oom", error="out of memory"),
        ]
        lines = sweep(made, rendered)
        assert cells(lines[0])[-1] == "status"
        assert cells(lines[1])[-1] == "ok"
        assert cells(lines[2]) == ["resnet18", "8", "oom"]

    def test_no_status_is_shown_if_all_succeeded(self, make_case: MakeCase, rendered: Rendered) -> None:
        made = [make_case(INFER, mode="infer"), make_case(INFER, mode="infer", batch_size=1, order=1)]
        assert "status" not in sweep(made, rendered)[0]

    def test_a_failed_mode_is_a_status_next_to_the_other_modes_times(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        made = [
            make_case(INFER, mode="infer"),
            make_case({}, mode="train", order=1, status="error", error="no"),
        ]
        (row,) = rows(sweep(made, rendered)).values()
        assert row["inference"] == "8.0 ms ±5.0 %"
        assert row["status"] == "ok, error"

    def test_a_case_with_failed_rounds_says_how_many(self, make_case: MakeCase, rendered: Rendered) -> None:
        good = make_case(INFER, mode="infer", rounds=3)
        (second,), (third,) = (
            make_case({}, mode="infer", round=number, rounds=3, status="timeout", error="too long")
            for number in (1, 2)
        )
        other = make_case(INFER, mode="infer", order=1, batch_size=1)
        table = sweep([[*good, second, third], other], rendered)
        assert [cells(line)[-1] for line in table[1:]] == ["ok, 2 of 3 rounds failed", "ok"]


def records_of(
    make_case: MakeCase, order: int, check: Check | None = None, **settings: Any
) -> list[RoundRecord]:
    return make_case(INFER, mode="infer", order=order, check=check, **settings)


class TestAnswers:
    SAME = Check(Correctness.SAME, 0.5, 0.0031, tolerance=0.02)
    WRONG = Checked(Check(Correctness.MISMATCH, 0.5, 0.25, tolerance=0.02), "the output is off")

    def test_errors_are_a_column_if_answers_were_compared(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        plain = records_of(make_case, 0, Check(Correctness.REFERENCE))
        lines = sweep([plain, records_of(make_case, 1, self.SAME, precision="bf16")], rendered)
        assert cells(lines[0])[-1] == "error"
        assert [cells(line)[-1] for line in lines[1:]] == ["1.50 GiB", "3.1e-03"]
        assert "error" not in sweep([plain, records_of(make_case, 1, threads=1)], rendered)[0]

    def test_the_larger_error_of_training_counts(self, make_case: MakeCase, rendered: Rendered) -> None:
        trained = Check(Correctness.SAME, 0.5, 0.001, None, 0.047, 0.02, 0.05)
        made = [records_of(make_case, 0, self.SAME), make_case(TRAIN, order=1, check=trained)]
        (row,) = rows(sweep(made, rendered)).values()
        assert row["error"] == "4.7e-02"

    def test_the_times_of_a_wrong_answer_are_struck_out_and_it_has_no_rate(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        made = [records_of(make_case, 0), records_of(make_case, 1, self.WRONG, model="wrong")]
        row = rows(sweep(made, rendered))["wrong"]
        assert row["inference"] == "~8.0 ms ±5.0 %~"
        assert (row["inference images/s"], row["error"], row["status"]) == ("", "2.5e-01", "mismatch")

    def test_an_error_without_bounds_is_infinite(self, make_case: MakeCase, rendered: Rendered) -> None:
        check = Checked(Check(Correctness.MISMATCH, math.inf, math.inf), "it is not finite")
        table = sweep([records_of(make_case, 0), records_of(make_case, 1, check, threads=1)], rendered)
        assert cells(table[2])[-2:] == ["inf", "mismatch"]

    def test_the_arithmetic_of_another_precision_is_a_column(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        made = [
            records_of(make_case, 0, env={"arithmetic": "fp32"}),
            records_of(make_case, 1, precision="bf16", env={"arithmetic": "avx512_bf16"}),
        ]
        lines = sweep(made, rendered)
        assert cells(lines[0])[-1] == "arithmetic"
        assert [cells(line)[-1] for line in lines[1:]] == ["1.50 GiB", "avx512_bf16"]
        assert "arithmetic" not in sweep(made[:1], rendered)[0]

    def test_the_note_says_what_the_error_is(self, make_case: MakeCase) -> None:
        plain, same = (
            records_of(make_case, 0, Check(Correctness.REFERENCE)),
            records_of(make_case, 1, self.SAME, threads=1),
        )
        told = "error: largest difference from eager fp32's outputs, relative to the largest"
        assert error_note(rows_of(cases(plain, same))) == told
        trained = make_case(
            TRAIN, order=2, check=Check(Correctness.SAME, 0.5, 0.001, None, 0.047, 0.02, 0.05)
        )
        assert (error_note(rows_of(cases(plain, trained))) or "").startswith(
            f"{told}; in training also of the gradients"
        )
        assert error_note(rows_of(cases(plain))) is None

    def test_answers_that_were_not_checked_are_noted(self, make_case: MakeCase) -> None:
        made = [records_of(make_case, order, Check(Correctness.OFF), threads=order + 1) for order in (0, 1)]
        assert error_note(rows_of(cases(*made))) == "answers: not checked (verify=false)"


class TestColumns:
    def test_the_loss_is_a_column_if_one_row_shows_it(self, make_case: MakeCase, rendered: Rendered) -> None:
        small = TRAIN | {"loss": (1e-5, 1e-6)}
        both = [make_case(small, model="vgg16"), make_case(TRAIN, model="tiny", order=1)]
        assert "loss" in cells(sweep(both, rendered)[0])
        hidden = [make_case(small, model="vgg16"), make_case(small, model="vgg11", order=1)]
        assert "loss" not in cells(sweep(hidden, rendered)[0])

    def test_a_narrow_console_drops_columns_rather_than_cut_them(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        made = [
            make_case(TRAIN, model="vgg16"),
            make_case(INFER, model="vgg16", mode="infer", order=1),
            make_case(TRAIN, model="resnet50", order=2),
        ]
        everything = sweep(made, rendered)
        order = ("total images/s", "inference images/s", "total memory", "inference memory")
        columns = set(order)
        seen = set()
        for width in range(75, len(max(everything, key=len)) + 1):
            lines = sweep(made, rendered, width)
            dropped = columns - set(cells(lines[0]))
            hidden = ", ".join(each for each in order if each in dropped)
            note = f"columns hidden (terminal too narrow): {hidden}" if dropped else ""
            assert " ".join(lines[3:]) == note
            assert "…" not in "".join(lines)
            assert max(map(len, lines)) <= width
            table = rows(lines[:3])
            assert table["vgg16"]["total"].startswith("40.0 ms")
            assert table["vgg16"]["inference"].startswith("8.0 ms")
            seen.add((frozenset(dropped), "±" in lines[1]))
        memory = frozenset({"total memory", "inference memory"})
        # Memory goes first, then the rates, then the intervals.
        assert seen == {
            (frozenset(), True),
            (memory, True),
            (frozenset(columns), True),
            (frozenset(columns), False),
        }


class TestNote:
    def test_the_note_gives_rounds_and_confidence(self, make_case: MakeCase) -> None:
        made = [over_rounds(make_case, *[0.01] * rounds, order=i) for i, rounds in enumerate((3, 3))]
        assert interval_note(intervals(cases(*made))) == (
            "±: half-width of the 75 % CI over 3 rounds, relative to the median"
        )

    def test_the_note_on_one_round_says_within_one_process(self, make_case: MakeCase) -> None:
        assert interval_note(intervals([case_of(*make_case(INFER, mode="infer"))])) == (
            "±: half-width of the 95 % CI within a single process (measure.rounds=1), relative to the median"
        )

    def test_the_note_distinguishes_numbers_of_rounds(self, make_case: MakeCase) -> None:
        made = [over_rounds(make_case, *[0.01] * rounds, order=i) for i, rounds in enumerate((1, 10, 3, 6))]
        assert interval_note(intervals(cases(*made))) == (
            "±: half-width of the 75 % CI over 3 rounds, or the 95 % CI over 6 to 10 rounds, "
            "or the 95 % CI within a single process (measure.rounds=1), relative to the median"
        )

    @pytest.mark.parametrize("phases", [{}, {"inference": (0.01, None)}])
    def test_no_note_is_printed_without_an_interval(
        self, phases: dict[str, tuple[float, None]], make_case: MakeCase
    ) -> None:
        assert interval_note(intervals([case_of(*make_case(phases, mode="infer"))])) is None


class TestGpu:
    def made(self, stream: float, device: float, order: int) -> list[RoundRecord]:
        times = {
            "inference": series_of("inference", [stream] * 6, clock=EVENTS),
            "device": series_of("device", [device] * 6, clock=BACKLOG),
        }
        return [record_of(times, configured(batch_size=order + 1), order=order)]

    def test_a_column_says_how_long_the_gpu_waits_for_the_host(self, rendered: Rendered) -> None:
        made = [self.made(1.0, 0.37, 0), self.made(2.0, 1.95, 1)]
        lines = rendered(width=300, using=partial(show_sweep, rows_of(cases(*made))))
        assert cells(lines[0])[:4] == ["model", "batch_size", "inference", "device"]
        assert cells(lines[0])[-1] == "GPU idle"
        assert [cells(line)[-1] for line in lines[1:3]] == ["63 %", cells(lines[2])[-1]]
        assert "%" not in cells(lines[2])[-1]
        assert "times: stream time (device.sync)" in lines
        assert "GPU idle: launch-bound, the GPU waits for the host" in lines

    def test_a_gpu_that_is_always_busy_has_none(self, rendered: Rendered) -> None:
        made = [self.made(2.0, 1.95, 0), self.made(2.0, 1.95, 1)]
        lines = rendered(width=300, using=partial(show_sweep, rows_of(cases(*made))))
        assert not any("idle" in line for line in lines)
