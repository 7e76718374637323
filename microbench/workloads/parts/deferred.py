"""Models whose weights are drawn later, or never: drawing weights takes most of a model's build time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from microbench.watch.tensors import tensors
from microbench.workloads.calibration import calibrate
from microbench.workloads.workload import draw_if_zero

INITIALIZERS = [
    name for name, each in vars(nn.init).items() if name.endswith("_") and callable(each) and name[0] != "_"
]
HARMLESS = {
    *("shape", "size", "stride", "storage_offset", "dim", "ndim", "ndimension", "numel", "nelement"),
    *("dtype", "device", "layout", "element_size", "itemsize", "nbytes", "is_floating_point", "is_complex"),
    *("is_contiguous", "is_cpu", "is_cuda", "is_meta", "is_mkldnn", "is_nested", "is_quantized", "is_sparse"),
    *("requires_grad", "requires_grad_", "grad", "grad_fn", "is_leaf", "__hash__", "__len__"),
}
"""Attributes that may be read of a weight that has no values yet."""

FILLS = {"fill_", "zero_", "normal_", "uniform_"}
"""Functions that overwrite all of a weight's values; code that imported initializers by name calls these."""

Draw = tuple[Callable[..., Any], Tensor, Sequence[Any], Mapping[str, Any]]


class Deferred(TorchFunctionMode):
    """Defers the initialization of parameters while it is active; `fill` does it later.

    The memory of weights that are never filled is allocated but never touched, so that it takes no physical
    pages. Any other operation on a weight meanwhile finds it filled.
    """

    def __init__(self) -> None:
        super().__init__()
        self._draws: dict[int, list[Draw]] = {}
        self._calibrations: list[tuple[torch.dtype, Sequence[Any]]] = []
        self._originals: dict[str, Callable[..., Any]] = {}
        self._stand_ins: list[Callable[..., Any]] = []

    def __enter__(self) -> Self:
        """Begin to defer."""
        self._originals = {name: getattr(nn.init, name) for name in INITIALIZERS}
        for name, original in self._originals.items():
            self._stand_ins.append(self._putting_off(original))
            setattr(nn.init, name, self._stand_ins[-1])
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: object) -> None:
        """Stop deferring; what was deferred stays so."""
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        for name, original in self._originals.items():
            setattr(nn.init, name, original)

    def _putting_off(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def put_off(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            if not isinstance(tensor, nn.Parameter):
                return original(tensor, *args, **kwargs)
            return self._put_off(original, tensor, *args, **kwargs)

        return put_off

    def _put_off(self, function: Callable[..., Any], tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self._draws.setdefault(id(tensor), []).append((function, tensor, args, kwargs))
        return tensor

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is calibrate:
            self._calibrations.append((_dtype(args[0]), args))
            return None
        given = list(tensors((args, kwargs)))
        if self._may_wait(func, given):
            return self._put_off(func, *args, **kwargs)
        if _is_of_data(func, "__set__"):
            self._draws.pop(id(args[0]), None)
            for each in given[1:]:
                self._draw(each)
        elif func not in self._stand_ins and not _is_harmless(func):
            for each in given:
                self._draw(each)
        return func(*args, **kwargs)

    def _may_wait(self, func: Any, given: Sequence[Tensor]) -> bool:
        if func is draw_if_zero:
            return id(given[0]) in self._draws
        return func.__name__ in FILLS and len(given) == 1 and isinstance(given[0], nn.Parameter)

    def fill(self, module: nn.Module) -> None:
        """Draw the deferred weights of a module, and calibrate it, as the model itself would have.

        It may have been cast meanwhile: it is calibrated in the type that its examples suit.
        """
        for parameter in module.parameters():
            self._draw(parameter)
        pending, within = self._calibrations, set(module.modules())
        self._calibrations = [each for each in pending if each[1][0] not in within]
        for dtype, (model, *rest) in pending:
            if model in within:
                cast = _dtype(model)
                calibrate(model.to(dtype), *rest)
                model.to(cast)

    def _draw(self, parameter: Tensor) -> None:
        for function, tensor, args, kwargs in self._draws.pop(id(parameter), ()):
            with torch.no_grad():
                function(tensor, *args, **kwargs)


def _dtype(module: nn.Module) -> torch.dtype:
    """Return the type of a module's numbers; torch's default if it has none, as when it is quantized."""
    found = (each.dtype for each in module.parameters() if each.is_floating_point())
    return next(found, torch.get_default_dtype())


def _is_of_data(func: Any, access: str) -> bool:
    """Return whether a function gets or sets `Tensor.data`."""
    return func.__name__ == access and getattr(func, "__self__", None) is Tensor.data


def _is_harmless(func: Any) -> bool:
    """Return whether a function does not use a tensor's values."""
    asked = getattr(func, "__self__", func) if func.__name__ in ("__get__", "__set__") else func
    return asked.__name__ in HARMLESS
