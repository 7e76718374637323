"""Models whose weights are drawn later, or never: most of a model's building is drawing its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

INITIALIZERS = [
    name for name, each in vars(nn.init).items() if name.endswith("_") and callable(each) and name[0] != "_"
]
DEVIATION = 0.02  # of weights that a model leaves at zero, to be trained

Draw = tuple[Callable[..., Any], Tensor, Sequence[Any], Mapping[str, Any]]


class Deferred(TorchFunctionMode):
    """While it is active, what functions of `torch.nn.init` do to a parameter is put off: `fill` does it.

    The memory of weights that nobody fills is asked for, and never touched: the system gives it out in name
    only. What else changes or reads a weight meanwhile finds it filled.
    """

    def __init__(self) -> None:
        super().__init__()
        self._draws: dict[int, list[Draw]] = {}
        self._originals: dict[str, Callable[..., Any]] = {}

    def __enter__(self) -> Self:
        """Begin to put off."""
        self._originals = {name: getattr(nn.init, name) for name in INITIALIZERS}
        for name, original in self._originals.items():
            setattr(nn.init, name, self._put_off(original))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: object) -> None:
        """What is put off stays so."""
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        for name, original in self._originals.items():
            setattr(nn.init, name, original)

    def _put_off(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def put_off(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            if not isinstance(tensor, nn.Parameter):
                return original(tensor, *args, **kwargs)
            self._draws.setdefault(id(tensor), []).append((original, tensor, args, kwargs))
            return tensor

        return put_off

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        target = args[0] if args else None
        if isinstance(target, nn.Parameter) and id(target) in self._draws:
            if func.__name__ == "any":  # asks for weights that are left at zero, which `fill` looks for
                return torch.tensor(True)
            if _touches(func):
                self._draw(target)
        return func(*args, **(kwargs or {}))

    def fill(self, module: nn.Module) -> None:
        """Draw the weights of a module that was built meanwhile, as the model itself would have.

        Weights that it leaves at zero are drawn too, for zeros would hide a wrong answer.
        """
        for parameter in module.parameters():
            self._draw(parameter)
            if _is_weight(parameter) and not parameter.any():
                with torch.no_grad():
                    parameter.normal_(std=DEVIATION)

    def _draw(self, parameter: Tensor) -> None:
        for function, tensor, args, kwargs in self._draws.pop(id(parameter), ()):
            function(tensor, *args, **kwargs)


def _touches(func: Any) -> bool:
    """Whether a function changes a tensor's values, or gives access to them."""
    name = func.__name__
    if name == "__get__":
        return getattr(func, "__self__", None) is Tensor.data
    return name in ("__setitem__", "__getitem__") or (name.endswith("_") and not name.endswith("__"))


def _is_weight(parameter: Tensor) -> bool:
    return parameter.dim() > 1 and parameter.is_floating_point()
