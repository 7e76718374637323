import io
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

import microbench
from microbench import UserError
from microbench.measure.stopping import StoppingRule
from microbench.profile.timing import Cost, Marking
from microbench.records.peaks import Peaks
from microbench.records.record import BenchmarkWarning, Kind, WarningCode


@pytest.fixture(scope="module", autouse=True)
def _in_a_moment() -> Iterator[None]:
    """Take few samples, with made-up peaks and costs of marks, because measuring them takes seconds."""
    made_up = Peaks(1e12, 2e12, "mm", "mm", ((1024, 1e10),), 1e-7)
    few = StoppingRule(rel_ci=0.5, min_time=0.0, max_time=0.05, min_samples=4, max_samples=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("microbench.profile.stat.peaks", lambda device: made_up)
        free = Marking(Cost(0.0, 0.0), Cost(0.0, 0.0))
        patch.setattr("microbench.profile.stat.marking", lambda clock, device: free)
        patch.setattr("microbench.profile.stat.RULE", few)
        patch.setattr("microbench.profile.stat.LONGEST_WARMUP", 0.05)
        yield


def small() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Dropout(), nn.Linear(5, 2))


def flops(model: nn.Module, inputs: Any) -> int:
    return int(microbench.stat(model, inputs).to_frame()["flops"].sum())


LINEAR = 2 * (2 * 4 - 1 + 1) * 4  # of Linear(4, 4) for a batch of two


class OfDictionaries(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor, name: str = "", *, scale: Tensor | None = None) -> dict[str, Any]:
        return {"out": (self.inner(x), [name]), "scale": scale}


@dataclass
class Batch:
    x: Tensor
    name: str = ""


class OfDataclasses(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, batch: Batch) -> Batch:
        return Batch(self.inner(batch.x))


class OfLists(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, several: list[Tensor]) -> list[Tensor]:
        return [self.inner(each) for each in several]


class TestWhatAModuleTakes:
    def test_a_module_takes_a_tensor(self) -> None:
        assert flops(nn.Linear(4, 4), torch.ones(2, 4)) == LINEAR

    def test_a_module_takes_a_tuple_of_arguments(self) -> None:
        assert flops(OfDictionaries(), (torch.ones(2, 4), "name")) == LINEAR

    def test_a_module_takes_a_dictionary_of_keyword_arguments(self) -> None:
        assert flops(OfDictionaries(), {"x": torch.ones(2, 4), "scale": torch.ones(1)}) == LINEAR

    def test_a_module_takes_a_dataclass(self) -> None:
        frame = microbench.stat(OfDataclasses(), Batch(torch.ones(2, 4))).to_frame(view="tree")
        assert frame["flops"].tolist() == [LINEAR, LINEAR]
        assert frame["in_shape"].tolist() == frame["out_shape"].tolist() == ["(2, 4)", "(2, 4)"]

    def test_a_list_is_one_argument(self) -> None:
        assert flops(OfLists(), [torch.ones(2, 4), torch.ones(2, 4)]) == 2 * LINEAR

    def test_a_shape_gives_normal_inputs_of_the_parameters_type(self) -> None:
        frame = microbench.stat(nn.Linear(4, 4).half(), input_shape=(4,), batch_size=2).to_frame()
        assert frame.loc[0, ["in_shape", "dtype"]].tolist() == ["(2, 4)", "float16"]

    def test_several_shapes_give_several_inputs(self) -> None:
        frame = microbench.stat(nn.Bilinear(3, 4, 5), input_shape=[(1, 3), (1, 4)]).to_frame()
        assert frame.loc[0, "in_shape"] == "(1, 3), (1, 4)"


class Half(nn.Module):
    """Fails half way, in train or eval mode, after changing all the state it can."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(4), nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        self.kept = self.norm(x)
        raise ArithmeticError("half way\nand a second line")


def check_unchanged(model: nn.Module, action: Callable[[], object]) -> None:
    def state() -> Any:
        return (
            {id(each): (each.training, sorted(vars(each))) for each in model.modules()},
            {
                name: (id(each), each.device, each.data_ptr(), each.requires_grad)
                for name, each in model.named_parameters()
            },
            {
                id(each): (dict(each._forward_hooks), dict(each._forward_pre_hooks))
                for each in model.modules()
            },
        )

    def values() -> dict[str, Tensor]:
        gradients = {f"{name}.grad": each.grad for name, each in model.named_parameters()}
        found = {**model.state_dict(), **{name: each for name, each in gradients.items() if each is not None}}
        found |= {f"{id(each)}.state": each.state for each in model.modules() if hasattr(each, "state")}
        return {name: each.clone() for name, each in found.items()}

    before, numbers, call = state(), values(), nn.Module.__call__
    action()
    assert state() == before
    torch.testing.assert_close(values(), numbers, rtol=0, atol=0, equal_nan=True)
    assert nn.Module.__call__ is call


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("timing", [False, True])
def test_a_profile_leaves_the_module_unchanged(timing: bool, training: bool) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout())
    model[1].eval()
    model(torch.randn(3, 4)).sum().backward()
    model[0].register_forward_hook(lambda *_: None)
    check_unchanged(
        model,
        lambda: microbench.stat(
            model, input_shape=(4,), batch_size=3, timing=timing, memory=timing, training=training
        ),
    )


@pytest.mark.parametrize("training", [False, True])
def test_a_failed_profile_leaves_the_module_unchanged(training: bool) -> None:
    model = Half()
    model.drop.eval()

    def fails() -> None:
        with pytest.raises(UserError) as caught:
            microbench.stat(model, input_shape=(4,), batch_size=3, training=training)
        assert str(caught.value).startswith("Half failed on input (3, 4): ArithmeticError: half way (input_")

    check_unchanged(model, fails)


class Renormalizes(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        self.weight.data = torch.renorm(self.weight.data, 2, 0, 0.01)
        return super().forward(x)


class Shrinks(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.weight.mul_(0.5)
        return super().forward(x)


class Clamps(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        with suppress(Exception):
            self.weight.data[0].clamp_(0, 0)
        return super().forward(x)


class Learns(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            super().forward(x).sum().backward()
        torch.optim.SGD(self.parameters(), lr=0.1).step()
        return super().forward(x)


class Merges(nn.Linear):
    merged = False

    def train(self, mode: bool = True) -> "Merges":
        if self.merged == mode:
            self.weight.data += 1.0 if not mode else -1.0
            self.merged = not mode
        return super().train(mode)  # type: ignore[return-value]


class Bounded(nn.Module):
    """Embeddings with a largest norm, which torch scales down in place."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.kept = nn.Embedding(3, 4, max_norm=0.01), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Any:
        return self.kept(self.embedding((x[:, 0] > 0).long()))


def tied() -> nn.Module:
    model = nn.Sequential(Shrinks(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    return model


WRITERS = [Shrinks, Renormalizes, Clamps, Learns, Merges]


@pytest.mark.parametrize("called", ["a copy", "itself"])
@pytest.mark.parametrize(
    "options", [{}, {"memory": True}, {"timing": True}], ids=["dry_run", "memory", "timing"]
)
@pytest.mark.parametrize("build", [*WRITERS, Bounded, tied], ids=lambda build: build.__name__)
def test_a_modules_writes_to_its_parameters_are_undone(
    build: Callable[..., nn.Module],
    options: dict[str, bool],
    called: str,
) -> None:
    model = build(4, 4) if build in WRITERS else build()
    if called == "itself":
        model.lock = Lock()  # which cannot be copied
    if build in WRITERS:
        nn.Linear.forward(model, torch.ones(1, 4)).sum().backward()
    check_unchanged(model, lambda: microbench.stat(model, input_shape=(1, 4), **options))


class Cache:
    """An object with state, like a key-value cache."""

    def __init__(self) -> None:
        self.first: Tensor | None = None
        self.kept: list[Tensor] = []

    def update(self, x: Tensor) -> Tensor:
        self.first = x if self.first is None else self.first
        self.kept.append(x)
        return torch.cat(self.kept)


class Stateful(nn.Module):
    """Stores its results wherever Python allows it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.cache, self.queue, self.nested = Cache(), deque[Tensor](), {"a": list[Tensor]()}

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        self.queue.append(y)
        self.nested["a"].append(y)
        self.cache.update(y)
        assert self.cache.first is not None
        return self.cache.first + 1 if self.cache.first.sum().item() > -1e9 else y


@pytest.mark.parametrize("timing", [False, True])
def test_a_modules_own_objects_are_unchanged_even_if_a_dry_run_is_not_possible(
    timing: bool,
) -> None:
    model = Stateful()
    frame = microbench.stat(model, input_shape=(1, 4), timing=timing).to_frame()
    assert frame["type"].tolist()[0] == "Linear"
    assert (model.cache.first, model.cache.kept, list(model.queue), model.nested) == (None, [], [], {"a": []})


@pytest.mark.parametrize("timing", [False, True])
def test_arguments_are_unchanged(timing: bool) -> None:
    class Uses(nn.Module):
        def forward(self, x: Tensor, cache: Cache) -> Tensor:
            return cache.update(torch.relu_(x))

    x, cache = -torch.ones(2, 4), Cache()
    microbench.stat(Uses(), (x, cache), memory=timing)
    assert (x == -1).all()
    assert (cache.first, cache.kept) == (None, [])


@pytest.mark.parametrize("options", [{}, {"memory": True}, {"training": True, "memory": True}])
def test_an_input_that_is_a_result_is_unchanged(options: dict[str, bool]) -> None:
    class Same(nn.ReLU):
        def forward(self, x: Tensor, y: Tensor, lock: Any) -> Tensor:
            assert x is y
            return super().forward(x)

    x = torch.ones(2, 3, requires_grad=True) - 10
    frame = microbench.stat(Same(inplace=True), (x, x, Lock()), **options).to_frame()
    assert frame["flops"].tolist() == [6]
    assert (x == -9).all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_scripted_module_stays_in_train_mode() -> None:
    model = torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.Dropout()))
    microbench.stat(model, input_shape=(1, 4), training=False)
    assert all(each.training for each in model.modules())


class Draws(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(x) * (1.0 + random.random() + np.random.rand())  # type: ignore[no-any-return]


@pytest.mark.parametrize("wanted", [{}, {"memory": True}, {"timing": True}], ids=str)
def test_random_numbers_continue_as_without_a_profile(wanted: dict[str, bool]) -> None:
    def drawn(action: Callable[[], object]) -> tuple[Any, ...]:
        for seed in (torch.manual_seed, random.seed, np.random.seed):
            seed(0)
        action()
        return torch.rand(1).item(), random.random(), np.random.rand()

    options: dict[str, Any] = {"input_shape": (1, 4), "training": True, **wanted}
    assert drawn(lambda: microbench.stat(Draws(), **options)) == drawn(lambda: None)


def wrapped() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    inner = model.forward
    model.forward = lambda x: inner(x).relu()  # type: ignore[method-assign]
    return model


def holding() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    model[0].twice = lambda x: model[1](model[1](x))  # type: ignore[assignment]
    model[0].forward = lambda x: model[0].twice(x)  # type: ignore[operator]
    return model


ORIGINAL: list[Any] = []


def wrapped_by_a_script() -> nn.Module:
    """Return a model wrapped like one in a notebook, where `original` is a global that no closure shows."""
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    ORIGINAL[:] = [model.forward]
    model.forward = lambda x: ORIGINAL[0](x)  # type: ignore[method-assign]
    return model


def of_steps() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    model.steps = [lambda x: model[0](x), lambda x: model[1](x)]  # type: ignore[assignment]
    model.forward = lambda x: model.steps[1](model.steps[0](x))  # type: ignore
    return model


class NeverCopied(nn.BatchNorm1d):
    def __deepcopy__(self, memo: Any) -> Any:
        return self


def in_common() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), NeverCopied(4))


class Locked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lock, self.linear, self.norm = Lock(), nn.Linear(4, 4), nn.BatchNorm1d(4)
        self.state = torch.ones(1)

    def forward(self, x: Tensor) -> Tensor:
        self.state *= 2
        self.linear.requires_grad_(False)
        return self.norm(self.linear(x))  # type: ignore[no-any-return]


@pytest.mark.parametrize("wanted", [{}, {"memory": True}, {"timing": True}], ids=str)
@pytest.mark.parametrize("make", [wrapped, holding, wrapped_by_a_script, of_steps, in_common, Locked])
def test_a_module_whose_functions_lead_back_to_it_is_left_unchanged(
    make: Callable[[], nn.Module], wanted: dict[str, bool]
) -> None:
    model = make()
    check_unchanged(model, lambda: microbench.stat(model, input_shape=(4,), batch_size=3, **wanted))
    plain = microbench.stat(nn.BatchNorm1d(4), input_shape=(4,), batch_size=3).to_frame()
    frame = microbench.stat(model, input_shape=(4,), batch_size=3, **wanted).to_frame()
    norms = frame[frame["type"].isin(["BatchNorm1d", "NeverCopied"])]
    assert set(norms["flops"]) == set(plain["flops"])  # in eval, as requested


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))
        self.weight.scale = 2.0  # type: ignore[attr-defined]

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight * self.weight.scale  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("wanted", [{}, {"memory": True}, {"timing": True}], ids=str)
def test_parameters_keep_the_attributes_that_the_user_gave_them(wanted: dict[str, bool]) -> None:
    assert microbench.stat(Scaled(), input_shape=(1, 4), **wanted).total.flops == 8


class Appends(nn.Module):
    def forward(self, x: Tensor, cache: list[Tensor]) -> Tensor:
        cache.append(x)
        return torch.cat(cache)


def test_a_module_that_changes_its_arguments_is_profiled_only_by_a_dry_run() -> None:
    cache = [torch.ones(2, 4)]
    assert microbench.stat(Appends(), (torch.ones(2, 4), cache)).to_frame()["out_shape"][0] == "(4, 4)"
    for wanted in ({"memory": True}, {"timing": True}):
        with pytest.raises(
            UserError, match=r"^The module changes its arguments.*leave out timing and memory\.$"
        ):
            microbench.stat(Appends(), (torch.ones(2, 4), cache), **wanted)
    assert len(cache) == 1


class Exhausted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + next(self.parameters())


def test_a_failure_by_an_exhausted_iterator_names_its_layer() -> None:
    with pytest.raises(UserError, match=r"^0 \(Exhausted\) failed on input \(1, 4\): StopIteration"):
        microbench.stat(nn.Sequential(Exhausted()), input_shape=(1, 4))


def test_disturbances_of_the_times_are_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = BenchmarkWarning(WarningCode.FOREIGN_LOAD, "others kept the CPUs busy")
    monkeypatch.setattr("microbench.profile.stat.disturbances", lambda readings, around: iter([busy]))
    assert "warning: others kept the CPUs busy" in str(
        microbench.stat(small(), input_shape=(1, 4), timing=True)
    )
    assert "warning" not in str(microbench.stat(small(), input_shape=(1, 4)))


def test_a_named_tuple_is_one_argument() -> None:
    packed = nn.utils.rnn.pack_padded_sequence(torch.ones(3, 2, 4), torch.tensor([3, 2]))
    frame = microbench.stat(nn.LSTM(4, 5), packed).to_frame()
    assert frame["type"].tolist() == ["LSTM"]


@pytest.mark.parametrize("timing", [False, True])
def test_operators_that_only_count_a_packed_sequence_are_no_calls(timing: bool) -> None:
    class Packs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(4, 5)

        def forward(self, x: Tensor, lengths: Tensor) -> Any:
            return self.gru(nn.utils.rnn.pack_padded_sequence(x, lengths))[1]

    inputs = (torch.ones(6, 3, 4), torch.tensor([6, 4, 2]))
    frame = microbench.stat(Packs(), inputs, memory=timing).to_frame()
    assert frame["type"].tolist() == ["_pack_padded_sequence", "GRU"]


def test_the_batch_size_of_given_inputs_is_unknown() -> None:
    assert microbench.stat(nn.Linear(4, 4), torch.ones(7, 4)).batch_size is None
    assert microbench.stat(nn.Linear(4, 4), input_shape=(4,), batch_size=7).batch_size == 7


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, "Give inputs=TENSORS, or input_shape=SIZES with the batch, such as (1, 3, 224, 224)."),
        ({"inputs": torch.ones(1, 4), "input_shape": (1, 4)}, "Give inputs or input_shape, not both."),
        ({"inputs": torch.ones(1, 3)}, "0 (Linear) failed on input (1, 3): RuntimeError: "),
        ({"inputs": ("a", 3)}, "Sequential failed without a tensor: TypeError: "),
        ({"inputs": torch.ones(1, 4, device="meta")}, "An input is on meta and the module on cpu: move it"),
        ({"input_shape": 4}, "input_shape=4 is not possible: give sizes of at least 1, such as (1, 3, 224"),
        ({"input_shape": (0,)}, "input_shape=(0,) is not possible"),
        (
            {"input_shape": (0,), "batch_size": 2},
            "input_shape=(0,) is not possible: give sizes of at least 1, such as (3, 224, 224) without",
        ),
        ({"input_shape": "44"}, "input_shape='44' is not possible"),
        ({"input_shape": (4,), "batch_size": 0}, "batch_size=0 is not possible: give an integer of at least"),
        ({"input_shape": (1, 4), "device": "cup"}, "Unknown device 'cup'. Did you mean cpu"),
        ({"input_shape": (1, 4), "view": "type"}, "Unknown view 'type'. Did you mean types?"),
        ({"input_shape": (1, 4), "view": None}, "Unknown view 'None'"),
        ({"input_shape": (1, 4), "columns": 3}, "columns=3 is not possible: give names"),
        ({"input_shape": (1, 4), "energy": 5}, "energy=5 is not possible: give a dictionary"),
        ({"input_shape": (1, 4), "energy": {1: 2}}, "Unknown energy constant '1'"),
        (
            {"input_shape": (1, 4), "energy": {"dram": True}},
            "energy.dram=True is not possible: give a number",
        ),
        ({"input_shape": (1, 4), "energy": {"dram": np.ones(2)}}, "energy.dram=[1. 1.] is not possible"),
        (
            {"input_shape": (1, 4), "energy": {"dram": None}},
            "energy.dram=None is not possible: give a number",
        ),
        ({"input_shape": (1, 4), "view": "tree", "depth": "2"}, "depth=2 is not possible: give an integer"),
        (
            {"input_shape": (1, 4), "depth": 1},
            "depth=1 is an option of view=tree; view=calls does not have it",
        ),
        ({"input_shape": (1, 4), "columns": ["flop"]}, "Unknown column 'flop'. Did you mean flops"),
        ({"input_shape": (1, 4), "columns": "~flop"}, "Unknown column 'flop'. Did you mean flops"),
        ({"input_shape": (1, 4), "columns": ["lat"]}, "columns=lat: this profile does not have it; time it"),
        ({"input_shape": (1, 4), "columns": ["mem_peak"]}, "columns=mem_peak: this profile does not have it"),
        (
            {"input_shape": (1, 4), "energy": {"drum": 1.0}},
            "Unknown energy constant 'drum'. Did you mean dram?",
        ),
    ],
)
def test_a_module_that_cannot_be_profiled_is_reported_in_one_line(options: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as caught:
        microbench.stat(small(), **options)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "line"),
    [
        (
            "vgg11",
            'stat takes a torch.nn.Module; for a name, microbench.run("vgg11", mode="profile", timing=F',
        ),
        (nn.Linear, "model must be a torch.nn.Module, not the class Linear."),
        (torch.relu, "model must be a torch.nn.Module, not a builtin_function_or_method."),
        (nn.LazyLinear(3), "The module is lazy, and its shapes are not known yet: call it once first."),
        (
            nn.Sequential(torch.compile(nn.Linear(4, 4))),
            "0 is compiled, and does not run its layers one by one",
        ),
        (
            torch.compile(nn.Linear(4, 4)),
            "A compiled module does not run its layers one by one: profile model._orig_mod",
        ),
    ],
)
def test_a_model_that_is_no_module_or_has_no_layers_is_reported_in_one_line(model: Any, line: str) -> None:
    with pytest.raises(UserError) as caught:
        microbench.stat(model, input_shape=(1, 4))
    assert str(caught.value).startswith(line)


def test_a_module_on_meta_is_profiled_only_by_a_dry_run() -> None:
    model = nn.Linear(4, 4, device="meta")
    assert microbench.stat(model, input_shape=(4,), batch_size=2).total.flops == LINEAR
    with pytest.raises(UserError, match=r"^The module is on meta, where nothing is computed"):
        microbench.stat(model, input_shape=(1, 4), timing=True)


def test_a_module_without_parameters_runs_where_its_inputs_are() -> None:
    x = torch.empty(2, 3, device="meta")
    assert microbench.stat(nn.ReLU(), x).total.flops == 6
    with pytest.raises(UserError, match=r"^The module is on meta, where nothing is computed"):
        microbench.stat(nn.ReLU(), x, timing=True)


class TestElsewhere:
    @pytest.fixture(autouse=True)
    def _on_meta(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("microbench.devices.cpu.Device.torch_device", lambda device: torch.device("meta"))

    def test_inputs_are_drawn_on_the_other_device(self) -> None:
        drawn = []

        class Notes(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                drawn.append(x.device.type)
                return x

        microbench.stat(Notes(), input_shape=(1, 4), device="cpu")
        assert drawn == ["meta"]

    def test_inputs_on_another_device_are_reported_in_one_line(self) -> None:
        with pytest.raises(UserError, match=r"^An input is on cpu and the module on meta: move it there"):
            microbench.stat(nn.ReLU(), torch.ones(2), device="cpu")

    def test_a_copy_of_the_module_is_profiled(self) -> None:
        model = nn.Linear(4, 4)
        check_unchanged(model, lambda: microbench.stat(model, input_shape=(1, 4), device="cpu"))

    def test_a_module_that_cannot_be_copied_to_the_device_is_reported_in_one_line(self) -> None:
        model = nn.Linear(4, 4)
        model.lock = Lock()
        with pytest.raises(UserError, match=r"^The module cannot be copied to meta: move it there with"):
            microbench.stat(model, input_shape=(1, 4), device="cpu")


def test_a_module_on_meta_has_no_values_to_copy_elsewhere() -> None:
    with pytest.raises(UserError, match=r"^The module is on meta, and has no values to copy to cpu"):
        microbench.stat(nn.Linear(4, 4, device="meta"), input_shape=(1, 4), device="cpu")


def test_a_module_that_calls_different_layers_each_time_cannot_be_measured() -> None:
    class Alternates(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.calls = nn.ModuleList([nn.ReLU(), nn.Tanh(), nn.Sigmoid()]), 0

        def forward(self, x: Tensor) -> Any:
            self.calls += 1
            return self.layers[self.calls % 3](x)

    with pytest.raises(UserError, match=r"calls different layers.*from Python, without timing and memory"):
        microbench.stat(Alternates(), input_shape=(1, 4), memory=True)


def test_a_module_that_makes_a_table_in_its_first_call_is_measured_in_later_ones() -> None:
    class Prepares(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.output, self.table = nn.Linear(4, 4), dict[int, Tensor]()

        def forward(self, x: Tensor) -> Tensor:
            if not self.table:
                self.table[0] = torch.arange(4).exp()
            return self.output(x) + self.table[0]

    profile = microbench.stat(Prepares(), input_shape=(1, 4), memory=True)
    assert [row.type for row in profile.rows if row.kind is Kind.FUNCTION] == ["add"]


class Adds(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x)) + x


@pytest.fixture(scope="module")
def timed() -> Any:
    return microbench.stat(Adds(), input_shape=(8,), batch_size=64, timing=True, memory=True)


class TestInFact:
    def test_calls_are_timed_and_the_overhead_is_a_row(self, timed: Any) -> None:
        frame = timed.to_frame()
        assert frame["kind"].tolist() == ["module", "module", "function"]
        assert (frame["lat"] == frame["net_lat"]).all()
        assert frame["net_lat"].sum() + timed.view("calls").overhead.values["lat"] == pytest.approx(
            timed.seconds
        )

    def test_rates_are_counts_divided_by_time(self, timed: Any) -> None:
        frame = timed.to_frame()
        assert frame["flop_rate"].tolist() == pytest.approx((frame["flops"] / frame["lat"]).tolist())
        assert frame["byte_rate"].tolist() == pytest.approx((frame["mem_rw"] / frame["lat"]).tolist())
        assert frame["share"].tolist() == pytest.approx((frame["lat"] / timed.seconds).tolist())

    def test_memory_is_each_calls_allocations(self, timed: Any) -> None:
        assert timed.to_frame()["mem_alloc"].tolist() == [64 * 8 * 4] * 3

    def test_each_call_has_a_bound_from_the_machines_own_peaks(self, timed: Any) -> None:
        frame = timed.to_frame()
        assert set(frame["bound"]) <= {"compute", "memory", "overhead"}
        assert (frame["reached"] > 0).all()
        assert timed.peaks.fp32 == 1e12

    def test_modules_alone_leave_the_operators_time_in_the_overhead(self, timed: Any) -> None:
        alone = microbench.stat(Adds(), input_shape=(1, 8), timing=True, functions=False)
        assert alone.to_frame()["kind"].tolist() == ["module", "module"]
        assert alone.view("calls").overhead.values["lat"] == pytest.approx(
            alone.seconds - alone.to_frame()["net_lat"].sum(), rel=1e-6
        )


def test_a_profile_prints_as_a_table_with_a_total() -> None:
    lines = str(microbench.stat(small(), input_shape=(1, 4), columns=["name", "type", "flops"])).splitlines()
    assert [line.split() for line in lines] == [
        ["name", "type", "FLOP"],
        ["0", "Linear", "40"],
        ["1", "ReLU", "5"],
        ["2", "Dropout", "0"],
        ["3", "Linear", "20"],
        ["total", "65"],
    ]


def test_a_notebook_or_prompt_shows_the_same_table() -> None:
    found = microbench.stat(small(), input_shape=(1, 4))
    assert repr(found) == str(found)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"input_shape": (4, 8)},
            r"on input \(4, 8\): .*\(input_shape is the whole shape, with its batch, unless batch_size is",
        ),
        (
            {"input_shape": (1, 3, 8, 8), "batch_size": 2},
            r"on input \(2, 1, 3, 8, 8\): .*\(input_shape is without the batch, because batch_size is",
        ),
    ],
)
def test_an_error_says_how_the_shape_was_read(options: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line):
        microbench.stat(nn.Conv2d(3, 4, 3), **options)


def test_a_shape_is_whole_unless_a_batch_size_is_given() -> None:
    whole = microbench.stat(nn.Linear(4, 5), input_shape=(3, 4))
    apart = microbench.stat(nn.Linear(4, 5), input_shape=(4,), batch_size=3)
    assert whole.batch_size == apart.batch_size == 3
    assert whole.to_frame().equals(apart.to_frame())


def test_rich_prints_a_profile_as_a_table_too() -> None:
    file = io.StringIO()
    Console(file=file, width=100).print(microbench.stat(small(), input_shape=(1, 4)))
    assert "total" in file.getvalue()
    assert "ProfileTable(" not in file.getvalue()


def test_training_counts_the_backward_pass_and_keeps_no_gradient() -> None:
    model = small()
    frame = microbench.stat(model, input_shape=(4,), batch_size=3, training=True).to_frame()
    forward = dict(zip(frame["name"], frame["flops"], strict=True))
    backward = dict(zip(frame["name"], frame["backward"], strict=True))
    weights = 2 * 3 * 5 * 4 - 5 * 4  # the first layer's weights; its input needs no gradient
    assert backward["0"] == weights + 3 * 5 - 5
    assert forward["0"] == 3 * 5 * (2 * 4 - 1 + 1)
    assert all(parameter.grad is None for parameter in model.parameters())
