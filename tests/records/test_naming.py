"""Labels of cases, from what distinguishes them."""

from __future__ import annotations

from typing import Any

from factory import configured, record_of

from microbench.records.cases import CaseResult, cases_of
from microbench.records.naming import flat, labels, varying


def named(*settings: dict[str, Any]) -> list[CaseResult]:
    """Cases with these settings, as `configured` takes them."""
    usual = {"model__name": "vgg16", "batch_size": 8, "threads": 4}
    configs = [configured(**usual | each) for each in settings]
    return cases_of([record_of({"inference": 1.0}, each, order=order) for order, each in enumerate(configs)])


def test_a_case_is_called_by_its_model_and_mode_and_by_what_varies() -> None:
    cases = named({"batch_size": 1}, {"batch_size": 8}, {"mode": "train"})
    assert labels(cases) == [
        "vgg16 infer, batch_size=1",
        "vgg16 infer, batch_size=8",
        "vgg16 train, batch_size=8",
    ]


def test_a_part_of_a_model_is_named_next_to_it() -> None:
    cases = named({"model__part": None}, {"model__part": "conv1"}, {"model__part": "conv1", "batch_size": 1})
    assert labels(cases) == [
        "vgg16 infer, batch_size=8",
        "vgg16 conv1 infer, batch_size=8",
        "vgg16 conv1 infer, batch_size=1",
    ]


def test_a_part_is_reported_once_where_cases_are_alike() -> None:
    parts = [{"model__part": part} for part in ("conv1", "conv1", "bn1")]
    assert varying(named(*parts)) == {"part": ["conv1", "conv1", "bn1"]}


def test_a_case_alone_is_called_by_its_model_and_mode() -> None:
    assert labels(named({"threads": 2})) == ["vgg16 infer"]


def test_cases_are_called_by_the_settings_that_are_to_tell_them() -> None:
    cases = named({"batch_size": 1}, {"batch_size": 8})
    assert labels(cases, {"seed": ["5", "6"]}) == ["vgg16 infer, seed=5", "vgg16 infer, seed=6"]


def test_axes_vary_whatever_the_models_are() -> None:
    cases = named({"model__name": "a", "threads": 1}, {"model__name": "b", "threads": 2})
    assert varying(cases) == {"threads": ["1", "2"]}


def test_a_setting_that_is_no_axis_tells_cases_apart_that_are_alike_else() -> None:
    cases = named(*({"model__input_shape": [3, size, size]} for size in (32, 64)))
    assert varying(cases) == {"model.input_shape": ["[3, 32, 32]", "[3, 64, 64]"]}


def test_what_differs_between_models_only_is_not_what_varies() -> None:
    cases = named({}, {"model__name": "inception_v3", "model__input_shape": [3, 299, 299]})
    assert varying(cases) == {}
    assert labels(cases) == ["vgg16 infer", "inception_v3 infer"]
    assert varying(named({}, {"model__name": "transformers/gpt2", "model__seq_len": 128})) == {}


def test_the_length_of_a_sequence_varies_where_a_model_has_several() -> None:
    cases = named(*({"model__name": "transformers/gpt2", "model__seq_len": each} for each in (64, 128)))
    assert varying(cases) == {"model.seq_len": ["64", "128"]}


def test_a_setting_that_some_cases_do_not_have_is_empty_there() -> None:
    cases = named({"model__kwargs": {}}, {"model__kwargs": {"bias": False}})
    assert varying(cases) == {"model.kwargs.bias": ["", "False"]}


def test_a_configuration_is_flat_by_dotted_key() -> None:
    config = {"a": 1, "b": {"c": [1, 2], "d": {"e": None}}, "f": {}}
    assert flat(config) == {"a": "1", "b.c": "[1, 2]", "b.d.e": "None"}
