"""A model's distinct layers, each with the number of its calls."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from microbench.config import Config
from microbench.records.record import DistinctLayer
from microbench.watch.modules import type_name
from microbench.workloads.parts import arranged, recorded, undrawn, untrainable
from microbench.workloads.parts.signatures import CallSignature, TensorSpec

PLAIN = (type(None), bool, int, float, complex, str, torch.dtype)


def layers_of(config: Config) -> list[DistinctLayer]:
    """Return the distinct layers that a case's model calls, in the order of their first calls.

    A layer is a module that calls no other. Two layers are alike if they have the same type, arguments,
    shapes of parameters, and inputs: shapes, strides, types, and whether they require a gradient.

    Raises:
        UserError: the configuration describes no workload.
        Exception: what the model raises on its input.
    """
    training = config.mode.each == "train"
    whole, weights = undrawn(config.model, config.batch_size, training)
    leaves = [use for use in recorded(whole, weights, training) if use.is_leaf]
    groups: dict[str, list[tuple[int, CallSignature]]] = {}
    for index, use in enumerate(leaves):
        groups.setdefault(_identity(use), []).append((index, use))
    return [_layer(*group[0], len(group), training) for group in groups.values()]


def _layer(index: int, use: CallSignature, count: int, training: bool) -> DistinctLayer:
    return DistinctLayer(
        part=use.part,
        name=use.name,
        index=index,
        type=type_name(use.module),
        arguments=arguments(use.module),
        in_shape=", ".join(str(form.shape) for form in arranged(use)[1]),
        count=count,
        unmeasured=_unmeasured(use, training),
    )


def _unmeasured(use: CallSignature, training: bool) -> str | None:
    """Return why a layer is not measured; None if it is."""
    if use.does_nothing:
        return f"it does nothing in {'training' if training else 'inference'}"
    if not use.forms:
        return "it takes no tensor"
    return untrainable(use) if training else None


def _identity(use: CallSignature) -> str:
    """Return a text that is the same for layers that are alike."""
    module = use.module
    own = [*module.named_parameters(), *module.named_buffers()]
    state = [(name, tuple(each.shape), str(each.dtype), each.requires_grad) for name, each in own]
    given = tree_map(_plain, (use.args, dict(use.kwargs)))
    shared = [id(form) for form in arranged(use)[1]]
    pattern = [shared.index(each) for each in shared]
    kind = type(module)
    return repr(
        (kind.__module__, kind.__qualname__, arguments(module), _settings(module), state, given, pattern)
    )


def _plain(value: Any) -> Any:
    """Return an argument in a form that identifies it, the same in every process."""
    return value if isinstance(value, (TensorSpec, *PLAIN)) else type(value).__qualname__


def _settings(module: nn.Module) -> dict[str, Any]:
    """Return the public attributes of a module that are plain values, or sequences of them."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and name != "training" and _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    return isinstance(value, PLAIN) or (isinstance(value, (tuple, list)) and all(map(_is_plain, value)))


def arguments(module: nn.Module) -> str:
    """Return a module's arguments as its repr shows them; if it shows none, its plain attributes."""
    said = module.extra_repr() or ", ".join(f"{name}={value!r}" for name, value in _settings(module).items())
    return " ".join(said.split())
