import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.nn import functional

from microbench.errors import FailedAt, UserError
from microbench.profile.calls import Call
from microbench.profile.trace import trace


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


def test_all_calls_are_recorded_in_order_including_operators_between_modules() -> None:
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


def test_a_module_with_two_names_has_the_one_within_its_caller() -> None:
    shared = nn.Linear(4, 4)
    model = nn.Sequential(nn.Sequential(shared), nn.Sequential(shared))
    assert [call.name for call, depth in called(model, torch.ones(1, 4)).walk() if depth == 2] == [
        "0.0",
        "1.0",
    ]


def test_an_unregistered_module_is_named_after_its_class() -> None:
    class Makes(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return nn.ReLU()(x)

    assert names(called(Makes(), torch.ones(1)))[1] == "  (ReLU) ReLU module"


def test_attention_is_one_call_of_a_leaf_module() -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x = torch.ones(1, 3, 8)
    root = called(attention, x, x, x)
    assert [call.kind for call, _ in root.walk()] == ["module"]


def test_watching_does_not_change_the_path_a_module_takes() -> None:
    """With a hook, this layer calls its parts one by one; unwatched, one kernel does everything."""
    layer = nn.TransformerEncoderLayer(8, 2, batch_first=True).eval()
    assert names(called(layer, torch.ones(1, 3, 8))) == [" TransformerEncoderLayer module"]
    layer.register_forward_hook(lambda *_: None)
    assert len(names(called(layer, torch.ones(1, 3, 8)))) > 5


def test_a_hooks_operators_count_unless_its_module_has_a_rule() -> None:
    def hook(module: nn.Module, args: Any, output: Tensor) -> None:
        output.std()

    def flops(module: nn.Module) -> list[int]:
        module.register_forward_hook(hook)
        return [call.counts.flops for call, _ in called(module, torch.rand(2, 8, 8)).walk()]

    assert flops(nn.ReLU()) == [128]
    assert flops(nn.LocalResponseNorm(2)) == [1024 + 639]
    assert flops(nn.Sequential(nn.ReLU())) == [0, 128, 639]  # a row of its own


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


class Applied(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.before, self.function = nn.Identity(), function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.before(x))


CONTEXTS: dict[str, Callable[[], Any]] = {
    "gradients": torch.enable_grad,
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
}


@pytest.mark.parametrize("fake", [False, True], ids=["real", "fake"])
@pytest.mark.parametrize("context", CONTEXTS)
def test_operators_are_decomposed_only_if_torch_has_no_kernel_for_their_tensors(
    context: str, fake: bool
) -> None:
    def operators(device: str) -> list[str]:
        model = Applied(lambda x: torch.native_channel_shuffle(x, 2))
        with FakeTensorMode() if fake else nullcontext(), CONTEXTS[context]():
            x = torch.ones(1, 4, 2, 2, device=device)
            return [call.type for call in trace(model, lambda: model(x)).inner[1:]]

    assert operators("cpu") == ["native_channel_shuffle"]
    assert "native_channel_shuffle" not in operators("meta")


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_fused_kernel_of_another_device_stays_whole(context: str) -> None:
    model = Applied(lambda x: functional.rms_norm(x, (2,)))
    with FakeTensorMode(), CONTEXTS[context]():
        here, there = torch.ones(2, 2), torch.ones(2, 2, device="cuda")
        apart = [call.type for call in trace(model, lambda: model(here)).inner[1:]]
        whole = [call.type for call in trace(model, lambda: model(there)).inner[1:]]
    assert "_fused_rms_norm" not in apart
    assert whole == ["_fused_rms_norm"]


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged], ids=str)
@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensors_run_as_if_unwatched_and_count_with_their_own_lengths(
    context: str, layout: torch.layout
) -> None:
    weight = torch.ones(4, 5)
    model = Applied(lambda x: functional.linear(x, weight))
    with CONTEXTS[context]():
        x = torch.nested.nested_tensor([torch.ones(2, 5), torch.ones(3, 5)], layout=layout)
        results: list[Tensor] = []
        root = trace(model, lambda: results.append(model(x)))
        assert torch.equal(results[0].values(), model(x).values())
    (call,) = (call for call in root.inner if call.type == "linear")
    assert call.counts.flops == (2 + 3) * 4 * (5 + 4)


def test_the_shape_of_a_nested_tensor_is_found_without_an_operator() -> None:
    model = Applied(lambda x: x.reshape(2, -1, 5))
    x = torch.nested.nested_tensor([torch.ones(2, 5), torch.ones(3, 5)], layout=torch.jagged)
    assert {call.counts.mem_r for call in called(model, x).inner} == {0}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_operators_on_nested_tensors_cost_the_sum_of_their_examples() -> None:
    model = Applied(lambda x: torch.matmul(x, x.transpose(1, 2)).softmax(-1))
    x = torch.nested.nested_tensor([torch.ones(2, 5), torch.ones(3, 5)])
    counted = {call.type: call.counts.flops for call in called(model, x).inner}
    assert counted["matmul"] == (2 * 2 + 3 * 3) * (5 + 4)
    assert counted["_softmax"] == (5 * 4 - 2 * 2) + (5 * 9 - 2 * 3)


@pytest.mark.parametrize("how", ["traced", "scripted"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_module_of_torchscript_is_one_call_that_costs_the_same_as_its_operators(how: str) -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU()).eval()
    x = torch.ones(2, 4)
    compiled = torch.jit.script(model) if how == "scripted" else torch.jit.trace(model, x)
    root = called(compiled, x)
    assert (root.kind, root.type) == ("module", "Sequential")
    assert root.counts.flops == sum(call.counts.flops for call, _ in called(model, x).walk())


def test_a_modules_error_is_raised_with_its_call_and_nothing_stays_replaced() -> None:
    before = nn.Module.__call__
    model = nn.Sequential(nn.Linear(4, 5), nn.Linear(4, 5))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught:
        called(model, torch.ones(1, 4))
    assert isinstance(caught.value.__cause__, FailedAt)
    assert caught.value.__cause__.args == ("1", "Linear", "on input (1, 5)")
    assert nn.Module.__call__ is before


class Guarded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Sequential(nn.ReLU(), nn.Linear(9, 2)), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        try:
            return self.wide(x * 2)
        except RuntimeError:
            return self.narrow(x)


def test_a_call_that_fails_and_is_caught_is_recorded_with_its_calls() -> None:
    rows = [(call.name, call.kind, depth) for call, depth in called(Guarded(), torch.ones(1, 4)).walk()]
    assert [row for row in rows if row[1] != "function" or row[2] == 1] == [
        ("", "container", 0),
        ("mul", "function", 1),
        ("wide", "container", 1),
        ("wide.0", "module", 2),
        ("wide.1", "container", 2),
        ("narrow", "module", 1),
    ]


class Aliased(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        linear = nn.Linear(4, 4)
        self.a, self.x = nn.Sequential(linear, nn.ReLU()), linear

    def forward(self, x: Tensor) -> Tensor:
        return self.x(self.a(x))


def test_a_module_with_several_names_has_the_one_within_its_caller() -> None:
    names = [call.name for call, _ in called(Aliased(), torch.ones(1, 4)).walk()]
    assert names == ["", "a", "a.0", "a.1", "x"]


class Direct(nn.Linear):
    def __call__(self, x: Tensor) -> Tensor:
        return self.forward(x)


def test_a_module_whose_own_call_hides_it_is_an_error_in_one_line() -> None:
    with pytest.raises(UserError, match=r"^Direct has its own __call__.*nn\.Sequential\(model\)\.$"):
        called(Direct(4, 4), torch.ones(1, 4))
    assert called(nn.Sequential(Direct(4, 4)), torch.ones(1, 4)).counts.flops > 0


def test_two_threads_at_once_see_their_own_calls_and_leave_nothing() -> None:
    before, met = nn.Module.__call__, threading.Barrier(2, timeout=10)

    class Meeting(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            with suppress(threading.BrokenBarrierError):
                met.wait(0.05)
            return super().forward(x)

    def trace_one() -> int:
        model = nn.Sequential(Meeting(4, 4), nn.ReLU())
        return len(list(called(model, torch.ones(1, 4)).walk()))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: trace_one(), range(4))) == [3] * 4
    assert nn.Module.__call__ is before
