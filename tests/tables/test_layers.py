"""The table of a model's layers: one configuration, several, and the notes below it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from factory import with_layer

from microbench.records.record import BenchmarkWarning, DistinctLayer, RoundRecord, WarningCode
from microbench.records.result import Result
from microbench.tables import terminal

from .support import Interval, MakeCase, Rendered, cells

CONV = DistinctLayer("conv", "conv", 0, "Conv2d", "3, 8, kernel_size=(3, 3)", "(1, 3, 8, 8)", 3)
RELU = DistinctLayer("act:1", "act", 1, "ReLU", "inplace=True", "(1, 8, 6, 6)", 10)
JOIN = DistinctLayer("join", "join", 2, "Join", "", "(1, 8), (5,), ()", 1)
DROP = DistinctLayer("drop", "drop", 3, "Dropout", "p=0.5", "(1, 8)", 2)
SKIPPED = "not measured: it does nothing in inference"


def train(forward: float, backward: float) -> dict[str, Interval]:
    return {
        "forward": (forward, forward / 50),
        "backward": (backward, backward / 50),
        "total": (3 * (forward + backward), 0.0001),
    }


def infer(time: float) -> dict[str, Interval]:
    return {"inference": (time, time / 50)}


class Made:
    """A maker of the records of a model and its layers."""

    def __init__(self, make_case: MakeCase) -> None:
        self._make, self._order = make_case, 0

    def whole(self, phases: dict[str, Interval], **settings: Any) -> list[RoundRecord]:
        self._order += 1
        return self._make(phases, order=self._order, model="tiny", **settings)

    def layer(self, layer: DistinctLayer, phases: dict[str, Interval], **settings: Any) -> list[RoundRecord]:
        return with_layer(self.whole(phases, part=layer.part, **settings), layer)


def shown(rendered: Rendered, *made: Sequence[RoundRecord], width: int = 300) -> list[str]:
    result = Result([record for records in made for record in records], Path("run/records.jsonl"))
    return rendered(using=lambda out: terminal.show(result, out), width=width)


def row(lines: Sequence[str], name: str) -> list[str]:
    return cells(next(line for line in lines if line.startswith(f"{name}  ")))


class TestOneConfiguration:
    def test_training_has_forward_backward_and_their_sum(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        made = Made(make_case)
        lines = shown(
            rendered,
            made.whole(train(0.1, 0.2)),
            made.layer(CONV, train(0.010, 0.020)),
            made.layer(RELU, train(0.001, 0.002)),
        )
        assert "tiny train, batch 8, fp32, eager, cpu, layer by layer" in lines
        assert row(lines, "layer") == [
            *("layer", "type", "input", "count", "forward", "backward"),
            *("count × (forward + backward)", "share"),
        ]
        assert row(lines, "conv") == [
            *("conv", "Conv2d(3, 8, kernel_size=(3, 3))", "1x3x8x8", "3", "10.0 ms", "20.0 ms"),
            *("90.0 ms ±2.0 %", "30 %"),
        ]
        assert row(lines, "act:1")[-2:] == ["30.0 ms ±2.0 %", "10.0 %"]
        assert row(lines, "sum of layers") == ["sum of layers", "40.0 ms", "80.0 ms", "120 ms", "40 %"]
        assert row(lines, "whole model") == ["whole model", "100 ms", "200 ms", "300 ms"]
        assert row(lines, "sum / whole") == ["sum / whole", "0.40", "0.40", "0.40"]

    def test_the_slowest_layer_is_first(self, make_case: MakeCase, rendered: Rendered) -> None:
        made = Made(make_case)
        lines = shown(
            rendered,
            made.whole(infer(0.1), mode="infer"),
            made.layer(CONV, infer(0.001), mode="infer"),
            made.layer(RELU, infer(0.002), mode="infer"),
        )
        names = [line.split()[0] for line in lines]
        assert names.index("act:1") < names.index("conv")
        assert row(lines, "layer")[4:] == ["inference", "count × inference", "share"]
        assert row(lines, "conv")[-3:] == ["1.00 ms", "3.00 ms ±2.0 %", "3.0 %"]

    def test_shapes_of_several_inputs_and_of_scalars_are_shown(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        made = Made(make_case)
        lines = shown(rendered, made.whole(train(1, 1)), made.layer(JOIN, train(0.1, 0.1)))
        assert row(lines, "join")[1:3] == ["Join()", "1x8, 5, scalar"]

    def test_layers_that_are_not_measured_are_reported_with_the_reason(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        made = Made(make_case)
        lines = shown(
            rendered,
            made.whole(infer(0.1), mode="infer"),
            made.layer(CONV, infer(0.001), mode="infer"),
            made.layer(DROP, {}, mode="infer", status="skipped", error=SKIPPED),
        )
        assert f"Dropout (2 calls): {SKIPPED}" in lines
        assert not [line for line in lines if line.startswith("skipped")]

    def test_a_layer_that_failed_is_reported_by_its_name(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        made = Made(make_case)
        lines = shown(
            rendered,
            made.whole(train(1, 1)),
            made.layer(CONV, train(0.1, 0.1)),
            made.layer(RELU, {}, status="error", error="it broke"),
        )
        assert "error: tiny act:1 train: it broke" in lines

    def test_a_model_that_failed_leaves_its_layers_times(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        made = Made(make_case)
        lines = shown(
            rendered,
            made.whole({}, status="oom", error="no memory"),
            made.layer(CONV, train(0.01, 0.02)),
        )
        assert row(lines, "conv")[-2:] == ["90.0 ms ±2.0 %", "–"]
        assert row(lines, "whole model") == ["whole model", "–", "–", "–"]
        assert "oom: tiny train: no memory" in lines

    def test_no_table_is_printed_if_nothing_was_measured(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        made, failed = Made(make_case), {"status": "timeout", "error": "too long"}
        lines = shown(rendered, made.whole({}, **failed), made.layer(CONV, {}, **failed))
        assert lines[1:-1] == [
            "tiny train, batch 8, fp32, eager, cpu, layer by layer",
            "nothing to compare: neither the model nor any of its layers was measured",
            "timeout: tiny train: too long",
            "timeout: tiny conv train: too long",
        ]

    def test_warnings_are_printed_once_for_all_layers_that_have_them(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        made, drifts = Made(make_case), (BenchmarkWarning(WarningCode.DRIFT, "it drifts; wait"),)
        lines = shown(
            rendered,
            made.whole(train(1, 1)),
            made.layer(CONV, train(0.1, 0.1), warnings=drifts),
            made.layer(RELU, train(0.1, 0.1), warnings=drifts),
        )
        told = [line for line in lines if "drifts" in line]
        assert told == ["warning: 2 of 3 cases, such as act:1: it drifts; wait [drift]"]

    @pytest.mark.parametrize(
        ("width", "what"),
        [
            (120, ["conv", "Conv2d(3, 8, kernel_size=(3, 3))", "1x3x8x8", "3"]),
            (85, ["conv", "Conv2d", "1x3x8x8", "3"]),
            (70, ["conv", "Conv2d", "3"]),
        ],
    )
    def test_a_narrow_terminal_leaves_out_arguments_and_then_inputs(
        self, width: int, what: list[str], make_case: MakeCase, rendered: Rendered
    ) -> None:
        made = Made(make_case)
        records = [made.whole(infer(0.1), mode="infer"), made.layer(CONV, infer(0.001), mode="infer")]
        lines = shown(rendered, *records, width=width)
        assert row(lines, "conv") == [*what, "1.00 ms", "3.00 ms ±2.0 %", "3.0 %"]


class TestSeveralConfigurations:
    def lines(self, make_case: MakeCase, rendered: Rendered) -> list[str]:
        made, other = Made(make_case), {"mode": "infer", "engine": "openvino"}
        return shown(
            rendered,
            made.whole(infer(0.1), mode="infer"),
            made.layer(CONV, infer(0.010), mode="infer"),
            made.layer(RELU, infer(0.001), mode="infer"),
            made.whole(infer(0.02), **other),
            made.layer(CONV, infer(0.005), **other),
            made.layer(RELU, {}, status="skipped", error="no such layer", **other),
        )

    def test_each_configuration_has_a_column_and_the_fastest_has_a_mark(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        lines = self.lines(make_case, rendered)
        assert "tiny infer, layer by layer" in lines
        assert row(lines, "layer")[-2:] == ["eager", "openvino"]
        assert row(lines, "conv")[-2:] == ["30.0 ms ±2.0 %", "15.0 ms ±2.0 %*"]
        assert row(lines, "act:1")[-2:] == ["10.0 ms ±2.0 %", "skipped"]
        assert row(lines, "sum of layers")[1:] == ["40.0 ms", "15.0 ms"]
        assert row(lines, "whole model")[1:] == ["100 ms", "20.0 ms"]
        assert row(lines, "sum / whole")[1:] == ["0.40", "0.75"]

    def test_layers_that_one_configuration_lacks_are_reported(
        self, make_case: MakeCase, rendered: Rendered
    ) -> None:
        lines = self.lines(make_case, rendered)
        assert "the sum of openvino lacks 1 layer that was measured in other configurations" in lines
        assert "skipped: tiny act:1 infer, engine=openvino: no such layer" in lines


def test_layers_that_failed_are_missing_from_the_sum(make_case: MakeCase, rendered: Rendered) -> None:
    made = Made(make_case)
    lines = shown(
        rendered,
        made.whole(infer(0.1), mode="infer"),
        made.layer(CONV, infer(0.001), mode="infer"),
        made.layer(RELU, {}, mode="infer", status="error", error="it broke"),
    )
    assert "the sum lacks 1 layer that failed" in lines
    assert any(line.endswith("it broke") for line in lines)


def test_cases_that_are_no_layers_are_shown_as_usual(make_case: MakeCase, rendered: Rendered) -> None:
    made = Made(make_case)
    lines = shown(
        rendered,
        made.whole(train(1, 1)),
        made.layer(CONV, train(0.1, 0.1)),
        make_case(infer(0.2), order=9, model="other", mode="infer"),
    )
    assert row(lines, "sum of layers")
    assert any(line.startswith("other infer, batch 8") for line in lines)
