"""A module object from a Python program, with the arguments of its call and its objective."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from microbench.config import ModelConfig
from microbench.errors import UserError, first_line
from microbench.watch.copy import copied_module, copies
from microbench.watch.tensors import CONTAINERS
from microbench.workloads import objectives
from microbench.workloads.arranged import arranged
from microbench.workloads.workload import Workload


@dataclass(frozen=True, eq=False)
class Given:
    """A module object, with the arguments of its call and its objective.

    Attributes:
        module: the module.
        args: its positional arguments.
        kwargs: its keyword arguments.
        objective: the name of an objective, or a function of the output; None for the all-ones gradient.
    """

    module: nn.Module
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    objective: str | Callable[..., Any] | None
    modules: ClassVar[tuple[str, ...]] = ()  # this process has imported them

    def fresh(self) -> Given:
        """Return a copy; what a module has that cannot be copied, such as a lock, is shared.

        Raises:
            UserError: the module cannot be copied.
        """
        attributes = (each for module in self.module.modules() for each in vars(module).values())
        memo = {id(each): each for each in attributes if _is_opaque(each)}
        try:
            module = copied_module(self.module, memo)
        except Exception as error:
            raise UserError(
                f"{type(self.module).__name__} cannot be copied: {type(error).__name__}: {first_line(error)}."
            ) from error
        return Given(module, *copies((tuple(self.args), dict(self.kwargs), self.objective), memo))


def _is_opaque(value: Any) -> bool:
    """Return whether a value has no copy, and nothing within it that could be copied."""
    if isinstance(value, (Tensor, Mapping, *CONTAINERS)) or hasattr(value, "__dict__"):
        return False
    try:
        deepcopy(value)
    except Exception:
        return True
    return False


@dataclass(frozen=True)
class Sent:
    """The same in a file, for other processes.

    Attributes:
        path: the file, which this program has written.
        modules: the Python modules that define the module's classes.
    """

    path: Path
    modules: tuple[str, ...]

    def fresh(self) -> Given:
        """Return what the file contains."""
        found: Given = torch.load(self.path, weights_only=False)
        return found


_held: list[Given | Sent] = []


@contextmanager
def held(given: Given | Sent) -> Iterator[None]:
    """Let `build` build this object within the context."""
    _held.append(given)
    try:
        yield
    finally:
        _held.remove(given)


def build(config: ModelConfig, batch_size: int, device: torch.device, training: bool) -> Workload:
    """Build a module object as it was given, with its inputs, in train or eval mode.

    In training, an input requires a gradient if the given one did; if neither the module nor any input does,
    all inputs of floating-point numbers do.

    Raises:
        UserError: no object was given, its tensors cannot be found, or in training it has nothing to
            differentiate.
    """
    if not _held:
        raise UserError("model.source=given is for module objects: call microbench.run(module, inputs=…).")
    given = _held[-1].fresh()
    module, inputs = arranged(given.module, given.args, given.kwargs)
    if not inputs:
        raise UserError(
            "inputs= holds its tensors in objects: give them in tuples, lists, dictionaries or dataclasses."
        )
    place = next((each.device for each in (*module.parameters(), *module.buffers(), *inputs)), device)
    module = module.to(device).train(training)
    learns = any(parameter.requires_grad for parameter in module.parameters())
    wanted = config.input_grad
    if wanted is None and not (learns or any(each.requires_grad for each in inputs)):
        wanted = True

    def placed(tensor: Tensor) -> Tensor:
        is_number = tensor.is_floating_point() or tensor.is_complex()
        wants_gradient = tensor.requires_grad if wanted is None else wanted and is_number
        where = device if tensor.device == place else tensor.device
        return tensor.detach().to(where).requires_grad_(training and wants_gradient)

    on_device = {id(each): placed(each) for each in inputs}
    if training and not (learns or any(each.requires_grad for each in on_device.values())):
        raise UserError(f"{config.name} has no parameters, so there is nothing to differentiate.")
    if isinstance(objective := given.objective, nn.Module):
        objective = objective.to(device)
    found = objectives.find(objective, torch.initial_seed())
    return Workload(config.name, module, tuple(on_device[id(each)] for each in inputs), found)
