"""The backward pass counts only where a gradient arrives, compared with torch's own counter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from microbench import stat
from microbench.flops import Counts
from microbench.profile.calls import Call
from microbench.profile.dry_run import dry_run
from microbench.profile.trace import trace
from microbench.watch.tensors import tensors

OfBackward = Callable[..., int]

FIRST, SECOND = 4 * 32 * 8, 4 * 4 * 32  # multiplications of the two layers, for 4 rows


class Two(nn.Module):
    """Two layers, with functions between and after them."""

    def __init__(
        self,
        between: Callable[[Tensor], Tensor] = lambda y: y,
        output: Callable[[Tensor, Tensor], Any] = lambda y, z: z,
    ) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 32), nn.Linear(32, 4)
        self.between, self.output = between, output

    def forward(self, x: Tensor) -> Any:
        y = self.first(x)
        return self.output(y, self.second(self.between(y)))


def frozen(module: nn.Module) -> nn.Module:
    module.first.requires_grad_(False)
    return module


def without_gradients(y: Tensor) -> Tensor:
    with torch.no_grad():
        return y * 2


def overwritten(y: Tensor) -> Tensor:
    y[0].mul_(2)
    return y.relu_()


class Exp(torch.autograd.Function):
    """An exponential with a backward pass of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        result = x.exp()
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0] * ctx.saved_tensors[0]


def summed(root: Call) -> Counts:
    return sum((call.counts for call, _ in root.walk() if not call.inner), Counts())


def traced(module: nn.Module, *inputs: Tensor, objective: Callable[[Any], Any] | None = None) -> Call:
    return trace(module, lambda: module(*inputs), objective)


@pytest.fixture
def of_backward(flops_of: Callable[[Callable[[], object]], int]) -> OfBackward:
    """Count by torch's formulas a backward pass that is run."""

    def count(module: nn.Module, data: Tensor, objective: Callable[[Any], Any] | None = None) -> int:
        output = module(data) if objective is None else objective(module(data))
        starts = [each for each in tensors(output) if each.requires_grad]
        return flops_of(lambda: torch.autograd.backward(starts, [torch.ones_like(each) for each in starts]))

    return count


BOTH, LAST = 2 * FIRST - 8 * 32 + 4 * 32 - 32, 2 * SECOND - 32 * 4 + 4 * 4 - 4
HIDDEN = 2 * SECOND - 4 * 32  # the gradient of the result between the layers

ARRIVING: dict[str, tuple[nn.Module, int]] = {
    "everywhere": (Two(), BOTH + LAST + HIDDEN),
    "not before detach": (Two(Tensor.detach), LAST),
    "not before data": (Two(lambda y: y.data), LAST),
    "not before a block without gradients": (Two(without_gradients), LAST),
    "not at what is dropped": (Two(output=lambda y, z: y), BOTH),
    "not at what is dropped in part": (Two(output=lambda y, z: (y, z.detach())), BOTH),
    "not in a layer that is frozen": (frozen(Two()), LAST),
    "through what is written over": (Two(overwritten), BOTH + LAST + HIDDEN + 32 + 4 * 32),
    "through a checkpoint": (
        Two(lambda y: checkpoint(torch.sin, y, use_reentrant=False)),
        BOTH + LAST + HIDDEN + 2 * 4 * 32,
    ),
}


@pytest.mark.parametrize("case", ARRIVING)
def test_a_gradient_arrives(case: str, of_backward: OfBackward) -> None:
    module, expected = ARRIVING[case]
    data = torch.rand(4, 8)
    counts = summed(traced(module, data))
    assert counts.backward == expected
    assert counts.unknown == 0
    assert 2 * counts.backward_products == of_backward(module, data)
    assert summed(dry_run(module, (data,))).backward == expected


def test_a_profile_has_backward_flops_by_layer() -> None:
    profile = stat(Two(Tensor.detach), input_shape=(8,), batch_size=4, training=True)
    backward = {row.name: row.backward for row in profile.calls if row.backward is not None}
    assert backward == {"first": 0, "detach": 0, "second": LAST}


def test_a_gradient_starts_at_the_objectives_inputs(of_backward: OfBackward) -> None:
    module, data = Two(output=lambda y, z: {"hidden": y, "result": z}), torch.rand(4, 8)

    def objective(output: dict[str, Tensor]) -> Tensor:
        return output["hidden"].sum()

    assert summed(traced(module, data, objective=objective)).backward == BOTH
    assert summed(traced(module, data)).backward == BOTH + LAST + HIDDEN
    assert of_backward(module, data, objective) == 2 * FIRST


def test_an_output_without_visible_tensors_has_gradients_everywhere() -> None:
    module = Two(output=lambda y, z: iter([z]))
    assert summed(traced(module, torch.rand(4, 8))).backward == BOTH + LAST + HIDDEN


def test_only_operators_that_lead_to_the_outputs_in_use_count(
    of_backward: OfBackward,
) -> None:
    class Weights(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: Tensor) -> Any:
            return self.attention(x, x, x)[1]

    module, data = Weights(), torch.rand(2, 3, 8)
    assert 2 * summed(traced(module, data)).backward_products == of_backward(module, data)


def test_the_backward_pass_of_a_custom_function_is_unknown() -> None:
    assert summed(traced(Two(Exp.apply), torch.rand(4, 8))).unknown == 1
    assert summed(traced(Two(lambda y: Exp.apply(y).detach()), torch.rand(4, 8))).unknown == 0
    with torch.no_grad():
        assert summed(traced(Two(Exp.apply), torch.rand(4, 8))).unknown == 0


def test_the_backward_pass_of_a_reentrant_checkpoint_is_unknown() -> None:
    class Held(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before, self.held = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Any:
            return checkpoint(self.held, self.before(x), use_reentrant=True)

    calls = {call.name: call.counts for call, _ in traced(Held(), torch.rand(4, 8)).walk()}
    assert (calls["held"].backward, calls["held"].unknown) == (0, 1)
    assert (calls["before"].backward, calls["before"].unknown) == (2 * 4 * 8 * 8 - 8 * 8 + 4 * 8 - 8, 0)


def test_gradients_that_a_module_computes_itself_are_forward_and_have_a_backward_pass(
    flops_of: Callable[[Callable[[], object]], int], of_backward: OfBackward
) -> None:
    class Force(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.energy = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))

        def forward(self, x: Tensor) -> Tensor:
            x = x.clone().requires_grad_()
            return torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)[0]

    module, data = Force(), torch.rand(4, 3)
    counts = summed(traced(module, data))
    assert 2 * counts.products == flops_of(lambda: module(data))
    assert 2 * counts.backward_products == of_backward(module, data)
