from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from microbench.reports import terminal
from microbench.results.record import Caution, WarningCode
from microbench.results.result import Record, Result

MakeCase = Callable[..., list[Record]]
Rendered = Callable[..., list[str]]

TRAIN = {
    "forward": (0.010, 0.0003),
    "loss": (0.001, 0.0003),
    "backward": (0.020, 0.0003),
    "update": (0.005, 0.0003),
    "total": (0.040, 0.0003),
}
INFER = {"inference": (0.008, 0.0004)}


def cells(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


def rows(lines: Sequence[str]) -> dict[str, dict[str, str]]:
    """A table's rows by their first cell, each cell by its column's name; columns are told by their ends."""
    names = [(found[0], found.end()) for found in re.finditer(r"\S+(?: \S+)*", lines[0])]
    table: dict[str, dict[str, str]] = {}
    for line in lines[1:]:
        found = {cell.end(): cell[0] for cell in re.finditer(r"\S+(?: \S+)*", line)}
        table[cells(line)[0]] = {name: found.get(end, "") for name, end in names[1:]}
    return table


def by_phase(records: Sequence[Record]) -> dict[str, Record]:
    return {record["phase"]: record for record in records}


class TestOneCase:
    def test_a_row_a_phase_with_its_median_interval_and_samples(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        table = rows(rendered(terminal.case_table(by_phase(make_case(TRAIN)), "images")))
        assert list(table) == ["forward", "loss", "backward", "update", "total"]
        assert table["backward"] == {
            "median": "20.0 ms",
            "95 % interval": "19.7 – 20.3 ms",
            "±": "1.5 %",
            "images/s": "",
            "samples": "40",
        }

    def test_throughput_is_the_batch_over_the_median_of_the_whole(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        table = rows(rendered(terminal.case_table(by_phase(make_case(TRAIN)), "images")))
        assert table["total"]["images/s"] == "200.0"  # 8 / 0.040 s, ± 0.75 % of it: 1.5
        infer = make_case(INFER, mode="infer", source="layer", batch_size=1)
        assert terminal.items(infer[0]) == "items"
        table = rows(rendered(terminal.case_table(by_phase(infer), terminal.items(infer[0]))))
        assert table["inference"]["items/s"] == "125"  # 1 / 0.008 s, ± 5 % of it: 6

    @pytest.mark.parametrize(("loss", "shown"), [(0.0004, False), (0.00041, True), (0.000399, False)])
    def test_the_loss_is_shown_where_it_is_more_than_a_hundredth_of_the_total(
        self, loss: float, shown: bool, make_case: MakeCase, rendered: Rendered
    ) -> None:
        case = make_case(TRAIN | {"loss": (loss, 1e-6)})
        assert ("loss" in rows(rendered(terminal.case_table(by_phase(case), "images")))) is shown

    def test_phases_of_preparation_are_not_rows(self, make_case: MakeCase, rendered: Rendered) -> None:
        case = make_case(INFER | {"prepare": (0.5, None), "first_call": (0.25, None)}, mode="infer")
        assert list(rows(rendered(terminal.case_table(by_phase(case), "images")))) == ["inference"]

    def test_too_few_samples_are_said_in_place_of_the_interval(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        case = make_case({"inference": (0.008, None)}, mode="infer")
        table = rows(rendered(terminal.case_table(by_phase(case), "images")))
        assert table["inference"]["95 % interval"] == "too few samples"
        assert table["inference"]["median"] == "8.00 ms"
        assert table["inference"]["±"] == ""


def shown(*cases: list[Record], rendered: Rendered, width: int = 300) -> list[str]:
    """What `show` prints of a result of these cases."""
    result = Result([record for case in cases for record in case], Path("outputs/x/records.jsonl"))
    return rendered(width=width, using=partial(terminal.show, result))


class TestShow:
    def test_one_case_is_shown_with_machine_facts_and_place(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        case = make_case(TRAIN | {"first_call": (0.25, None)}, batch_size=4, threads=2)
        lines = shown(case, rendered=rendered)
        assert lines[0] == "Some CPU, 4 cores · 2 threads · torch 2.9 · Python 3.12 · glibc malloc · Linux 6"
        assert lines[1] == "resnet18 train, batch 4, fp32, eager, cpu, input 4x3x224x224"
        assert lines[-2] == (
            "peak memory 1.50 GiB · stopped: the interval is narrow enough (measure.rel_ci) · "
            "warm-up 5 steps · first call 250 ms"
        )
        assert lines[-1] == "records: outputs/x/records.jsonl (6 series)"

    def test_merged_calls_and_unknown_memory(self, make_case: MakeCase, rendered: Rendered) -> None:
        case = make_case(INFER, mode="infer", calls_per_sample=7, peak_memory=None)
        facts = shown(case, rendered=rendered)[-2]
        assert facts.startswith("7 calls a sample · stopped: ")

    def test_a_failed_case_is_its_error(self, make_case: MakeCase, rendered: Rendered) -> None:
        lines = shown(make_case({}, status="oom", error="out of [memory]"), rendered=rendered)
        assert "oom: out of [memory]" in lines
        assert not any("median" in line for line in lines)

    def test_a_warning_has_its_code(self, make_case: MakeCase, rendered: Rendered) -> None:
        caution = Caution(WarningCode.DRIFT, "it drifts; wait")
        lines = shown(make_case(INFER, mode="infer", cautions=(caution,)), rendered=rendered)
        assert "warning: it drifts; wait [drift]" in lines

    def test_warnings_of_several_cases_name_theirs(self, make_case: MakeCase, rendered: Rendered) -> None:
        caution = Caution(WarningCode.DRIFT, "it drifts; wait")
        lines = shown(
            make_case(INFER, mode="infer"),
            make_case(INFER, mode="infer", order=1, batch_size=1, cautions=(caution,)),
            rendered=rendered,
        )
        warning = "warning: resnet18 infer, batch_size=1: it drifts; wait [drift]"
        assert [line for line in lines if line.startswith("warning")] == [warning]

    def test_nothing_is_shown_of_nothing(self, rendered: Rendered) -> None:
        assert shown(rendered=rendered) == []

    @pytest.mark.parametrize("name", ["a[b]", "[red]x", "x[/y]", "[bold]"])
    def test_names_with_brackets_are_shown_as_they_are(
        self, name: str, make_case: MakeCase, rendered: Rendered
    ) -> None:
        caution = Caution(WarningCode.DRIFT, f"{name} drifts")
        one = make_case(INFER, model=name, mode="infer", cautions=(caution,))
        two = make_case(INFER, model=name, mode="infer", order=1, batch_size=1)
        lines = shown(one, two, rendered=rendered)
        assert [line.split()[0] for line in lines[2:4]] == [name, name]
        assert f"warning: {name} infer, batch_size=8: {name} drifts [drift]" in lines

    def test_a_phase_that_took_no_time_is_shown(self, make_case: MakeCase, rendered: Rendered) -> None:
        """A clock may be too coarse for the shortest phases: a median of zero, with an interval above it."""
        phases = TRAIN | {"update": (0.0, 1e-6)}
        assert any(line.startswith("update") for line in shown(make_case(phases), rendered=rendered))
        both = shown(make_case(phases), make_case(TRAIN, order=1, batch_size=1), rendered=rendered)
        assert any(line.startswith("resnet18") for line in both)


def sweep(cases: Sequence[list[Record]], rendered: Rendered, width: int = 300) -> list[str]:
    return rendered(width=width, using=lambda out: out.print(terminal.sweep_table(cases, out)))


class TestSweep:
    def test_train_and_infer_of_a_model_share_a_row(self, make_case: MakeCase, rendered: Rendered) -> None:
        cases = [
            make_case(TRAIN, model="vgg16", mode="train"),
            make_case(INFER, model="vgg16", mode="infer", order=1),
            make_case(INFER, model="alexnet", mode="infer", order=2),
        ]
        table = rows(sweep(cases, rendered))
        assert list(table) == ["vgg16", "alexnet"]
        assert table["vgg16"]["total"] == "40.0 ms ±0.75 %"
        assert table["vgg16"]["inference"] == "8.0 ms ±5.0 %"
        assert (table["alexnet"]["total"], table["alexnet"]["inference"]) == ("", "8.0 ms ±5.0 %")
        assert table["vgg16"]["total images/s"] == "200.0"
        assert table["vgg16"]["inference memory"] == "1.50 GiB"

    def test_settings_that_vary_are_columns_and_others_are_not(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        cases = [make_case(INFER, mode="infer", order=i, batch_size=2**i, threads=2) for i in range(3)]
        lines = sweep(cases, rendered)
        assert cells(lines[0])[:2] == ["model", "batch_size"]
        assert "threads" not in lines[0]
        assert [cells(line)[:2] for line in lines[1:]] == [["resnet18", str(2**i)] for i in range(3)]

    def test_rows_differ_by_each_setting_that_varies(self, make_case: MakeCase, rendered: Rendered) -> None:
        cases = [
            make_case(INFER, mode="infer", batch_size=batch, threads=threads, order=order)
            for order, (batch, threads) in enumerate([(1, 1), (1, 2), (8, 1), (8, 2)])
        ]
        lines = sweep(cases, rendered)
        assert cells(lines[0])[:3] == ["model", "batch_size", "threads"]
        assert [cells(line)[1:3] for line in lines[1:]] == [["1", "1"], ["1", "2"], ["8", "1"], ["8", "2"]]

    def test_a_setting_that_is_no_axis_tells_cases_apart_that_are_alike_else(
        self, make_case: MakeCase
    ) -> None:
        cases = [
            make_case(INFER, mode="infer", order=i, input_shape=[3, size, size])
            for i, size in enumerate([32, 64])
        ]
        assert terminal.varying(cases) == {"model.input_shape": ["[3, 32, 32]", "[3, 64, 64]"]}

    def test_what_differs_between_models_only_is_no_column(self, make_case: MakeCase) -> None:
        cases = [
            make_case(INFER, model="vgg16", mode="infer"),
            make_case(INFER, model="inception_v3", mode="infer", order=1, input_shape=[3, 299, 299]),
        ]
        assert terminal.varying(cases) == {}

    def test_a_case_that_ran_twice_has_two_rows(self, make_case: MakeCase, rendered: Rendered) -> None:
        cases = [make_case(INFER, mode="infer"), make_case({"inference": (0.5, 0.05)}, mode="infer", order=1)]
        lines = sweep(cases, rendered)
        assert [cells(line)[:2] for line in lines[1:]] == [
            ["resnet18", "8.0 ms ±5.0 %"],
            ["resnet18", "500 ms ±10 %"],
        ]

    def test_a_failed_case_has_its_status_in_its_row(self, make_case: MakeCase, rendered: Rendered) -> None:
        cases = [
            make_case(INFER, mode="infer", batch_size=1),
            make_case({}, mode="infer", order=1, batch_size=8, status="oom", error="out of memory"),
        ]
        lines = sweep(cases, rendered)
        assert cells(lines[0])[-1] == "status"
        assert cells(lines[1])[-1] == "ok"
        assert cells(lines[2]) == ["resnet18", "8", "oom"]

    def test_no_status_where_all_ended_well(self, make_case: MakeCase, rendered: Rendered) -> None:
        cases = [make_case(INFER, mode="infer"), make_case(INFER, mode="infer", batch_size=1, order=1)]
        assert "status" not in sweep(cases, rendered)[0]

    def test_a_failed_mode_is_a_status_beside_the_other_modes_times(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        cases = [
            make_case(INFER, mode="infer"),
            make_case({}, mode="train", order=1, status="error", error="no"),
        ]
        (row,) = rows(sweep(cases, rendered)).values()
        assert row["inference"] == "8.0 ms ±5.0 %"
        assert row["status"] == "ok, error"

    def test_the_loss_is_a_column_where_one_row_shows_it(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        small = TRAIN | {"loss": (1e-5, 1e-6)}
        both = [make_case(small, model="vgg16"), make_case(TRAIN, model="tiny", order=1)]
        assert "loss" in cells(sweep(both, rendered)[0])
        hidden = [make_case(small, model="vgg16"), make_case(small, model="vgg11", order=1)]
        assert "loss" not in cells(sweep(hidden, rendered)[0])

    def test_a_narrow_console_drops_columns_rather_than_cut_them(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        cases = [
            make_case(TRAIN, model="vgg16"),
            make_case(INFER, model="vgg16", mode="infer", order=1),
            make_case(TRAIN, model="resnet50", order=2),
        ]
        everything = sweep(cases, rendered)
        columns = {"total memory", "inference memory", "total images/s", "inference images/s"}
        seen = set()
        for width in range(75, len(max(everything, key=len)) + 1):
            lines = sweep(cases, rendered, width)
            assert len(lines) == 3
            assert "…" not in "".join(lines)
            assert max(map(len, lines)) <= width
            table = rows(lines)
            assert table["vgg16"]["total"].startswith("40.0 ms")
            assert table["vgg16"]["inference"].startswith("8.0 ms")
            dropped = frozenset(columns - set(cells(lines[0])))
            seen.add((dropped, "±" in lines[1]))
        memory = frozenset({"total memory", "inference memory"})
        # Memory goes first, then the rates, then the intervals.
        assert seen == {
            (frozenset(), True),
            (memory, True),
            (frozenset(columns), True),
            (frozenset(columns), False),
        }


def test_a_pipe_is_wide_enough_for_any_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert terminal.console().width == 1000
    assert terminal.console(width_in_pipe=110).width == 110


def test_a_gpu_is_named_before_the_processor(make_case: MakeCase) -> None:
    record = make_case(INFER)[0] | {"env_gpu": "Some GPU"}
    assert terminal.machine([[record]]).startswith("Some GPU · Some CPU, 4 cores · 4 threads · ")
