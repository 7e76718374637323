"""`mode=layers`: the cases that it expands to, and how they are measured, completed and recorded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from torch import Tensor, nn

from microbench.errors import StoppedError, UserError
from microbench.options.compose import from_options
from microbench.records.progress import Watch
from microbench.records.record import DistinctLayer, Measured, Outcome, RoundRecord, Status
from microbench.records.result import Result
from microbench.run.case import Case
from microbench.run.layers import Extracted
from microbench.run.layers import expanded as each_layer_of
from microbench.run.pool import preloads
from microbench.run.protocol import Answer, Describe, Extract, Measure, Request, run
from microbench.workloads.parts.distinct import layers_of

from .support import OK, PLACE, Take, failed

CONV = DistinctLayer("conv", "conv", 0, "Conv2d", "3, 8, kernel_size=(3, 3)", "(1, 3, 8, 8)", 1)
RELU = DistinctLayer("act:1", "act", 1, "ReLU", "inplace=True", "(1, 8)", 3)
DROPOUT = DistinctLayer("drop", "drop", 2, "Dropout", "p=0.5", "(1, 8)", 2, "it does nothing in inference")
LAYERS = [CONV, RELU, DROPOUT]


def planned(**options: Any) -> list[Case]:
    defaults = {
        "model": "alexnet",
        "mode": "layers",
        "device": "cpu",
        "measure.rounds": 1,
        "schedule": "sequential",
    }
    return from_options(defaults | options, sweep=True)


@dataclass
class Workers:
    """Workers that find these layers in every model, and measure every case; they record their requests."""

    layers: Answer = field(default_factory=lambda: Answer(LAYERS))
    outcomes: dict[str | None, Measured] = field(default_factory=dict)
    extracted: list[Extract] = field(default_factory=list)
    measured: list[tuple[str, str | None]] = field(default_factory=list)
    notes: Sequence[str] = ()

    def ask(self, request: Request, watch: Watch, timeout: float | None) -> Answer:
        if isinstance(request, Describe):
            return Answer(PLACE)
        if isinstance(request, Extract):
            self.extracted.append(request)
            return self.layers
        assert isinstance(request, Measure)
        part = request.config.model.part
        self.measured.append((request.config.engine.name, part))
        return Answer(self.outcomes.get(part, OK))

    def close(self) -> None:
        pass


def firsts(result: Result) -> list[RoundRecord]:
    """Return one record per case, in the run's order."""
    return [case.first for case in result.cases()]


def statuses(result: Result) -> list[Status]:
    return [case.status for case in result.cases()]


def expanded(cases: Sequence[Case], extract: Callable[[Case], Extracted]) -> list[Case]:
    return list(each_layer_of(cases, extract))


class TestExpansion:
    def test_model_and_layers_have_a_case_each_in_the_requested_mode(self) -> None:
        (case,) = planned(**{"mode.each": "infer"})
        found = expanded([case], lambda each: LAYERS)
        assert [each.config.model.part for each in found] == [None, "conv", "act:1", "drop"]
        assert {each.config.mode.name for each in found} == {"infer"}
        assert [each.order for each in found] == [0, 1, 2, 3]
        assert [each.layer for each in found] == [None, *LAYERS]

    def test_a_layers_case_is_the_one_that_its_own_command_measures(self) -> None:
        (case,) = planned()
        layer = expanded([case], lambda each: [CONV])[1]
        alone = from_options(
            {"model": "alexnet", "mode": "train", "device": "cpu", "model.part": "conv"}, sweep=False
        )
        assert layer.id == alone[0].id
        assert "mode=train" in layer.command
        assert "model.part=conv" in layer.command
        assert "layers" not in layer.command

    @pytest.mark.parametrize("part", ["", "0.1", "1e5", "true", "(Gelu)", "a.0.b:12"])
    def test_a_command_preserves_any_name(self, part: str) -> None:
        (case,) = planned()
        layer = DistinctLayer(part, part, 0, "ReLU", "", "(1,)", 1)
        override = expanded([case], lambda each: [layer])[1].overrides[-1]
        assert str(OverridesParser.create().parse_override(override).value()) == part

    def test_other_cases_are_unchanged_and_follow_after(self) -> None:
        cases = planned(mode=["layers", "infer"])
        found = expanded(cases, lambda each: [CONV])
        assert [(each.config.mode.name, each.config.model.part) for each in found] == [
            ("train", None),
            ("train", "conv"),
            ("infer", None),
        ]
        assert [each.order for each in found] == [0, 1, 2]
        assert found[2] == replace(cases[1], order=2)

    def test_a_model_is_taken_apart_once_for_all_engines_and_again_for_another_batch(self) -> None:
        asked: list[tuple[str, int]] = []

        def extract(case: Case) -> list[DistinctLayer]:
            asked.append((case.config.engine.name, case.config.batch_size))
            return LAYERS

        expanded(planned(engine=["eager", "torchscript"], batch_size=[1, 2]), extract)
        assert asked == [("eager", 1), ("eager", 2)]

    def test_workers_have_imported_what_the_model_needs(self) -> None:
        (case,) = planned()
        whole, layer = expanded([case], lambda each: [CONV])
        assert preloads(case) == preloads(layer) == preloads(whole)
        assert "microbench.modes.train" in preloads(case)


class TestMeasuring:
    def test_only_records_of_layers_name_a_layer(self, take: Take) -> None:
        specs = [record.case for record in firsts(take(planned(), Workers()))]
        assert [spec.config.model.part for spec in specs] == [None, "conv", "act:1", "drop"]
        assert [spec.layer for spec in specs] == [None, *LAYERS]
        assert {spec.config.mode.name for spec in specs} == {"train"}

    def test_layers_that_do_nothing_are_skipped_without_a_worker(self, take: Take) -> None:
        workers = Workers()
        result = take(planned(), workers)
        assert workers.measured == [("eager", None), ("eager", "conv"), ("eager", "act:1")]
        assert statuses(result) == ["ok", "ok", "ok", "skipped"]
        assert firsts(result)[3].outcome.error == "not measured: it does nothing in inference"
        assert result.ok

    def test_a_layer_that_fails_does_not_affect_the_others(self, take: Take) -> None:
        workers = Workers(outcomes={"conv": failed()})
        result = take(planned(), workers)
        assert statuses(result) == ["ok", "error", "ok", "skipped"]
        assert not result.ok

    def test_a_model_that_cannot_be_taken_apart_is_a_failed_case(self, take: Take) -> None:
        workers = Workers(
            layers=Answer(Outcome(status=Status.ERROR, error="Finding the layers of alexnet failed"))
        )
        (record,) = take(planned(), workers).records
        assert (record.outcome.status, record.outcome.error) == (
            "error",
            "Finding the layers of alexnet failed",
        )
        assert (record.case.config.mode.name, record.case.config.model.part, record.case.layer) == (
            "train",
            None,
            None,
        )
        assert workers.measured == []

    def test_a_worker_that_cannot_import_what_it_needs_says_so(self, take: Take) -> None:
        workers = Workers(layers=Answer(error=StoppedError("Cannot import what a worker needs: torch.")))
        (record,) = take(planned(), workers).records
        assert record.outcome.error == "Cannot import what a worker needs: torch."

    def test_an_interrupted_run_is_completed(self, take: Take) -> None:
        class Stopping(Workers):
            def ask(self, request: Request, watch: Watch, timeout: float | None) -> Answer:
                if len(self.measured) == 2:
                    raise KeyboardInterrupt
                return super().ask(request, watch, timeout)

        first, second = Stopping(), Workers()
        with pytest.raises(KeyboardInterrupt):
            take(planned(), first)
        result = take(planned(), second, run_id="another", completing=True)
        assert first.measured == [("eager", None), ("eager", "conv")]
        assert second.measured == [("eager", "act:1")]
        assert statuses(result) == ["ok", "ok", "ok", "skipped"]
        assert {record.run.id for record in result.records} == {"the-run"}

    def test_every_engine_measures_every_layer(self, take: Take) -> None:
        workers = Workers()
        take(planned(engine=["eager", "torchscript"]), workers)
        parts = [None, "conv", "act:1"]
        assert workers.measured == [(engine, part) for engine in ("eager", "torchscript") for part in parts]

    def test_the_summary_distinguishes_layers(self, take: Take) -> None:
        summary = take(planned(), Workers()).summary()
        assert list(summary["cfg_part"])[1:] == ["conv", "act:1"]
        assert list(summary["layer"])[1:] == ["conv", "act"]
        assert list(summary["layer_count"])[1:] == [1, 3]


def extract(name: str, each: str = "train", **options: Any) -> list[DistinctLayer]:
    given = {"model": name, "mode": "layers", "mode.each": each, "batch_size": 2} | options
    (case,) = from_options(given, sweep=False)
    return layers_of(case.config)


class TestExtracting:
    def test_equal_layers_are_one_with_their_number(self) -> None:
        """ResNet-18, by hand: a first layer of three, then four stages of two blocks, and the classifier."""
        layers = extract("resnet18")
        counts = {(each.part, each.type): each.count for each in layers}
        assert counts[("conv1", "Conv2d")] == 1
        assert counts[("layer1.0.conv1", "Conv2d")] == 4
        assert counts[("layer2.0.conv1", "Conv2d")] == 1  # the one with a stride
        assert counts[("layer2.0.conv2", "Conv2d")] == 3
        assert counts[("layer2.0.downsample.0", "Conv2d")] == 1
        assert counts[("layer1.0.relu", "ReLU")] == 4
        assert sum(count for (_, kind), count in counts.items() if kind == "Conv2d") == 20
        assert sum(count for (_, kind), count in counts.items() if kind == "ReLU") == 17
        assert sum(each.count for each in layers) == 20 + 20 + 17 + 3  # the last: two pools, one linear layer

    def test_layers_are_in_the_order_in_which_they_are_called(self) -> None:
        layers = extract("alexnet")
        assert [each.index for each in layers] == sorted(each.index for each in layers)
        assert [each.part for each in layers[:3]] == ["features.0", "features.1", "features.2"]
        assert layers[0].arguments == "3, 64, kernel_size=(11, 11), stride=(4, 4), padding=(2, 2)"
        assert layers[0].in_shape == "(2, 3, 224, 224)"

    def test_layers_that_do_nothing_are_reported(self) -> None:
        found = {each.type: each.unmeasured for each in extract("alexnet", "infer")}
        assert found["Dropout"] == "it does nothing in inference"
        assert {reason for kind, reason in found.items() if kind != "Dropout"} == {None}
        assert {each.unmeasured for each in extract("alexnet", "train")} == {None}

    def test_a_layer_that_returns_nothing_may_still_compute(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Silent(nn.Linear):
            def forward(self, x: Tensor) -> None:
                super().forward(x).relu()

        class Watched(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.silent, self.last = Silent(4, 4), nn.Linear(4, 4)

            def forward(self, x: Tensor) -> Tensor:
                self.silent(x)
                return self.last(x)

        monkeypatch.setattr(nn, "Watched", Watched, raising=False)
        (case,) = planned(
            model="layer", **{"model.cls": "Watched", "model.input_shape": [[4]], "mode.each": "infer"}
        )
        found = {each.name: each.unmeasured for each in layers_of(case.config)}
        assert found == {"silent": None, "last": None}

    def test_a_layer_with_nothing_to_train_is_reported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Pooled(nn.Sequential):
            def __init__(self) -> None:
                super().__init__(nn.MaxPool1d(2), nn.Linear(2, 2), nn.ReLU())

        module = ModuleType("layers_of_mine")
        module.Pooled = Pooled  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "layers_of_mine", module)
        options: dict[str, Any] = {"model.cls": "layers_of_mine.Pooled", "model.input_shape": [4]}
        layers = extract("layer", **options)
        reason = "it has no parameters, and nothing before it in the model has"
        assert [(each.part, each.unmeasured) for each in layers] == [("0", reason), ("1", None), ("2", None)]

    def test_a_single_layer_is_its_own_only_layer(self) -> None:
        (layer,) = extract("lstm")
        assert (layer.part, layer.count, layer.type) == ("", 1, "LSTM")

    def test_a_model_that_fails_on_its_input_is_reported_in_one_line(self) -> None:
        (case,) = planned(**{"model.input_shape": [[3, 20, 20]]})
        outcome = run(Extract(case.config), lambda progress: None).value
        assert isinstance(outcome, Outcome)
        assert outcome.status is Status.ERROR
        assert outcome.error is not None
        where = "alexnet failed in features.5 (MaxPool2d) on input (8, 192, 1, 1): RuntimeError: "
        assert outcome.error.startswith(where)
        assert outcome.error.endswith("; check model.input_shape")

    def test_extraction_finds_the_same_every_time(self) -> None:
        first, second = extract("squeezenet1_1"), extract("squeezenet1_1")
        assert first == second
        assert msgspec.json.decode(msgspec.json.encode(first), type=list[DistinctLayer]) == first


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "each": ({"mode.each": "trian"}, r"Unknown mode\.each 'trian'\. Did you mean train"),
    "part": (
        {"model.part": "features.0"},
        "mode=layers measures every layer of the whole model; leave out model.part=",
    ),
    "other mode": ({"mode": "infer", "mode.each": "infer"}, "mode.each=infer is an option of mode=layers"),
    "search": ({"experiment.search": True}, "A search is for one workload, and mode=layers has many"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_reported_in_one_line(name: str) -> None:
    options, told = MISTAKES[name]
    with pytest.raises(UserError, match=told):
        planned(**options)
