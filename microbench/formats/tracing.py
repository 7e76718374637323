"""A module as a graph of its parts: modules of torch.nn, functions and methods."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import fx, nn

from microbench.errors import SkippedError, first_line

WHOLE = "module"  # the name of the module itself among its root's parts


class Root(nn.Module):
    """A module that only calls another: a trace of it shows the other as a part even if that is a leaf."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Any) -> Any:
        """Call it."""
        return self.module(*inputs)


class PartTracer(fx.Tracer):
    """Traces the call of a root with so many inputs, and knows inside which part it is.

    Args:
        inputs: how many.
        whole: names of parts that are not looked into.
    """

    def __init__(self, inputs: int, whole: Collection[str]) -> None:
        super().__init__()
        self._inputs, self._whole = inputs, whole
        self.inside: list[str] = []

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Say whether a part stays whole."""
        return module_qualified_name in self._whole or super().is_leaf_module(m, module_qualified_name)

    def create_args_for_root(self, root_fn: Any, *_: Any, **__: Any) -> tuple[Any, list[Any]]:
        """Make one placeholder per input: the root's signature does not say how many there are."""
        names = [f"input_{index}" for index in range(self._inputs)]
        return root_fn, [self.root, *(self.create_proxy("placeholder", name, (), {}) for name in names)]

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """Trace a part."""
        self.inside.append(self.path_of_module(m))
        result = super().call_module(m, forward, args, kwargs)
        self.inside.pop()
        return result


def traced(root: Root, name: str, inputs: int) -> fx.Graph:
    """Trace a root's call, for a workload of that name; a part that torch.fx cannot trace stays whole.

    Raises:
        SkippedError: that part is the module itself.
    """
    whole: set[str] = set()
    while True:
        tracer = PartTracer(inputs, whole)
        try:
            return tracer.trace(root)
        except Exception as error:  # a forward may do anything with what stands for its tensors
            part = tracer.inside[-1] if tracer.inside else WHOLE
            if part == WHOLE or part in whole:
                raise SkippedError(
                    f"layout=mkldnn: torch.fx cannot trace {name} into its parts: {first_line(error)}"
                ) from error
            whole.add(part)
