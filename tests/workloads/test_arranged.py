"""Any arguments become a flat list of tensors, and the module's call stays the same."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from microbench.workloads.arranged import arranged, unarranged

Pair = namedtuple("Pair", "first second")


@dataclass
class Batch:
    values: Tensor
    scale: float
    more: dict[str, Tensor]


class Seen(nn.Module):
    """Returns its arguments."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return args, kwargs


A, B = torch.ones(2), torch.zeros(3)
CALLS: list[tuple[tuple[Any, ...], dict[str, Any], list[Tensor]]] = [
    ((A, B), {}, [A, B]),
    ((A, 3, None), {"flag": True}, [A]),
    (([A, B], "text"), {}, [A, B]),
    ((), {"ids": A, "mask": B, "use_cache": False}, [A, B]),
    ((A, {"boxes": [B, {"deeper": A}]}), {}, [A, B, A]),
    ((Pair(A, OrderedDict(x=B)),), {}, [A, B]),
    ((1, A), {}, [A]),
    ((), {}, []),
]


@pytest.mark.parametrize(("args", "kwargs", "wanted"), CALLS)
def test_a_module_takes_only_tensors_and_is_called_with_all_arguments(
    args: tuple[Any, ...], kwargs: dict[str, Any], wanted: list[Tensor]
) -> None:
    module, inputs = arranged(Seen(), args, kwargs)
    assert [id(each) for each in inputs] == [id(each) for each in wanted]
    assert repr(module(*inputs)) == repr((args, kwargs))
    inner, given, named = unarranged(module, inputs)
    assert isinstance(inner, Seen)
    assert repr((given, named)) == repr((args, kwargs))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("args", [([A],), (A, 3)])
def test_its_mode_is_the_module_s(args: tuple[Any, ...], training: bool) -> None:
    """An engine wraps it again, in the mode that it finds."""
    module, _ = arranged(Seen().train(training), args, {})
    assert module.training is training


def test_tensors_in_dataclasses_are_inputs_too() -> None:
    batch = Batch(A, 0.5, {"x": B})
    module, inputs = arranged(Seen(), (batch,), {})
    assert [id(each) for each in inputs] == [id(A), id(B)]
    (again,), _ = module(B, A)
    assert isinstance(again, Batch)
    assert (again.values is B, again.scale, again.more["x"] is A) == (True, 0.5, True)


def test_a_module_that_takes_only_tensors_stays_itself() -> None:
    seen = Seen()
    assert arranged(seen, (A, B), {})[0] is seen
