from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from microbench.profile.calls import Call
from microbench.profile.tracing import FailedAt, trace


def called(module: nn.Module, *inputs: Any, grad: bool = False) -> Call:
    with torch.set_grad_enabled(grad):
        return trace(module, lambda: module(*inputs))


def names(root: Call) -> list[str]:
    return [f"{'  ' * depth}{call.name} {call.type} {call.kind}" for call, depth in root.walk()]


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.inner(x) + x)


def test_every_call_is_there_in_the_order_of_execution_with_operators_between_modules() -> None:
    assert names(called(Residual(), torch.ones(2, 4))) == [
        " Residual container",
        "  inner Sequential container",
        "    inner.0 Linear module",
        "    inner.1 ReLU module",
        "  add add function",
        "  act ReLU module",
    ]


def test_shapes_and_number_format_are_those_of_the_tensors() -> None:
    root = called(nn.Linear(4, 3, dtype=torch.bfloat16), torch.ones(2, 4, dtype=torch.bfloat16))
    assert (root.in_shapes, root.out_shapes, root.dtype) == ([(2, 4)], [(2, 3)], "bfloat16")


def test_a_module_called_twice_has_two_calls() -> None:
    relu = nn.ReLU()
    root = called(nn.Sequential(relu, nn.Linear(4, 4), relu), torch.ones(1, 4))
    assert [call.type for call, depth in root.walk() if depth == 1] == ["ReLU", "Linear", "ReLU"]


def test_a_module_with_two_names_has_that_of_the_module_that_calls_it() -> None:
    shared = nn.Linear(4, 4)
    model = nn.Sequential(nn.Sequential(shared), nn.Sequential(shared))
    assert [call.name for call, depth in called(model, torch.ones(1, 4)).walk() if depth == 2] == [
        "0.0",
        "1.0",
    ]


def test_a_module_that_torch_does_not_know_of_is_named_after_its_class() -> None:
    class Makes(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return nn.ReLU()(x)

    assert names(called(Makes(), torch.ones(1)))[1] == "  (ReLU) ReLU module"


def test_attention_calls_no_module_and_is_one_call() -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x = torch.ones(1, 3, 8)
    root = called(attention, x, x, x)
    assert [call.kind for call, _ in root.walk()] == ["module"]


def test_watching_does_not_change_the_path_a_module_takes() -> None:
    """Where a hook hangs on it, this layer calls its parts one by one; unwatched, one kernel does it all."""
    layer = nn.TransformerEncoderLayer(8, 2, batch_first=True).eval()
    assert names(called(layer, torch.ones(1, 3, 8))) == [" TransformerEncoderLayer module"]
    layer.register_forward_hook(lambda *_: None)
    assert len(names(called(layer, torch.ones(1, 3, 8)))) > 5


def test_operators_are_the_same_whether_gradients_are_enabled_or_not() -> None:
    class Functions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            y = nn.functional.linear(self.first(x), torch.ones(3, 4))
            return torch.matmul(y, torch.ones(3, 2)).flatten().softmax(0)

    def operators(context: Callable[[], Any]) -> list[str]:
        model = Functions()
        with context():
            root = trace(model, lambda: model(torch.ones(2, 4)))
        return [call.type for call, _ in root.walk() if call.kind == "function" and call.counts.flops]

    expected = ["mm", "mm", "_softmax"]
    assert operators(torch.no_grad) == operators(torch.inference_mode) == expected
    assert operators(torch.enable_grad) == expected


@pytest.mark.parametrize("how", ["traced", "scripted"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_module_of_torchscript_is_one_call_that_costs_what_its_operators_do(how: str) -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU()).eval()
    x = torch.ones(2, 4)
    compiled = torch.jit.script(model) if how == "scripted" else torch.jit.trace(model, x)
    root = called(compiled, x)
    assert (root.kind, root.type) == ("module", "Sequential")
    assert root.counts.flops == sum(call.counts.flops for call, _ in called(model, x).walk())


def test_what_a_module_raises_is_raised_with_the_call_that_did_and_nothing_stays() -> None:
    before = nn.Module.__call__
    model = nn.Sequential(nn.Linear(4, 5), nn.Linear(4, 5))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught:
        called(model, torch.ones(1, 4))
    assert isinstance(caught.value.__cause__, FailedAt)
    assert caught.value.__cause__.call.name == "1"
    assert nn.Module.__call__ is before
