"""What cases are called: by what tells them apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from microbench.records.cases import CaseResult, cases_of
from microbench.records.naming import flat, labels, varying
from microbench.records.record import RoundRecord

MakeRecord = Callable[..., RoundRecord]


def named(record: MakeRecord, *settings: dict[str, Any]) -> list[CaseResult]:
    """Cases with these settings: a model's by dotted key, or axes."""
    records = []
    for order, each in enumerate(settings):
        axes = {"model": "vgg16", "mode": "infer", "batch_size": 8, "threads": 4} | {
            key: value for key, value in each.items() if "." not in key
        }
        model = {key.removeprefix("model."): value for key, value in each.items() if "." in key}
        config = {**axes, "model": {"name": axes["model"], "input_shape": [3, 224, 224], **model}}
        config |= {"mode": {"name": axes["mode"]}, "measure": {"rounds": 1}}
        flat_axes = {f"cfg_{axis}": value for axis, value in axes.items()}
        records.append(record("inference", 1.0, order=order, config=config, **flat_axes))
    return cases_of(records)


def test_a_case_is_called_by_its_model_and_mode_and_by_what_varies(record: MakeRecord) -> None:
    cases = named(record, {"batch_size": 1}, {"batch_size": 8}, {"mode": "train"})
    assert labels(cases) == [
        "vgg16 infer, batch_size=1",
        "vgg16 infer, batch_size=8",
        "vgg16 train, batch_size=8",
    ]


def test_a_part_of_a_model_is_named_beside_it(record: MakeRecord) -> None:
    cases = named(record, {"part": None}, {"part": "conv1"}, {"part": "conv1", "batch_size": 1})
    assert labels(cases) == [
        "vgg16 infer, batch_size=8",
        "vgg16 conv1 infer, batch_size=8",
        "vgg16 conv1 infer, batch_size=1",
    ]


def test_a_part_is_told_once_where_cases_are_alike(record: MakeRecord) -> None:
    parts = [{"part": part, "model.part": part} for part in ("conv1", "conv1", "bn1")]
    assert varying(named(record, *parts)) == {"part": ["conv1", "conv1", "bn1"]}


def test_cases_from_before_there_were_parts_are_named_beside_those_of_now(record: MakeRecord) -> None:
    assert labels(named(record, {}, {"part": None})) == ["vgg16 infer", "vgg16 infer"]
    assert varying(named(record, {"part": "conv1"}, {})) == {"part": ["conv1", "None"]}


def test_a_case_alone_is_called_by_its_model_and_mode(record: MakeRecord) -> None:
    assert labels(named(record, {"threads": 2})) == ["vgg16 infer"]


def test_cases_are_called_by_the_settings_that_are_to_tell_them(record: MakeRecord) -> None:
    cases = named(record, {"batch_size": 1}, {"batch_size": 8})
    assert labels(cases, {"seed": ["5", "6"]}) == ["vgg16 infer, seed=5", "vgg16 infer, seed=6"]


def test_axes_vary_whatever_the_models_are(record: MakeRecord) -> None:
    cases = named(record, {"model": "a", "threads": 1}, {"model": "b", "threads": 2})
    assert varying(cases) == {"threads": ["1", "2"]}


def test_a_setting_that_is_no_axis_tells_cases_apart_that_are_alike_else(record: MakeRecord) -> None:
    cases = named(record, *({"model.input_shape": [3, size, size]} for size in (32, 64)))
    assert varying(cases) == {"model.input_shape": ["[3, 32, 32]", "[3, 64, 64]"]}


def test_what_differs_between_models_only_is_not_what_varies(record: MakeRecord) -> None:
    cases = named(record, {}, {"model": "inception_v3", "model.input_shape": [3, 299, 299]})
    assert varying(cases) == {}
    assert labels(cases) == ["vgg16 infer", "inception_v3 infer"]


def test_a_setting_that_some_cases_do_not_have_is_empty_there(record: MakeRecord) -> None:
    cases = named(record, {"model.kwargs": {}}, {"model.kwargs": {"bias": False}})
    assert varying(cases) == {"model.kwargs.bias": ["", "False"]}


def test_a_configuration_is_flat_by_dotted_key() -> None:
    config = {"a": 1, "b": {"c": [1, 2], "d": {"e": None}}, "f": {}}
    assert flat(config) == {"a": "1", "b.c": "[1, 2]", "b.d.e": "None"}
