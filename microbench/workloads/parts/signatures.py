"""The inputs that a model calls each of its modules with: the tensors' specs, not their values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves, tree_map

from microbench.watch.copy import state_restored
from microbench.watch.modules import Names, calling, locating
from microbench.watch.tensors import faked, shapes, tensors
from microbench.workloads.arranged import unarranged
from microbench.workloads.workload import Workload


@dataclass(frozen=True, eq=False)
class TensorSpec:
    """A tensor's spec. The same tensor, passed twice, has one spec.

    Attributes:
        shape: its sizes.
        stride: its strides, in elements.
        dtype: the type of its elements.
        requires_grad: whether it requires a gradient.
        value: the tensor, if it is one of the model's own inputs, or known and not of floating-point numbers.
    """

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    requires_grad: bool
    value: Tensor | None = None

    @property
    def is_known(self) -> bool:
        """Whether `draw` returns an equivalent input: any numbers are, but only the model's own indices."""
        return self.value is not None or self.dtype.is_floating_point or self.dtype.is_complex

    def draw(self) -> Tensor:
        """Return a tensor of this spec: its value if known, otherwise standard normal (indices: zeros)."""
        if self.value is not None:
            return self.value.detach().requires_grad_(self.requires_grad)
        length = 1 + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        if 0 in self.shape:
            length = 0
        numbers = self.dtype.is_floating_point or self.dtype.is_complex
        flat = torch.randn(length, dtype=self.dtype) if numbers else torch.zeros(length, dtype=self.dtype)
        return flat.as_strided(self.shape, self.stride).detach().requires_grad_(self.requires_grad)

    def __repr__(self) -> str:
        return repr((self.shape, self.stride, str(self.dtype), self.requires_grad))


@dataclass(eq=False)
class CallSignature:
    """One call of a module.

    Attributes:
        name: the module's dotted name; empty for the model itself.
        number: the number of earlier calls of that name.
        module: the module.
        args: the positional arguments, with specs in place of tensors.
        kwargs: the keyword arguments, likewise.
        is_leaf: whether it calls no other module.
        overwrites: whether it changes an input tensor in place.
        does_nothing: whether it returns its input tensors and nothing else.
        learns: whether its output requires a gradient.
    """

    name: str
    number: int
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    is_leaf: bool = True
    overwrites: bool = False
    does_nothing: bool = False
    learns: bool = False

    @property
    def part(self) -> str:
        """Its name as a value of `model.part`."""
        return f"{self.name}:{self.number}" if self.number else self.name

    @property
    def forms(self) -> list[TensorSpec]:
        """The specs of its input tensors, each once."""
        found = (each for each in tree_leaves((self.args, dict(self.kwargs))) if isinstance(each, TensorSpec))
        return list({id(each): each for each in found}.values())


def uses(
    workload: Workload, training: bool, until: str | None = None, fake: bool = True
) -> list[CallSignature]:
    """Return every call of a module within a workload's call, in the order in which they begin.

    Args:
        workload: the model, in train or eval mode; a fake call needs no values of its weights.
        training: whether gradients are enabled.
        until: the part after which the call may end.
        fake: whether the call uses tensors without values, which take no memory.

    Raises:
        Exception: what the model raises.
    """
    recorder = _Recorder(unarranged(workload.module, workload.inputs)[0], until)
    with ExitStack() as stack:
        stack.enter_context(state_restored(workload.module))
        given = workload.inputs
        if fake:
            mode = stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
            given = faked(mode, given)
        recorder.know(given, workload.inputs)
        with torch.set_grad_enabled(training), calling(recorder.call), suppress(_EndedError):
            workload.module(*given)
    return recorder.found


class _EndedError(BaseException):
    """Ends the model's call once the part has been called. No model catches it."""


@dataclass
class _Recorder:
    """Records calls while a model runs.

    Attributes:
        model: the model.
        until: the part after which to end.
        found: the calls so far.
    """

    model: nn.Module
    until: str | None
    found: list[CallSignature] = field(default_factory=list)
    _open: list[CallSignature] = field(default_factory=list)
    _counts: Counter[str] = field(default_factory=Counter)
    _inputs: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._names = Names(self.model)

    def know(self, given: Sequence[Tensor], inputs: Sequence[Tensor]) -> None:
        """Register the tensors that the model is called with in place of its inputs."""
        self._inputs = {id(each): (each, own) for each, own in zip(given, inputs, strict=True)}

    def call(self, original: Callable[..., Any], module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Make a call, and record it unless it is that of a wrapper around the model."""
        if not self._open and module is not self.model:
            return original(module, *args, **kwargs)
        use = self._begin(module, args, kwargs)
        given = {id(each): each for each in tensors((args, kwargs))}
        versions = {key: each._version for key, each in given.items()}
        try:
            with locating(use.name, module, shapes((args, kwargs))):
                output = original(module, *args, **kwargs)
        finally:
            self._open.pop()
        returned = list(tensors(output))
        use.overwrites = any(each._version != versions[key] for key, each in given.items())
        handed_on = bool(returned) and all(id(each) in given for each in returned)
        use.does_nothing = handed_on and not use.overwrites
        use.learns = any(each.requires_grad for each in returned)
        if use.part == self.until:
            raise _EndedError
        return output

    def _begin(self, module: nn.Module, args: Any, kwargs: Any) -> CallSignature:
        if self._open:
            self._open[-1].is_leaf = False
        name = self._names.of(module, self._open[-1].name if self._open else "")
        args, kwargs = self._forms(args, kwargs)
        use = CallSignature(name, self._counts[name], module, args, kwargs)
        self._counts[name] += 1
        self.found.append(use)
        self._open.append(use)
        return use

    def _forms(self, args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with specs in place of tensors."""
        known: dict[int, TensorSpec] = {}

        def form(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            return known.setdefault(id(value), self._form(value))

        return tree_map(form, args), tree_map(form, kwargs)

    def _form(self, tensor: Tensor) -> TensorSpec:
        own = self._inputs.get(id(tensor), (None, None))[1]
        has_values = not hasattr(tensor, "fake_mode") and not (
            tensor.dtype.is_floating_point or tensor.dtype.is_complex
        )
        value = own if own is not None else tensor.detach().clone() if has_values else None
        grad = torch.is_grad_enabled() and tensor.requires_grad
        return TensorSpec(tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype, grad, value)
