from __future__ import annotations

from collections import OrderedDict
from functools import cache
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from microbench import workloads
from microbench.config import Config, ModelConfig, PrecisionConfig
from microbench.distribution import CONF
from microbench.engines import Job, Program, eager
from microbench.errors import UserError
from microbench.modes import is_finite
from microbench.options.compose import from_options
from microbench.watch.tensors import tensors
from microbench.workloads import Workload
from microbench.workloads.layer import locate
from microbench.workloads.objectives import OnesGradient

FILES = sorted(CONF.glob("model/*.yaml"))
LAYERS = [
    path.stem
    for path in FILES
    if yaml.safe_load(path.read_text()).get("source") == "layer" and path.stem != "layer"
]
CPU = torch.device("cpu")
CONFIG = Config(precision=PrecisionConfig("fp32"))
CONFIG.device.name = "cpu"


def built(training: bool = False, batch_size: int = 2, seed: int = 0, **options: Any) -> Workload:
    """Return a layer, by the settings of a model's configuration."""
    settings = {"source": "layer", "name": "mine", "input_shape": [4]} | options
    return workloads.build(ModelConfig(**settings), batch_size, CPU, training, seed)


def eagerly(workload: Workload, training: bool) -> Program:
    return eager.prepare(Job(workload, CONFIG, training))


@cache
def of_file(name: str) -> ModelConfig:
    """Return the model's configuration that a file holds."""
    (case,) = from_options({"model": name}, sweep=False)
    return case.config.model


class Named(nn.Module):
    """A layer whose output is a dictionary; what requires no gradient in it is no part of the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, value: Tensor) -> dict[str, Any]:
        out = self.linear(value)
        return {"out": out, "more": [out * 2, (out.square(), None)], "best": out.argmax(1), "n": 3}


class Named_(Named):  # noqa: N801 - a module whose name ends as an in-place function's does
    pass


class Blind(nn.Module):
    """A layer that has parameters, but an output that requires no gradient."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.linear, self.kind = nn.Linear(4, 3), kind

    def forward(self, value: Tensor) -> Any:
        best = self.linear(value).argmax(1)
        return {"tensor": best, "tuple": (best, best), "dict": {"best": best}, "nothing": None}[self.kind]


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_of_the_options_infers(name: str) -> None:
    workload = workloads.build(of_file(name), 2, CPU, training=False, seed=0)
    assert not workload.module.training
    with torch.inference_mode():
        output = eagerly(workload, False).call()
    assert next(tensors(output)).shape[0] == 2
    assert is_finite(output)


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "copy"])
def test_every_layer_of_the_options_trains(name: str) -> None:
    workload = workloads.build(of_file(name), 2, CPU, training=True, seed=0)
    assert workload.module.training
    program = eagerly(workload, True)
    output = program.call()
    workload.objective.backward(workload.objective(output))
    learning = [*program.parameters, *(each for each in workload.inputs if each.requires_grad)]
    assert learning
    for tensor in learning:
        assert tensor.grad is not None
        assert is_finite(tensor.grad)


def test_a_module_whose_name_ends_like_that_trains() -> None:
    workload = built(True, cls=f"{__name__}.Named_", call_kwargs={"value": None})
    assert list(workload.module.parameters())


def test_a_copy_copies_into_memory_that_is_there() -> None:
    workload = workloads.build(of_file("copy"), 1, CPU, training=False, seed=0)
    target, source = workload.inputs
    assert not torch.equal(target, source)
    place = target.data_ptr()
    with torch.inference_mode():
        output = eagerly(workload, False).call()
    assert output.data_ptr() == place
    assert torch.equal(target, source)


def test_a_product_is_of_square_matrices_an_item() -> None:
    workload = workloads.build(of_file("matmul"), 2, CPU, training=False, seed=0)
    one, other = workload.inputs
    assert one.shape == other.shape == (2, 512, 512)
    with torch.inference_mode():
        output = eagerly(workload, False).call()
    torch.testing.assert_close(output[1], one[1] @ other[1])


def test_there_are_layers_to_test() -> None:
    assert len(LAYERS) >= 20


def test_the_input_has_the_batch_first() -> None:
    workload = built(cls="torch.nn.Linear", args=[4, 3], input_shape=[5, 4], batch_size=7)
    (value,) = workload.inputs
    assert tuple(value.shape) == (7, 5, 4)
    assert workload.shape() == "7x5x4"
    assert value.dtype == torch.float32
    assert not value.requires_grad


def test_several_inputs_are_one_each_or_one_shared() -> None:
    one, two = built(cls="torch.add", input_count=2).inputs
    assert not torch.equal(one, two)
    one, two = built(cls="torch.add", input_count=2, input_shared=True).inputs
    assert one is two
    assert built(cls="torch.add", input_count=2).shape() == "2x4, 2x4"


@pytest.mark.parametrize(
    ("training", "asked", "requires"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_the_input_requires_a_gradient_where_it_is_asked_for_and_trained(
    training: bool, asked: bool, requires: bool
) -> None:
    workload = built(training, cls="torch.nn.Linear", args=[4, 3], input_grad=asked)
    assert workload.inputs[0].requires_grad is requires


def test_indices_are_integers_within_their_range() -> None:
    (value,) = built(
        cls="torch.nn.Embedding", args=[7, 3], input_shape=[1000], input_dtype="int64", input_high=7
    ).inputs
    assert value.dtype == torch.int64
    assert set(value.unique().tolist()) == set(range(7))


def test_indices_never_require_a_gradient() -> None:
    workload = built(
        True, cls="torch.nn.Embedding", args=[7, 3], input_dtype="int64", input_high=7, input_grad=True
    )
    assert not workload.inputs[0].requires_grad


def test_keyword_arguments_go_to_the_constructor_and_to_the_call() -> None:
    workload = built(
        cls="torch.nn.MultiheadAttention",
        args=[4, 2],
        kwargs={"batch_first": True},
        call_kwargs={"need_weights": False},
        input_shape=[3, 4],
        input_count=3,
        input_shared=True,
    )
    output, weights = eagerly(workload, False).call()
    assert tuple(output.shape) == (2, 3, 4)  # batch first
    assert weights is None


def test_a_function_is_called_with_its_arguments() -> None:
    workload = built(cls="torch.nn.functional.leaky_relu", args=[0.5], kwargs={"inplace": False})
    output = eagerly(workload, False).call()
    value = workload.inputs[0]
    assert torch.equal(output, torch.where(value > 0, value, value * 0.5))


def test_a_class_without_dots_is_one_of_torch_nn() -> None:
    assert locate("Conv2d") is nn.Conv2d
    assert locate("torch.nn.Conv2d") is nn.Conv2d
    assert locate("torch.nn.functional.relu") is nn.functional.relu


def test_a_method_is_found_in_its_class() -> None:
    assert locate("torch.Tensor.copy_") is Tensor.copy_


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("torch.nn.Conv2D", "Unknown model.cls 'torch.nn.Conv2D'. Did you mean torch.nn.Conv2d"),
        ("Linaer", "Unknown model.cls 'Linaer'. Did you mean Linear"),
        ("torch.nnn.Conv2d", "model.cls=torch.nnn.Conv2d: cannot import 'torch.nnn' ("),
        ("no_such_package.Layer", "model.cls=no_such_package.Layer: cannot import 'no_such_package' ("),
        ("math.pi", "Unknown model.cls 'math.pi'."),
        ("torch.Tensor.cpy_", "Unknown model.cls 'torch.Tensor.cpy_'. Did you mean torch.Tensor.copy_"),
        ("torch.Tnesor.copy_", "model.cls=torch.Tnesor.copy_: cannot import 'torch.Tnesor' ("),
        ("torch..relu", "model.cls=torch..relu: cannot import 'torch.' ("),
    ],
)
def test_an_unknown_class_is_the_users_mistake(name: str, line: str) -> None:
    with pytest.raises(UserError) as caught:
        built(cls=name)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cls", "args", "kwargs"),
    [
        ("torch.nn.Linear", [], {}),
        ("torch.nn.Linear", [4, 4], {"stride": 1}),
        ("torch.nn.Conv2d", [3, 8, 3], {"groups": 2}),
        ("torch.nn.GELU", [1, 2], {}),
    ],
)
def test_arguments_a_class_does_not_take_are_the_users_mistake(
    cls: str, args: list[Any], kwargs: dict[str, Any]
) -> None:
    with pytest.raises(UserError) as caught:
        built(cls=cls, args=args, kwargs=kwargs)
    assert str(caught.value).startswith(f"{cls} does not take model.args={args} model.kwargs={kwargs}: ")
    assert "\n" not in str(caught.value)


def test_nothing_to_differentiate_is_the_users_mistake_in_training_only() -> None:
    with pytest.raises(UserError, match=r"^mine has no parameters, .*: leave out model\.input_grad=false\.$"):
        built(True, cls="torch.nn.GELU", input_grad=False)
    with pytest.raises(UserError, match=r"^mine has no parameters, .*: indices have no gradient\.$"):
        built(True, cls="torch.nn.Identity", input_dtype="int64", input_high=7)
    assert built(True, cls="torch.nn.GELU", input_grad=True).inputs[0].requires_grad
    assert built(False, cls="torch.nn.GELU").name == "mine"


class Frozen(nn.Linear):
    """A layer whose parameters are not trained."""

    def __init__(self) -> None:
        super().__init__(4, 3)
        self.requires_grad_(False)


@pytest.mark.parametrize("cls", ["torch.nn.ReLU", "torch.nn.functional.gelu", f"{__name__}.Frozen"])
def test_a_layer_with_nothing_to_learn_trains_against_its_input(cls: str) -> None:
    assert built(True, cls=cls).inputs[0].requires_grad
    assert not built(False, cls=cls).inputs[0].requires_grad
    assert not built(True, cls="torch.nn.Linear", args=[4, 3]).inputs[0].requires_grad


def test_an_unknown_type_of_input_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match=r"^Unknown model\.input_dtype 'float23'\. Did you mean float32"):
        built(cls="torch.nn.GELU", input_dtype="float23")


def test_the_seed_decides_weights_and_inputs() -> None:
    def drawn(seed: int) -> list[Tensor]:
        workload = built(cls="torch.nn.Linear", args=[4, 3], seed=seed)
        return [*workload.module.state_dict().values(), *workload.inputs]

    same, again, another = drawn(1), drawn(1), drawn(2)
    assert all(map(torch.equal, same, again))
    assert not any(map(torch.equal, same, another))


def test_ones_give_the_gradient_of_the_outputs_sum() -> None:
    workload = built(True, cls="torch.nn.Conv1d", args=[3, 5, 3], input_shape=[3, 8], input_grad=True)
    learning = [*workload.module.parameters(), *workload.inputs]

    output = eagerly(workload, True).call()
    workload.objective.backward(workload.objective(output))
    found = [tensor.grad for tensor in learning]
    expected = torch.autograd.grad(workload.module(*workload.inputs).sum(), learning)
    for mine, true in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, true)


def test_ones_give_the_gradient_of_the_sum_of_several_outputs() -> None:
    workload = built(True, cls="torch.nn.LSTM", args=[4, 3], kwargs={"batch_first": True}, input_shape=[5, 4])
    learning = list(workload.module.parameters())
    output = eagerly(workload, True).call()
    workload.objective.backward(workload.objective(output))
    out, (hidden, cell) = workload.module(*workload.inputs)
    expected = torch.autograd.grad(out.sum() + hidden.sum() + cell.sum(), learning)
    for tensor, true in zip(learning, expected, strict=True):
        torch.testing.assert_close(tensor.grad, true)


def test_ones_are_made_once_and_the_gradient_stays_the_same() -> None:
    workload = built(True, cls="torch.nn.Linear", args=[4, 3])
    objective = workload.objective
    assert isinstance(objective, OnesGradient)
    gradients = []
    for _ in range(2):
        objective.backward(objective(workload.module(*workload.inputs)))
        gradients.append([parameter.grad for parameter in workload.module.parameters()])
        workload.module.zero_grad(set_to_none=True)
    for first, second in zip(*gradients, strict=True):
        assert first is not second
        torch.testing.assert_close(first, second)


def test_an_output_without_a_gradient_is_left_out() -> None:
    workload = built(
        True, cls="torch.nn.MaxPool1d", args=[2], kwargs={"return_indices": True}, input_grad=True
    )
    values, indices = workload.module(*workload.inputs)
    assert not indices.requires_grad
    workload.objective.backward((values, indices))
    gradient = workload.inputs[0].grad
    assert gradient is not None
    assert sorted(gradient.unique().tolist()) == [0.0, 1.0]  # one for each maximum, none for the others
    assert gradient.sum() == values.numel()


def test_tensors_are_found_in_dictionaries_tuples_and_lists_in_order() -> None:
    a, b, c, d = (torch.full((1,), value) for value in range(4))
    nested = {"a": a, "rest": (b, [None, {"c": c}, "text"], OrderedDict(d=d)), "n": 3}
    found = list(tensors(nested))
    assert [each.item() for each in found] == [0, 1, 2, 3]
    assert all(one is other for one, other in zip(found, (a, b, c, d), strict=True))
    assert [each is a for each in tensors(a)] == [True]
    for nothing in (None, {}, (), [], "text", 3):
        assert list(tensors(nothing)) == []


def test_a_layer_whose_output_is_a_dictionary_trains() -> None:
    workload = built(True, cls=f"{__name__}.Named")
    learning = list(workload.module.parameters())
    for _ in range(2):
        workload.module.zero_grad(set_to_none=True)
        output = eagerly(workload, True).call()
        workload.objective.backward(workload.objective(output))
        out = workload.module(*workload.inputs)["out"]
        expected = torch.autograd.grad(out.sum() + (out * 2).sum() + out.square().sum(), learning)
        for parameter, true in zip(learning, expected, strict=True):
            torch.testing.assert_close(parameter.grad, true)


@pytest.mark.parametrize("kind", ["tensor", "tuple", "dict", "nothing"])
def test_an_output_that_requires_no_gradient_is_the_users_mistake(kind: str) -> None:
    workload = built(True, cls=f"{__name__}.Blind", args=[kind])
    output = eagerly(workload, True).call()
    with pytest.raises(UserError, match=r"requires? (a|no) gradient"):
        workload.objective.backward(workload.objective(output))
