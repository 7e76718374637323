"""Models whose weights are drawn later, or never: most of a model's building is drawing its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

DEVIATION = 0.02  # of weights that a model leaves at zero, to be trained

Draw = tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]


class Deferred(TorchFunctionMode):
    """While it is active, what fills a parameter in place is noted, not done: `fill` does it.

    The memory of weights that nobody fills is asked for, and never touched: the system gives it out in name
    only. What a model computes of a weight's values while it is built, it computes of whatever is there.
    """

    def __init__(self) -> None:
        super().__init__()
        self._draws: dict[int, list[Draw]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        target = args[0] if args else kwargs.get("tensor")  # as functions of torch.nn.init hand it on
        if isinstance(target, nn.Parameter):
            if _fills(func.__name__):
                self._draws.setdefault(id(target), []).append((func, args, kwargs))
                return target
            if func.__name__ == "any":  # nothing is known of its values yet: all zero they are not
                return torch.tensor(True)
        return func(*args, **kwargs)

    @torch.no_grad()
    def fill(self, module: nn.Module) -> None:
        """Draw the weights of a module that was built meanwhile, as the model itself would have.

        Weights that it leaves at zero are drawn too, for zeros would hide a wrong answer.
        """
        for parameter in module.parameters():
            for function, args, kwargs in self._draws.get(id(parameter), ()):
                function(*args, **kwargs)
            if _is_weight(parameter) and not parameter.any():
                parameter.normal_(std=DEVIATION)


def _fills(name: str) -> bool:
    """Whether a function is called as those that change a tensor's values in place are."""
    return name.endswith("_") and not name.endswith("__") and name != "requires_grad_"


def _is_weight(parameter: Tensor) -> bool:
    return parameter.dim() > 1 and parameter.is_floating_point()
