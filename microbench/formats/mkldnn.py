"""oneDNN, and its blocked layout for a workload."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from microbench.errors import SkippedError
from microbench.formats.blocked import ANCHORS, Blocked, blocked
from microbench.formats.trial import is_convertible
from microbench.watch.tensors import tensors
from microbench.workloads import Workload

BATCH = 2  # of the example that a module is tried on: fewer than two items cannot be normalized


def is_usable() -> bool:
    """Return whether torch has oneDNN, and may use it."""
    onednn: Any = torch.backends.mkldnn
    return bool(onednn.is_available() and onednn.enabled)


def has(format_: str) -> bool:
    """Return whether oneDNN can compute in a 16-bit format, such as `bfloat16`, on this CPU."""
    short = {"bfloat16": "bf16", "float16": "fp16"}[format_]
    return bool(getattr(torch.ops.mkldnn, f"_is_mkldnn_{short}_supported")())


def apply(workload: Workload, cache_weights: bool, training: bool) -> tuple[Workload, int]:
    """Return a workload in the blocked layout, and the layout conversions per call.

    Inputs are blocked, and outputs stay so, except those that go to a loss.

    Raises:
        SkippedError: there is no oneDNN here, or torch cannot convert the workload to its layout.
    """
    check(workload, cache_weights, training)
    module = _module(workload, cache_weights and not training, training)
    laid = {id(tensor): _laid(tensor) for tensor in workload.inputs}
    inputs = tuple(laid[id(tensor)] for tensor in workload.inputs)
    objective = workload.objective if workload.objective.is_loss else Ones()
    return replace(workload, module=module, inputs=inputs, objective=objective), module.conversions


def _module(workload: Workload, packs: bool, training: bool) -> Blocked:
    """Return the module in the layout, tried on part of the batch if it accepts that."""

    def of(batch: int | None) -> Blocked:
        part = replace(workload, inputs=tuple(tensor[:batch] for tensor in workload.inputs))
        return blocked(part, training, packed if packs else lambda part: part, dense_output)

    workload.module.train(training)
    dense_output = training and workload.objective.is_loss
    try:
        return of(BATCH)
    except SkippedError:
        raise
    except Exception:
        return of(None)


def check(workload: Workload, cache_weights: bool, training: bool) -> None:
    """Raise a SkippedError if torch has no such layout for a workload."""
    if any(tensor.device.type != "cpu" for tensor in workload.inputs):
        raise SkippedError("layout=mkldnn is oneDNN's layout for the CPU: use device=cpu")
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        raise SkippedError("layout=mkldnn needs a torch built with oneDNN")
    if not is_usable():
        raise SkippedError("layout=mkldnn is oneDNN's, and device.mkldnn=false switches it off")
    if (training or not cache_weights) and any(
        each.dtype != torch.float32 for each in workload.module.parameters()
    ):
        when = "in training" if training else "with cache_weights=false"
        raise SkippedError(
            f"layout=mkldnn {when} supports precision=fp32 only: torch needs other weights packed"
        )


def packed(part: nn.Module) -> nn.Module:
    """Pack a part's weights as torch.utils.mkldnn does, which torch accepts in any precision.

    Those of convolutions and linear layers are converted to the layout; those of normalizations are fp32.
    """
    if isinstance(part, ANCHORS):
        bias = None if part.bias is None else part.bias.detach().to_mkldnn()
        return _with(part, {"weight": _packed_weight(part), "bias": bias})
    if isinstance(part, nn.modules.batchnorm._BatchNorm):
        return _with(part, {name: each.detach().float() for name, each in part.state_dict().items()})
    return part


def _with(part: nn.Module, weights: dict[str, Tensor | None]) -> nn.Module:
    """Copy a part with these weights, which are hidden from optimizers."""
    twin = copy.copy(part)
    twin._parameters, twin._buffers = {}, {**part._parameters, **part._buffers, **weights}
    return twin


def _packed_weight(part: nn.Module) -> Tensor:
    """Pack a weight by torch's own function; a linear layer's is only converted."""
    weight: Tensor = part.get_parameter("weight").detach().to_mkldnn()
    if not isinstance(part, (nn.Conv2d, nn.Conv3d)) or isinstance(part.padding, str):
        return weight
    functions: Any = torch._C._nn
    name = f"mkldnn_reorder_conv{weight.dim() - 2}d_weight"
    reordered: Tensor = getattr(functions, name)(
        weight, part.padding, part.stride, part.dilation, part.groups
    )
    return reordered


def _laid(tensor: Tensor) -> Tensor:
    if not is_convertible(tensor):
        return tensor
    return tensor.detach().to_mkldnn().requires_grad_(tensor.requires_grad)


class Ones:
    """The gradients where a layer's backward pass starts: ones for each output, in its layout."""

    is_loss = False

    def __init__(self) -> None:
        self._ones: dict[bool, list[Tensor]] = {}

    def __call__(self, output: Any) -> Any:
        """Return the output itself."""
        return output

    def backward(self, root: Any) -> None:
        """Backpropagate ones, which are created at the first call with outputs in a layout, and reused."""
        outputs = [each for each in tensors(root) if each.requires_grad]
        is_blocked = any(each.is_mkldnn for each in outputs)
        if is_blocked not in self._ones:
            self._ones[is_blocked] = [_ones_like(each) for each in outputs]
        torch.autograd.backward(outputs, self._ones[is_blocked])


def _ones_like(tensor: Tensor) -> Tensor:
    ones = torch.ones(tensor.shape, dtype=tensor.dtype)
    return ones.to_mkldnn() if tensor.is_mkldnn else ones
