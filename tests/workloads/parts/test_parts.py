"""One layer of a model as a workload of its own: `model.part`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from microbench import workloads
from microbench.config import ModelConfig
from microbench.errors import UserError
from microbench.workloads import Workload
from microbench.workloads import layer as layers

CPU = torch.device("cpu")


class Twice(nn.Module):
    """Calls one activation in place on two shapes, and a layer with more than tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Linear(8, 4)
        self.unused = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Any:
        return self.relu(self.second(self.relu(self.first(x))))


class Joined(nn.Module):
    """Its layer takes a list, a flag by name and an index."""

    class Join(nn.Module):
        def forward(self, parts: Sequence[Tensor], rows: Tensor, *, scaled: bool) -> Tensor:
            joined = torch.cat([*parts], 1)[rows]
            return 2 * joined if scaled else joined

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.join = nn.Linear(3, 2), nn.Linear(3, 4), Joined.Join()

    def forward(self, x: Tensor) -> Any:
        rows = torch.arange(len(x)).flip(0)
        return self.join([self.left(x), self.right(x)], rows, scaled=True)


class Decides(nn.Module):
    """Which layer it calls depends on its input's values."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = nn.Linear(3, 2), nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Any:
        return self.high(x) if x.abs().sum().item() >= 0 else self.low(x)


class Halves(nn.Module):
    """Overwrites its input, and has no option not to."""

    def forward(self, x: Tensor) -> Any:
        return x.mul_(0.5)


class Halved(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.halves = nn.Linear(3, 3), Halves()

    def forward(self, x: Tensor) -> Any:
        return self.halves(self.first(x))


class Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool, self.last = nn.MaxPool1d(2), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Any:
        return self.last(self.pool(x))


class Looks(nn.Module):
    """Looks up its input, which is indices, and positions of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(50, 4), nn.Embedding(9, 4)

    def forward(self, x: Tensor) -> Any:
        return self.words(x) + self.places(torch.arange(x.shape[1]))


@pytest.fixture(autouse=True)
def _mine(monkeypatch: pytest.MonkeyPatch) -> None:
    """These modules as a user's own."""
    module = ModuleType("parts_of_mine")
    for each in (Twice, Joined, Decides, Halved, Pooled, Looks):
        setattr(module, each.__name__, each)
    monkeypatch.setitem(sys.modules, "parts_of_mine", module)


def layer(name: str, shape: list[int], part: str, training: bool = True, **more: object) -> Workload:
    config = ModelConfig("layer", name, f"parts_of_mine.{name}", input_shape=shape, part=part, **more)  # type: ignore[arg-type]
    return workloads.build(config, 2, CPU, training, 0)


def model(name: str, part: str | None, training: bool = True, seed: int = 0) -> Workload:
    config = ModelConfig("torchvision", name, input_shape=[3, 64, 64], num_classes=10, part=part)
    return workloads.build(config, 2, CPU, training, seed)


def test_a_part_is_the_models_own_layer_on_inputs_of_the_shape_that_it_is_called_with() -> None:
    whole = model("resnet18", None)
    given: list[torch.Size] = []
    target = whole.module.get_submodule("layer2.0.conv2")
    target.register_forward_hook(lambda module, inputs, output: given.append(inputs[0].shape))
    whole.module(*whole.inputs)

    part = model("resnet18", "layer2.0.conv2")

    assert [each.shape for each in part.inputs] == given
    assert repr(part.module) == repr(target)
    assert part.name == "resnet18 layer2.0.conv2"
    assert not part.objective.is_loss
    assert not torch.equal(part.module.weight, torch.zeros_like(part.module.weight))  # type: ignore[arg-type]


def test_all_of_a_parts_output_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compared of a detector's boxes says little of the images' features."""
    whole = layers.build
    monkeypatch.setattr(layers, "build", lambda *given: replace(whole(*given), compared=lambda output: []))
    assert layer("Twice", [6], "first").compared is None


def test_weights_are_drawn_from_the_distribution_of_the_models_own() -> None:
    """VGG draws its classifier's from a normal distribution of 0.01, unlike torch's linear layers."""
    part = model("vgg11", "classifier.3", training=False)
    assert part.module.weight.std().item() == pytest.approx(0.01, rel=0.01)  # type: ignore[operator]
    assert not part.module.bias.any()  # type: ignore[operator]


def test_the_seed_decides_weights_and_inputs() -> None:
    def drawn(seed: int) -> list[Tensor]:
        part = model("resnet18", "layer1.0.conv1", seed=seed)
        return [part.module.weight, *part.inputs]  # type: ignore[list-item]

    same, again, another = drawn(1), drawn(1), drawn(2)
    assert all(map(torch.equal, same, again))
    assert not any(map(torch.equal, same, another))


def test_inputs_require_a_gradient_where_they_do_in_the_model() -> None:
    assert [each.requires_grad for each in model("resnet18", "conv1").inputs] == [False]
    assert [each.requires_grad for each in model("resnet18", "bn1").inputs] == [True]
    assert [each.requires_grad for each in model("resnet18", "bn1", training=False).inputs] == [False]


def test_the_models_input_is_given_to_the_part_that_takes_it() -> None:
    assert torch.equal(*model("resnet18", "conv1").inputs, *model("resnet18", "").inputs)


def test_a_container_is_a_part_too() -> None:
    part = model("resnet18", "layer2.0")
    assert part.shape() == "2x64x16x16"
    assert part.module(*part.inputs).shape == (2, 128, 8, 8)


def test_calls_of_one_module_are_distinguished_by_their_number() -> None:
    assert layer("Twice", [6], "relu").shape() == "2x8"
    assert layer("Twice", [6], "relu:0").shape() == "2x8"
    assert layer("Twice", [6], "relu:1").shape() == "2x4"


@pytest.mark.parametrize("training", [True, False])
def test_an_activation_that_works_in_place_leaves_its_input_as_it_is(training: bool) -> None:
    part = layer("Twice", [6], "relu", training)
    before = [each.detach().clone() for each in part.inputs]
    output = part.objective(part.module(*part.inputs))
    assert torch.equal(output, functional.relu(before[0]))
    assert torch.equal(*part.inputs, *before)
    if training:
        part.objective.backward(output)
        assert torch.equal(part.inputs[0].grad, (before[0] > 0).float())  # type: ignore[arg-type]


def test_arguments_that_are_no_tensors_are_given_as_the_model_gives_them() -> None:
    part = layer("Joined", [3], "join")
    left, right, rows = part.inputs
    assert part.shape() == "2x2, 2x4, 2"
    assert [each.requires_grad for each in part.inputs] == [True, True, False]
    assert torch.equal(rows, torch.tensor([1, 0]))  # indices have the model's values
    assert torch.equal(part.module(*part.inputs), 2 * torch.cat([left, right], 1).flip(0))


def test_a_tensor_that_is_given_several_times_is_one() -> None:
    config = ModelConfig(
        "torchvision",
        "vit_b_16",
        input_shape=[3, 32, 32],
        kwargs={"image_size": 32},
        part="encoder.layers.encoder_layer_0.self_attention",
    )
    part = workloads.build(config, 1, CPU, False, 0)
    query, key, value = part.inputs
    assert query is key is value
    output, weights = part.module(*part.inputs)
    assert output.shape == query.shape
    assert weights is None  # the model asks for none


def test_strides_are_those_of_the_model() -> None:
    """Swin normalizes what it has permuted from a convolution."""
    config = ModelConfig("torchvision", "swin_t", input_shape=[3, 64, 64], part="features.0.2")
    (given,) = workloads.build(config, 2, CPU, True, 0).inputs
    assert given.shape == (2, 16, 16, 96)
    assert given.stride() == (16 * 16 * 96, 16, 1, 16 * 16)


def test_what_a_models_values_decide_is_found_by_computing() -> None:
    assert layer("Decides", [3], "high").module(torch.ones(1, 3)).shape == (1, 5)
    with pytest.raises(UserError, match=r"Unknown model\.part of Decides 'low'"):
        layer("Decides", [3], "low")


def test_indices_stay_in_their_range() -> None:
    for part, largest in (("words", 50), ("places", 9)):
        built = layer("Looks", [9], part, input_dtype="int64", input_high=50)
        assert built.inputs[0].dtype == torch.int64
        assert built.inputs[0].max() < largest
        assert len({*built.inputs[0].flatten().tolist()}) > 3
        built.module(*built.inputs)


MISTAKES = {
    "layer1.0.conv9": r"^Unknown model\.part of resnet18 'layer1\.0\.conv9'\. Did you mean layer1\.0\.conv",
    "conv1:1": r"^model\.part=conv1:1: resnet18 calls conv1 once: give conv1\.$",
    "layer1.0.relu:7": r"calls layer1\.0\.relu 2 times: give layer1\.0\.relu for its first call, to "
    r"layer1\.0\.relu:1\.$",
    "conv1:x": r"calls conv1 once: give conv1\.$",
}


@pytest.mark.parametrize("part", MISTAKES)
def test_a_part_that_is_not_there_is_answered_in_one_line(part: str) -> None:
    with pytest.raises(UserError, match=MISTAKES[part]) as told:
        model("resnet18", part)
    assert "\n" not in str(told.value)


def test_a_module_that_is_never_called_is_no_part() -> None:
    with pytest.raises(UserError, match=r"Unknown model\.part of Twice 'unused'"):
        layer("Twice", [6], "unused")


def test_a_part_without_anything_to_train_says_so_and_infers() -> None:
    with pytest.raises(
        UserError, match=r"^Pooled pool cannot train: it has no parameters, and nothing before"
    ):
        layer("Pooled", [4], "pool")
    assert layer("Pooled", [4], "pool", training=False).shape() == "2x4"


def test_a_part_that_always_overwrites_its_input_only_infers() -> None:
    with pytest.raises(UserError, match=r"^Halved halves overwrites its input, so it cannot train by itself"):
        layer("Halved", [3], "halves")
    assert layer("Halved", [3], "halves", training=False).shape() == "2x3"


def test_a_model_that_fails_on_its_input_fails_as_it_does_itself() -> None:
    config = ModelConfig("torchvision", "alexnet", input_shape=[3, 8, 8], part="classifier.1")
    with pytest.raises(RuntimeError, match="Output size is too small"):
        workloads.build(config, 2, CPU, True, 0)
