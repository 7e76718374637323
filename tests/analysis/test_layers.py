"""Models and their layers: which cases belong together, and what their times add up to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from factory import with_layer
from msgspec import structs

from microbench.analysis.layers import LeftOut, ModelLayers, Total, is_layer, layers_report
from microbench.analysis.pairing import within
from microbench.records.cases import CaseResult, cases_of
from microbench.records.record import DistinctLayer, RoundRecord, Status

Timed = Callable[..., list[RoundRecord]]
Times = Sequence[float | None] | Mapping[str, Sequence[float | None]]


def layer(part: str, index: int, count: int) -> DistinctLayer:
    return DistinctLayer(part, part, index, "Conv2d", "3, 8", "(1, 3, 8, 8)", count)


def train(forward: float, backward: float) -> Mapping[str, Sequence[float]]:
    return {"forward": [forward], "backward": [backward], "total": [2 * (forward + backward)]}


def model_of(
    timed: Timed, whole: Times | None, layers: Mapping[DistinctLayer, Times], order: int = 0, **settings: Any
) -> list[RoundRecord]:
    """Return the records of a model and its layers, as a run has them."""
    found: list[RoundRecord] = []
    settings = {"mode": "train"} | settings
    if whole is not None:
        found += timed(whole, order=order, **settings)
    for number, (each, times) in enumerate(layers.items(), 1):
        records = timed(times, order=order + number, **{"model__part": each.part} | settings)
        found += with_layer(records, each)
    return found


def split(records: Sequence[RoundRecord]) -> tuple[list[ModelLayers], list[CaseResult]]:
    report, rest = layers_report(cases_of(records))
    return list(report.models) if report is not None else [], rest


def only(records: Sequence[RoundRecord]) -> ModelLayers:
    (found,), rest = split(records)
    assert rest == []
    return found


def wholes(found: ModelLayers) -> list[float | None]:
    return [each.whole for each in found.totals]


def sums(found: ModelLayers) -> list[float | None]:
    return [each.layers for each in found.totals]


CONV, RELU = layer("conv", 0, 3), layer("relu", 1, 10)


class TestOneConfiguration:
    def test_each_layer_counts_as_often_as_it_is_called(self, timed: Timed) -> None:
        found = only(model_of(timed, train(0.1, 0.2), {CONV: train(0.02, 0.04), RELU: train(0.001, 0.002)}))
        forward, backward = 3 * 0.02 + 10 * 0.001, 3 * 0.04 + 10 * 0.002
        assert sums(found) == pytest.approx([forward, backward, forward + backward])
        assert wholes(found) == pytest.approx([0.1, 0.2, 0.3])
        assert [each.ratio for each in found.totals] == pytest.approx([0.7, 0.7, 0.7])
        (conv,) = found.rows[0].times
        assert [each.median for each in conv.phases] == [0.02, 0.04]
        assert (conv.seconds, conv.share) == (pytest.approx(0.18), pytest.approx(0.6))

    def test_inference_is_compared_with_inference(self, timed: Timed) -> None:
        found = only(model_of(timed, [0.1, 0.3], {CONV: [0.01, 0.03]}, mode="infer"))
        assert found.phases == ("inference",)
        assert (sums(found)[-1], wholes(found)[-1]) == (pytest.approx(3 * 0.02), pytest.approx(0.2))

    def test_the_phases_compared_are_those_in_the_records(self, timed: Timed) -> None:
        records = model_of(timed, train(0.1, 0.2), {CONV: train(0.02, 0.04)})
        of_backward = [
            structs.replace(
                each,
                series=[structs.replace(one, of_layers=one.phase == "backward") for one in each.series],
            )
            for each in records
        ]
        found = only(of_backward)
        assert (found.phases, wholes(found)) == (("backward",), pytest.approx([0.2, 0.2]))

    def test_nothing_is_compared_if_nothing_was_measured(self, timed: Timed) -> None:
        found = only(model_of(timed, [None], {CONV: [None]}))
        assert (found.phases, found.totals) == ((), [Total(None, None, None)])

    def test_the_layer_with_the_most_time_comes_first(self, timed: Timed) -> None:
        found = only(model_of(timed, train(1, 1), {CONV: train(0.02, 0.04), RELU: train(0.1, 0.2)}))
        assert [row.layer.name for row in found.rows] == ["relu", "conv"]
        assert [row.layer.count for row in found.rows] == [10, 3]

    def test_a_layer_without_a_time_has_no_row(self, timed: Timed) -> None:
        found = only(model_of(timed, train(1, 1), {CONV: [None], RELU: train(0.1, 0.2)}))
        assert [row.layer.name for row in found.rows] == ["relu"]
        assert (found.missing, found.left_out) == ([0], [])

    def test_layers_have_their_times_without_one_of_the_model(self, timed: Timed) -> None:
        failed = only(model_of(timed, [None], {CONV: train(0.02, 0.04)}))
        assert failed.totals[-1] == Total(pytest.approx(0.18), None, None)
        assert failed.rows[0].times[0].share is None
        not_yet = only(model_of(timed, None, {CONV: train(0.02, 0.04)}))
        assert wholes(not_yet) == [None] * 3


class TestCasesBeside:
    """`-m mode=train,layers` measures the model twice: alone, and with its layers."""

    @pytest.mark.parametrize("own", [0, 20], ids=["before", "behind"])
    def test_the_models_other_case_is_left_for_other_tables(self, timed: Timed, own: int) -> None:
        beside = model_of(timed, train(0.1, 0.2), {CONV: train(0.02, 0.04)}, order=1)
        (found,), (rest,) = split([*beside, *timed(train(7, 8), order=own, mode="train")])
        assert wholes(found)[-1] == pytest.approx(0.3)
        assert rest.spec.order == own

    def test_everything_that_was_measured_is_in_a_table(self, timed: Timed) -> None:
        part = timed(train(7, 8), order=9, mode="train", model__part="conv")
        beside = model_of(timed, train(0.1, 0.2), {CONV: train(0.02, 0.04)})
        (found,), (rest,) = split([*beside, *part])
        assert rest.spec.order == 9
        assert {case.spec.order for case in found.cases} == {record.case.order for record in beside}


class TestSeveralConfigurations:
    def made(self, timed: Timed) -> ModelLayers:
        eager = model_of(timed, train(1, 1), {CONV: train(0.02, 0.04), RELU: train(0.1, 0.2)})
        other = model_of(timed, train(2, 1), {CONV: train(0.01, 0.04), RELU: [None]}, 10, engine="compile")
        return only([*eager, *other])

    def test_each_engine_has_its_times(self, timed: Timed) -> None:
        found = self.made(timed)
        assert found.configurations == ["eager", "compile"]
        assert wholes(found) == pytest.approx([2, 3])
        assert [row.layer.name for row in found.rows] == ["relu", "conv"]

    def test_the_fastest_of_a_layer_is_found_if_there_is_a_choice(self, timed: Timed) -> None:
        relu, conv = self.made(timed).rows
        assert (conv.fastest, relu.fastest) == (1, None)

    def test_layers_that_one_configuration_lacks_are_counted(self, timed: Timed) -> None:
        found = self.made(timed)
        assert found.missing == [0, 1]
        assert sums(found)[1] == pytest.approx(3 * 0.05)
        assert (found.rows[0].times[1].status, found.rows[0].times[1].seconds) == ("error", None)

    def test_configurations_that_differ_in_more_than_one_option_name_them(self, timed: Timed) -> None:
        one = model_of(timed, train(1, 1), {CONV: train(0.02, 0.04)})
        other = model_of(timed, train(2, 1), {CONV: train(1, 2)}, 10, engine="compile", threads=1)
        assert only([*one, *other]).configurations == ["engine=eager, threads=2", "engine=compile, threads=1"]

    def test_different_work_has_its_own_table(self, timed: Timed) -> None:
        small = model_of(timed, train(1, 1), {CONV: train(0.02, 0.04)}, batch_size=1)
        large = model_of(timed, train(2, 2), {CONV: train(0.2, 0.4)}, 10, batch_size=8)
        inferred = model_of(timed, [1.0], {CONV: [0.1]}, 20, mode="infer", batch_size=8)
        found, rest = split([*small, *large, *inferred])
        assert [each.name for each in found] == [
            "dense train, batch_size=1",
            "dense train, batch_size=8",
            "dense infer, batch_size=8",
        ]
        assert [wholes(each)[-1] for each in found] == [2, 4, 1]
        assert rest == []


class TestOtherCases:
    def test_other_cases_are_left(self, timed: Timed) -> None:
        apart = model_of(timed, train(1, 1), {CONV: train(0.02, 0.04)})
        other = timed([0.5], order=10, model__name="other")
        found, rest = split([*apart, *other])
        assert len(found) == 1
        assert [case.config.model.name for case in rest] == ["other"]

    def test_a_part_that_was_requested_alone_is_no_layer_of_a_table(self, timed: Timed) -> None:
        cases = cases_of(timed([0.5], model__part="conv"))
        assert layers_report(cases) == (None, cases)
        assert not is_layer(cases[0])

    def test_a_skipped_layer_is_left_out_and_is_no_failure(self, timed: Timed) -> None:
        skipped = timed([None], 5, error=(Status.SKIPPED, "no"), mode="train", model__part="conv")
        made = model_of(timed, train(1, 1), {RELU: train(0.1, 0.2)})
        report, rest = layers_report(cases_of([*made, *with_layer(skipped, CONV)]))
        assert report is not None
        assert report.models[0].left_out == [
            LeftOut("Conv2d", "no", 3, tuple(cases_of(with_layer(skipped, CONV))))
        ]
        assert (rest, report.failures) == ([], [])


def test_layers_are_compared_by_engine_each_by_its_name(timed: Timed) -> None:
    eager = model_of(timed, [1.0, 1.0], {CONV: [0.1, 0.1]}, mode="infer")
    other = model_of(timed, [0.5, 0.5], {CONV: [0.2, 0.2]}, 10, mode="infer", engine="compile")
    pairing = within(cases_of([*eager, *other]), "engine")
    assert [pair.name for pair in pairing.pairs] == ["dense infer", "dense conv infer"]
