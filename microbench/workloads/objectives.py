"""Where the backward pass starts: a loss, or the output itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from microbench.errors import FailedAt, UserError, unknown
from microbench.watch.tensors import shapes, tensors

Function = Callable[[Any], Tensor]
"""A loss as a function of a module's output."""


class Objective(Protocol):
    """Where the backward pass starts.

    Attributes:
        is_loss: whether calling it computes a loss, which is then a phase of its own.
    """

    is_loss: bool

    def __call__(self, output: Any) -> Any:
        """Return the value that the backward pass starts from, given the module's output."""
        ...

    def backward(self, root: Any) -> None:
        """Compute the gradients of everything that `root` depends on."""
        ...


class Loss:
    """A loss, a scalar that is computed from the output; what it is, a subclass says."""

    is_loss = True

    def __call__(self, output: Any) -> Tensor:
        """Return the loss."""
        raise NotImplementedError

    def backward(self, root: Tensor) -> None:
        """Backpropagate from the loss."""
        root.backward()  # type: ignore[no-untyped-call]


class CrossEntropy(Loss):
    """Cross entropy of the logits with random classes, plus a weighted one for each auxiliary output.

    Args:
        targets: class indices, of shape (batch), or (batch, height, width) of pixels.
        aux_weight: weight of each auxiliary classifier's loss.
    """

    def __init__(self, targets: Tensor, aux_weight: float) -> None:
        self._targets, self._aux_weight = targets, aux_weight

    def __call__(self, output: Tensor | Sequence[Tensor | None] | Mapping[str, Tensor]) -> Tensor:
        """Return the loss, a scalar; if there are several outputs, the first is the main one."""
        if isinstance(output, Tensor):
            return cross_entropy(output, self._targets)
        outputs = output.values() if isinstance(output, Mapping) else output
        loss, *auxiliary = (cross_entropy(logits, self._targets) for logits in outputs if logits is not None)
        return loss + self._aux_weight * sum(auxiliary)


class OnesGradient:
    """The gradient of the sum of all outputs: backward starts from ones of each output's shape."""

    is_loss = False

    def __init__(self) -> None:
        self._ones: list[Tensor] = []

    def __call__(self, output: Any) -> Any:
        """Return the output itself."""
        return output

    def backward(self, root: Any) -> None:
        """Backpropagate ones; they are made at the first call and reused."""
        outputs = [root] if isinstance(root, Tensor) else [t for t in tensors(root) if t.requires_grad]
        if not self._ones:
            if not any(tensor.requires_grad for tensor in outputs):
                raise UserError("nothing in the output requires a gradient, so the layer cannot train")
            self._ones = [torch.ones_like(tensor) for tensor in outputs]
        torch.autograd.backward(outputs, self._ones)


class FunctionLoss(Loss):
    """A loss that a function computes.

    Args:
        name: what errors call it.
        function: returns the loss, a scalar, given the module's output.
    """

    def __init__(self, name: str, function: Function) -> None:
        self._name, self._function = name, function
        self._is_checked = False

    def __call__(self, output: Any) -> Tensor:
        """Return the loss.

        Raises:
            UserError: it is no scalar.
            Exception: what the function raises, caused by a FailedAt that names it.
        """
        try:
            loss = self._function(output)
        except UserError:
            raise
        except Exception as error:
            given = (
                f"on output {', '.join(str(tuple(each)) for each in shapes(output)) or 'without a tensor'}"
            )
            raise error from FailedAt(self._name, "objective", given)
        if not self._is_checked:
            self._check(loss)
            self._is_checked = True
        return loss

    def _check(self, loss: object) -> None:
        if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.is_floating_point():
            what = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else repr(loss)
            raise UserError(
                f"The objective {self._name} returns {what[:80]}: it must return a scalar, such as "
                "loss.mean()."
            )

    def backward(self, root: Tensor) -> None:
        """Backpropagate from the loss.

        Raises:
            UserError: it depends on nothing that requires a gradient.
        """
        if not root.requires_grad:
            raise UserError(
                f"The objective {self._name} returns a loss that depends on nothing that requires a gradient."
            )
        super().backward(root)


def main_output(output: Any) -> Tensor:
    """Return the tensor that losses are about: the one named `logits`, or else the first of numbers.

    Raises:
        UserError: there is none.
    """
    logits = _named("logits", output)
    found = [logits] if isinstance(logits, Tensor) else tensors(output)
    first = next((each for each in found if each.is_floating_point()), None)
    if first is None:
        raise UserError("The output holds no floating-point tensor for the objective.")
    return first


def _named(name: str, output: Any) -> Any:
    return output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)


def _random_classes(seed: int) -> Function:
    """Return the cross entropy with classes drawn at the first call."""
    classes: Tensor | None = None

    def loss(output: Any) -> Tensor:
        nonlocal classes
        logits = main_output(output)
        if classes is None:
            if logits.dim() < 2:
                raise UserError(
                    "objective=cross_entropy is for logits of shape (batch, classes, ...), and these are "
                    f"{tuple(logits.shape)}."
                )
            batch, count, *rest = logits.shape
            drawn = torch.randint(count, (batch, *rest), generator=torch.Generator().manual_seed(seed))
            classes = drawn.to(logits.device)
        return cross_entropy(logits, classes)

    return loss


def _random_targets(seed: int) -> Function:
    """Return the mean squared error to standard normal targets drawn at the first call."""
    targets: Tensor | None = None

    def loss(output: Any) -> Tensor:
        nonlocal targets
        found = main_output(output)
        if targets is None:
            targets = torch.randn(found.shape, generator=torch.Generator().manual_seed(seed)).to(found)
        return mse_loss(found, targets)

    return loss


def _own_loss(output: Any) -> Tensor:
    """Return the loss that the module itself computed: the output, its `loss`, or the sum of its losses."""
    if isinstance(output, Tensor):
        return output
    loss = _named("loss", output)
    if isinstance(loss, Tensor):
        return loss
    losses = list(output.values()) if isinstance(output, Mapping) else []
    if not losses or not all(isinstance(each, Tensor) and each.numel() == 1 for each in losses):
        raise UserError(
            "objective=own_loss is for an output that is a loss, has one named `loss`, or is a dictionary of "
            f"losses; this one is of type {type(output).__name__}."
        )
    return torch.stack([each.reshape(()) for each in losses]).sum()


NAMED: Mapping[str, Callable[[int], Objective]] = {
    "ones": lambda seed: OnesGradient(),
    "cross_entropy": lambda seed: FunctionLoss("cross_entropy", _random_classes(seed)),
    "mse": lambda seed: FunctionLoss("mse", _random_targets(seed)),
    "own_loss": lambda seed: FunctionLoss("own_loss", _own_loss),
}
"""The objectives that have a name, each made from the seed of its targets."""


def find(objective: str | Function | None, seed: int) -> Objective:
    """Return an objective.

    Args:
        objective: a name in `NAMED`; a function that returns the loss, a scalar, given the module's output;
            or None for ones.
        seed: the seed of random targets. They are drawn at the first call, on the CPU, so that the same seed
            and shape give the same targets on any device and in any precision.

    Raises:
        UserError: there is no objective of that name.
    """
    if objective is None:
        return OnesGradient()
    if not isinstance(objective, str):
        return FunctionLoss(getattr(objective, "__name__", type(objective).__name__), objective)
    if objective not in NAMED:
        raise unknown("objective", objective, NAMED)
    return NAMED[objective](seed)
