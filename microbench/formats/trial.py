"""Trials of a graph's node: does it compute the same on blocked tensors as on dense ones?"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.fx.node import map_arg

from microbench.watch.tensors import tensors

TYPES = (torch.float32, torch.bfloat16, torch.float16)
DIMENSIONS = range(1, 6)


def is_convertible(value: Any) -> bool:
    """Return whether a value is a tensor that torch can convert to the blocked layout."""
    return isinstance(value, Tensor) and value.dtype in TYPES and value.dim() in DIMENSIONS


def dense(value: Any) -> Any:
    """Return an output with its tensors dense, however nested in tuples, lists and dictionaries."""
    if not any(tensor.is_mkldnn for tensor in tensors(value)):
        return value
    if isinstance(value, Tensor):
        return value.to_dense()
    if isinstance(value, Mapping):
        return {name: dense(item) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [dense(item) for item in value]
    return value


@dataclass(frozen=True)
class NodeRun:
    """The result of a node on copies of its inputs.

    Attributes:
        output: its output.
        changed: the inputs that it changed in place, with their copies.
        gradients: of its inputs and its part's parameters; none in inference.
    """

    output: Any
    changed: Mapping[Node, Tensor]
    gradients: Sequence[Tensor | None]

    @property
    def is_blocked(self) -> bool:
        """Whether there is a blocked tensor in the output."""
        return any(tensor.is_mkldnn for tensor in tensors(self.output))

    def agrees(self, other: NodeRun) -> bool:
        """Return whether another run has the same result."""
        mine, others = list(tensors(self.output)), list(tensors(other.output))
        if not mine and not others:
            return bool(self.output == other.output)
        return _are_close(mine, others) and _are_close(self.gradients, other.gradients)


def attempt(
    node: Node, part: nn.Module | None, examples: Mapping[Node, Any], training: bool, blocked: bool = False
) -> NodeRun:
    """Run a node on copies of its inputs' examples, dense or blocked; its part keeps its buffers.

    Raises:
        Exception: whatever torch raises if it cannot.
    """
    if part is not None and training:
        part = copy.deepcopy(part, {id(parameter): parameter for parameter in part.parameters()})
    copies = {
        each: value.detach().clone().requires_grad_(training and value.is_floating_point())
        for each, value in ((each, examples[each]) for each in node.all_input_nodes)
        if isinstance(value, Tensor) and each.op != "get_attr"
    }
    torch.manual_seed(0)
    with torch.enable_grad() if training else torch.inference_mode() if blocked else torch.no_grad():
        given = {
            each: value.to_mkldnn() if blocked and is_convertible(value) else value.clone()
            for each, value in copies.items()
        }
        output = call(node, part, {**examples, **given})
        changed = {} if blocked else {each: value for each, value in given.items() if value._version}
        learning = [*copies.values(), *(part.parameters() if part is not None else ())]
        return NodeRun(output, changed, _gradients(output, learning) if training else ())


def call(node: Node, part: nn.Module | None, values: Mapping[Node, Any]) -> Any:
    """Make a node's call with the given values of its inputs."""
    args = map_arg(node.args, values.__getitem__)
    kwargs = map_arg(node.kwargs, values.__getitem__)
    if part is not None:
        return part(*args, **kwargs)
    if callable(node.target):
        return node.target(*args, **kwargs)
    return getattr(args[0], node.target)(*args[1:], **kwargs)


def _gradients(output: Any, learning: Iterable[Tensor]) -> list[Tensor | None]:
    """Return the gradients of a weighted sum of the outputs."""
    roots = [dense(each) for each in tensors(output) if each.requires_grad]
    leaves = [each for each in learning if each.requires_grad]
    if not roots or not leaves:
        return []
    weights = [torch.arange(root.numel()).sin().reshape(root.shape).to(root.dtype) for root in roots]
    return list(torch.autograd.grad(roots, leaves, weights, allow_unused=True))


def _are_close(found: Sequence[Tensor | None], wanted: Sequence[Tensor | None]) -> bool:
    return len(found) == len(wanted) and all(map(_is_close, found, wanted))


def _is_close(found: Tensor | None, wanted: Tensor | None) -> bool:
    """Return whether tensors agree in half their digits, relative to the largest value."""
    if found is None or wanted is None:
        return found is wanted
    found = dense(found)
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return False
    if not wanted.is_floating_point() or not wanted.numel():
        return torch.equal(found, wanted)
    allowed = torch.finfo(wanted.dtype).eps ** 0.5 * wanted.detach().abs().max().item()
    return torch.allclose(found, wanted, rtol=0, atol=allowed, equal_nan=True)
