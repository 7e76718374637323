import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from microbench.profile.dry_run import dry_run
from microbench.profile.once import called
from microbench.watch.copy import state_restored


def test_a_dry_run_needs_no_memory_for_weights() -> None:
    """In a fresh interpreter, 1.6 GB of weights raise the peak memory by less than a tenth of that."""
    script = """
import resource
import torch
from torch import nn
from microbench.workloads.parts.deferred import Deferred
from microbench.profile.dry_run import dry_run

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

with torch.no_grad():
    small = nn.Linear(8, 8)
    dry_run(small, (torch.ones(1, 8),))
    before = peak()
    with Deferred():
        large = nn.Linear(20_000, 20_000)
    root = dry_run(large, (torch.ones(1, 20_000),))
print(root.counts.macc, (peak() - before) * 1024)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    macc, grown = map(int, done.stdout.split())
    assert macc == 20_000 * 20_001
    assert grown < 160e6


class Asks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.ReLU(), nn.Sigmoid()

    def forward(self, x: Tensor) -> Any:
        return self.a(x) if x.sum().item() > 0 else self.b(x)


def test_a_module_that_needs_a_value_is_run_for_real() -> None:
    def types(x: Tensor) -> list[str]:
        return [call.type for call, depth in dry_run(Asks(), (x,)).walk() if call.module and depth]

    assert types(torch.ones(2)) == ["ReLU"]
    assert types(-torch.ones(2)) == ["Sigmoid"]


def test_a_failure_in_a_dry_run_and_for_real_is_reported_once_and_torch_logs_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        dry_run(nn.Linear(4, 4), (torch.ones(1, 5),))
    assert capfd.readouterr().err == ""


def test_a_users_hook_sees_real_tensors() -> None:
    model, seen = nn.Linear(2, 2), []
    model.register_forward_hook(lambda module, args, output: seen.append(type(output)))
    dry_run(model, (torch.ones(1, 2),))
    assert seen == [Tensor]


def test_parameters_that_share_memory_share_it_in_a_copy() -> None:
    model = nn.RNN(2, 2)
    flat = torch.cat([each.detach().flatten() for each in model.parameters()])
    for each, data in zip(model.parameters(), flat.split([4, 4, 2, 2]), strict=True):
        each.data = data.view(each.shape)
    with called(model, (torch.ones(1, 2),), {}) as (root, *_):
        assert root.module is not None
        pieces = {each.untyped_storage().data_ptr() for each in root.module.parameters()}
        assert len(pieces) == 1
        assert pieces != {flat.untyped_storage().data_ptr()}


def test_a_module_that_writes_to_its_weights_has_a_dry_run() -> None:
    class Bounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.linear = nn.Embedding(3, 2, max_norm=0.1), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Any:
            return self.linear(self.embedding(x))

    root = dry_run(Bounded(), (torch.tensor([1]),))
    assert [call.type for call, _ in root.walk()] == ["Bounded", "Embedding", "Linear"]


class Keeps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.cache: dict[str, Tensor] = {}
        self.seen: list[Tensor] = []
        self.last: Tensor | None = None
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        self.cache["y"], self.last = y, y
        self.seen.append(y)
        self.count = self.count + 1
        if self.training:
            raise ArithmeticError("half way")
        return y


@pytest.mark.parametrize("fails", [False, True])
def test_a_module_is_left_unchanged_even_if_it_fails(fails: bool) -> None:
    model = Keeps().eval()
    model.norm.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    members = set(vars(model))
    try:
        with state_restored(model):
            model.train(fails)
            model.norm.train()
            model(torch.randn(4, 3))
    except ArithmeticError:
        assert fails
    assert (model.training, model.norm.training) == (False, True)
    assert (model.cache, model.seen, model.last, set(vars(model))) == ({}, [], None, members)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
