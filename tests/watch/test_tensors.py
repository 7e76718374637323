"""The search for the tensors in an output."""

from __future__ import annotations

from collections import OrderedDict, UserDict, deque
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from microbench.watch.tensors import tensors

A, B, C = torch.zeros(1), torch.zeros(2), torch.zeros(3)


class Box:
    def __init__(self, *values: Any) -> None:
        self.values = values


class Slotted:
    __slots__ = ("__private", "absent", "value")

    def __init__(self, value: Any, private: Any) -> None:
        self.value, self.__private = value, private


@dataclass
class Fields:
    one: Any
    two: Any


class Named(NamedTuple):
    one: Any
    two: Any


class Output(OrderedDict[str, Any]):
    """A mapping whose items are attributes too, like transformers' outputs."""

    def __init__(self, **items: Any) -> None:
        super().__init__(items)
        self.__dict__.update(items)


def of(*values: Any) -> list[int]:
    return [each.numel() for each in tensors(values[0] if len(values) == 1 else values)]


@pytest.mark.parametrize(
    "output",
    [
        (A, [B, {"x": C}]),
        Box(A, [B], Box(C)),
        Fields(A, Box(B, C)),
        Named(A, (B, C)),
        Output(x=A, y=Box(B, C)),
        UserDict(x=A, y=B, z=C),
        deque((A, B, C)),
        (A, None, 1, "text", [B], torch.float32, C),
    ],
    ids=lambda output: type(output).__name__,
)
def test_containers_and_attributes_are_searched_in_order(output: Any) -> None:
    assert of(output) == [1, 2, 3]


def test_slots_are_searched_including_private_and_empty_ones() -> None:
    assert sorted(of(Slotted(A, B))) == [1, 2]


def test_attributes_of_a_mapping_besides_its_items_are_searched() -> None:
    output = Output(x=A)
    output.__dict__["hidden"] = B
    assert of(output) == [1, 2]


def test_a_tensor_that_comes_twice_is_found_twice() -> None:
    pair = (A, B)
    assert of(pair, pair, A) == [1, 2, 1, 2, 1]


def test_an_object_that_comes_twice_is_searched_once() -> None:
    box = Box(A)
    assert of(box, box) == [1]


def test_a_search_of_cyclic_values_ends() -> None:
    box, items = Box(A), [B]
    box.itself, items[1:] = box, [items, box]  # type: ignore[attr-defined, list-item]
    assert of(items) == [2, 1]


def test_a_search_of_endlessly_nested_values_ends() -> None:
    chain: Any = A
    for _ in range(5000):
        chain = Box(chain)
    assert of(chain, B) == [2]


def test_modules_classes_and_functions_are_not_searched() -> None:
    def function() -> Tensor:
        return A

    function.held = A  # type: ignore[attr-defined]
    assert of(Box(nn.Linear(2, 2)), Box, function, torch) == []
