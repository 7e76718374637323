"""Mistakes with module objects: each is told in one line, before anything is started."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from microbench.errors import UserError
from microbench.options.catalog import ConfigStore
from microbench.options.given import cases_of
from microbench.run.case import Case

X = torch.ones(3, 4)
LINEAR = nn.Linear(4, 2)


def cases(model: Any, inputs: Any = X, sweep: bool = False, **options: Any) -> list[Case]:
    with cases_of({"model": model, "mode": "infer", **options}, inputs, sweep) as found:
        return found


def compiled_in_place() -> nn.Module:
    module = nn.Sequential(nn.Linear(4, 2))
    module[0].compile()
    return module


@pytest.mark.parametrize(
    ("take", "told"),
    [
        (lambda: cases(nn.Linear), "model must be a torch.nn.Module, not the class Linear."),
        (lambda: cases(LINEAR.forward), "model must be a torch.nn.Module, not a method."),
        (lambda: cases(["dense", LINEAR], sweep=True), "model must be a torch.nn.Module, not a str."),
        (lambda: cases([LINEAR]), "model must be a torch.nn.Module, not a list."),
        (lambda: cases(LINEAR, None), "A module object needs its inputs: give inputs=TENSOR"),
        (lambda: cases(LINEAR, ()), "inputs= holds no tensor"),
        (lambda: cases(LINEAR, batch_size=8), "batch_size=8 is not possible: the inputs hold 3"),
        (lambda: cases(LINEAR, objective="msee"), "Unknown objective 'msee'. Did you mean mse?"),
        (lambda: cases(LINEAR, **{"model.input_shape": [4]}), "model.input_shape is not for a module object"),
        (lambda: cases(LINEAR, **{"model.prat": "x"}), "model.prat is not for a module object"),
        (lambda: cases(LINEAR, engine="eagre"), "Unknown engine 'eagre'. Did you mean eager?"),
        (lambda: cases("dense"), "inputs= is for a module object; a named model draws its own."),
        (
            lambda: cases("dense", None, objective=torch.sum),
            "A function as objective= is for a module object",
        ),
        (lambda: cases(torch.compile(LINEAR)), "The module is compiled: give it without compiling it"),
        (lambda: cases(compiled_in_place()), "The module is compiled: give it without compiling it"),
        (lambda: cases(nn.LazyLinear(2)), "The module is lazy"),
        (lambda: cases([LINEAR, nn.Linear(4, 2)], sweep=True), "Two of the modules are a Linear of the same"),
    ],
)
def test_a_mistake_is_told_in_one_line(take: Callable[[], object], told: str) -> None:
    with pytest.raises(UserError) as caught:
        take()
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)


def test_an_object_and_its_inputs_decide_name_and_batch() -> None:
    (case,) = cases(LINEAR)
    model = case.config.model
    assert (model.name, model.source, model.input_shape, case.config.batch_size) == (
        "Linear",
        "given",
        [4],
        3,
    )
    assert cases(LINEAR)[0].id == case.id != cases(nn.Linear(4, 3))[0].id


def test_a_name_is_a_title_and_no_part_of_the_work() -> None:
    (case,) = cases(LINEAR, **{"model.name": "mine"})
    assert case.config.model.name == "mine"
    assert case.id == cases(LINEAR)[0].id


def test_the_order_of_modules_is_no_part_of_what_they_are() -> None:
    small, large = LINEAR, nn.Linear(4, 3)
    first, second = cases([small, large], sweep=True)
    assert [case.config.model.name for case in (first, second)] == ["Linear", "Linear_2"]
    assert [case.id for case in cases([large, small], sweep=True)] == [second.id, first.id]
    assert second.id == cases(large)[0].id != first.id


def test_a_search_s_objective_is_not_that_of_training() -> None:
    found = cases(LINEAR, sweep=True, experiment="fastest", objective="memory")
    assert {case.config.objective for case in found} == {"memory"}


def test_objects_are_sent_once_and_their_files_last_as_long_as_their_cases() -> None:
    options = {"model": LINEAR, "mode": ["infer", "train"], "isolation": ["fork", "inline"]}
    with cases_of(options, X, sweep=True) as found:
        files = {getattr(case.given, "path", None) for case in found}
        (path,) = files - {None}
        assert path.exists()
        assert sum(case.given.__class__.__name__ == "Given" for case in found) == 2
    assert not path.exists()


def test_names_given_for_a_call_are_forgotten() -> None:
    cases(LINEAR)
    assert not [name for name in ConfigStore.instance().repo.get("model", {}) if name.startswith("given")]
