from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import Any

import facade
import pytest
import torch
from torch import Tensor, nn

from microbench import devices, engines
from microbench.config import Config, OptimizerConfig
from microbench.devices import cpu, cuda
from microbench.engines import Answer, Job, eager, libtorch
from microbench.engines.libtorch import build, optimizers, traced
from microbench.engines.libtorch.loop import LoopProgram
from microbench.engines.libtorch.process import Process, ProgramError
from microbench.errors import SkippedError, UserError
from microbench.host.state import denormals_flushed, threads_set
from microbench.modes import infer, train
from microbench.options.compose import from_options
from microbench.system import cgroups
from microbench.system.load import threads
from microbench.system.process import Usage
from microbench.verify.reference import without_dropout
from microbench.worker.failures import is_out_of_memory
from microbench.workloads import Objective, Workload
from microbench.workloads.objectives import CrossEntropy, OnesGradient
from microbench.workloads.optimizer import make_optimizer

MIB = 2**20
PATIENCE = 20  # seconds in which a process has ended for certain

Prepare = Callable[..., LoopProgram]


@pytest.fixture(scope="session", autouse=True)
def program() -> Path:
    """The program, built with the first test where it is not there yet."""
    try:
        return build.program()
    except SkippedError as reason:
        pytest.skip(str(reason))


@pytest.fixture
def prepare() -> Iterator[Prepare]:
    """Makes programs of modules and inputs on one thread; they end with the test."""
    with ExitStack() as stack:
        stack.enter_context(threads_set(1))

        def make(
            module: nn.Module,
            *inputs: Tensor,
            objective: Objective | None = None,
            training: bool = False,
            **options: Any,
        ) -> LoopProgram:
            workload = Workload("tiny", module, inputs, objective or OnesGradient())
            found = engines.prepare(Job(workload, configured(**options), training))
            assert isinstance(found, LoopProgram)
            stack.callback(found.close)
            return found

        yield make


def configured(optimizer: OptimizerConfig | None = None, **options: Any) -> Config:
    """Return a configuration of this engine."""
    given = {"model": "dense", "device": "cpu", "engine": "libtorch", "threads": 1} | options
    config = from_options(given, sweep=False)[0].config
    config.optimizer = optimizer or config.optimizer
    return config


class Net(nn.Module):
    """A convolution, batch normalization and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)
        self.normalization = nn.BatchNorm2d(4)
        self.dense = nn.Linear(4 * 6 * 6, 5)

    def forward(self, images: Tensor) -> Tensor:
        features = torch.relu(self.normalization(self.convolution(images)))
        logits: Tensor = self.dense(features.flatten(1))
        return logits


class Outputs(nn.Module):
    """Several inputs, and outputs in a structure that a test chooses."""

    def __init__(self, arrange: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.dense, self.arrange = nn.Linear(6, 4), arrange

    def forward(self, first: Tensor, second: Tensor) -> Any:
        return self.arrange(self.dense(first), second + 1)


def net() -> tuple[Net, Tensor]:
    torch.manual_seed(0)
    return Net(), torch.randn(2, 3, 6, 6)


def pair() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(3, 6), torch.randn(3, 6)


def by_eager(module: nn.Module, *inputs: Tensor, objective: Objective | None = None) -> Answer:
    """Return eager fp32's answer of a training step if there is an objective, otherwise of a call."""
    training = objective is not None
    workload = Workload("tiny", module, inputs, objective or OnesGradient())
    found = eager.prepare(Job(workload, configured(engine="eager"), training))
    return (train if training else infer).Mode().answer(found)


def assert_same(found: Answer, wanted: Answer, tolerance: float = 1e-5) -> None:
    assert len(found.outputs) == len(wanted.outputs)
    assert len(found.gradients) == len(wanted.gradients)
    for one, other in zip(
        (*found.outputs, *found.gradients), (*wanted.outputs, *wanted.gradients), strict=True
    ):
        torch.testing.assert_close(one.float(), other.float(), atol=tolerance, rtol=tolerance)


def answer_of(found: LoopProgram) -> Answer:
    return found.loop.answer()


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({}, 1e-6),
        ({"precision": "bf16"}, 0.03),
        ({"precision": "fp16"}, 0.005),
        ({"layout": "channels_last"}, 1e-5),
    ],
)
def test_a_call_computes_what_eager_computes(
    options: Mapping[str, str], tolerance: float, prepare: Prepare
) -> None:
    module, images = net()
    wanted = by_eager(module, images)
    found = answer_of(prepare(module, images, **options))
    assert_same(found, wanted, tolerance)
    assert found.outputs[0].dtype == getattr(
        torch, {"bf16": "bfloat16", "fp16": "float16"}.get(options.get("precision", ""), "float32")
    )


@pytest.mark.parametrize("option", ["engine.freeze", "engine.optimize"])
def test_a_frozen_or_optimized_module_computes_the_same(option: str, prepare: Prepare) -> None:
    module, images = net()
    assert_same(answer_of(prepare(module, images, **{option: True})), by_eager(module, images))


@pytest.mark.parametrize(
    "arrange",
    [
        lambda first, second: (first, second),
        lambda first, second: {"b": first, "a": second},
        lambda first, second: {"b": first, "a": [second, None, first + 1], "text": "no tensor"},
        lambda first, second: (first, None),
    ],
    ids=["a tuple", "a dictionary", "nested", "one that is not there"],
)
def test_several_inputs_and_outputs_keep_their_order(
    arrange: Callable[[Tensor, Tensor], Any], prepare: Prepare
) -> None:
    module, inputs = Outputs(arrange), pair()
    assert_same(answer_of(prepare(module, *inputs)), by_eager(module, *inputs))


def test_marks_are_of_python_s_clock_and_in_order(prepare: Prepare) -> None:
    loop = prepare(*net()).loop
    before = time.perf_counter_ns()
    marks = loop.step(3)
    after = time.perf_counter_ns()
    assert len(marks) == 2
    assert before < marks[0] < marks[1] < after


def test_a_burst_is_as_many_samples_one_after_the_other(prepare: Prepare) -> None:
    loop = prepare(*net()).loop
    samples = loop.burst(2, 5)
    flat = [mark for sample in samples for mark in sample]
    assert [len(sample) for sample in samples] == [2] * 5
    assert flat == sorted(flat)


def test_a_sample_is_of_as_many_calls_as_it_says(prepare: Prepare) -> None:
    """A buffer counts the calls; it is an output, too."""

    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        def forward(self, value: Tensor) -> Tensor:
            self.count += value
            return self.count.clone()

    found = prepare(Counter(), torch.ones(1))
    found.loop.step(5)
    found.loop.burst(2, 3)
    assert answer_of(found).outputs[0].item() == libtorch.REHEARSALS["infer"] + 5 + 2 * 3 + 1


def test_an_overwritten_input_is_restored_for_the_check(prepare: Prepare) -> None:
    class Doubled(nn.Module):
        def forward(self, value: Tensor) -> Tensor:
            return value.mul_(2)

    value = torch.ones(3)
    found = prepare(Doubled(), value)
    found.loop.step(4)
    assert answer_of(found).outputs[0].tolist() == [2.0, 2.0, 2.0]
    assert value.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("function", "again"),
    [(torch.relu_, False), (Tensor.copy_, False), (Tensor.add_, True), (Tensor.mul, False)],
)
def test_an_input_counts_as_overwritten_where_calls_go_on_changing_its_values(
    function: Callable[..., Tensor], again: bool, prepare: Prepare
) -> None:
    class Written(nn.Module):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return function(first) if function is torch.relu_ else function(first, second)

    assert prepare(Written(), *(torch.randn(4) for _ in range(2))).overwrites is again


def targets_of(images: Tensor) -> CrossEntropy:
    return CrossEntropy(torch.arange(len(images)), aux_weight=0.3)


@pytest.mark.parametrize(
    ("options", "tolerance"), [({}, 1e-5), ({"precision": "bf16"}, 0.1), ({"layout": "channels_last"}, 1e-4)]
)
def test_a_step_has_the_loss_and_the_gradients_of_the_first_weights_however_many_were_before(
    options: Mapping[str, str], tolerance: float, prepare: Prepare
) -> None:
    module, images = net()
    wanted = by_eager(module, images, objective=targets_of(images))
    fast = OptimizerConfig("sgd", "SGD", lr=0.5)
    found = prepare(module, images, objective=targets_of(images), training=True, optimizer=fast, **options)
    for _ in range(3):
        marks = found.loop.step(1)
        assert len(marks) == 5
        assert marks == sorted(marks)
    assert_same(answer_of(found), wanted, tolerance)


Named = namedtuple("Named", ["logits", "first", "second", "third"])


@pytest.mark.parametrize("extra", [lambda *outputs: outputs, Named], ids=["a tuple", "a named one"])
def test_auxiliary_outputs_add_their_weighted_losses(extra: Callable[..., Any], prepare: Prepare) -> None:
    class Auxiliary(Net):
        def forward(self, images: Tensor) -> Any:
            logits = super().forward(images)
            return extra(logits, None, logits * 2, logits - 1)

    torch.manual_seed(0)
    module, images = Auxiliary(), torch.randn(2, 3, 6, 6)
    wanted = by_eager(module, images, objective=targets_of(images))
    assert_same(answer_of(prepare(module, images, objective=targets_of(images), training=True)), wanted)


def test_a_layer_is_trained_from_ones_and_its_input_has_a_gradient_too(prepare: Prepare) -> None:
    module, (first, second) = Outputs(lambda first, second: (first, [second])), pair()
    first.requires_grad_()
    wanted = by_eager(module, first, second, objective=OnesGradient())
    found = prepare(module, first, second, training=True)
    assert len(found.loop.step(1)) == 4
    assert_same(answer_of(found), wanted)


def test_a_tensor_that_serves_as_several_inputs_stays_one(prepare: Prepare) -> None:
    value = torch.randn(3, 6, requires_grad=True)
    module = Outputs(lambda first, second: first.sum() + second)
    wanted = by_eager(module, value, value, objective=OnesGradient())
    assert_same(answer_of(prepare(module, value, value, training=True)), wanted)


def test_a_parameter_that_serves_twice_stays_one(prepare: Prepare) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
            self.second.weight = self.first.weight

        def forward(self, value: Tensor) -> Any:
            return self.second(torch.tanh(self.first(value)))

    torch.manual_seed(0)
    module, value = Tied(), torch.randn(3, 6)
    wanted = by_eager(module, value, objective=OnesGradient())
    loop = prepare(module, value, training=True, optimizer=OptimizerConfig("sgd", "SGD", lr=0.5)).loop
    loop.step(1)
    for found, before, gradient in zip(loop.weights(), module.parameters(), wanted.gradients, strict=True):
        torch.testing.assert_close(found, before.detach() - 0.5 * gradient)
    assert_same(loop.answer(), wanted)


def test_where_nothing_requires_a_gradient_there_is_nothing_to_train(prepare: Prepare) -> None:
    module = Outputs(lambda first, second: (first + second).detach())
    with pytest.raises(ProgramError, match=r"^nothing in the output requires a gradient"):
        prepare(module, torch.randn(3, 6), torch.randn(3, 4), training=True)


def test_what_has_no_parameters_has_no_update(prepare: Prepare) -> None:
    found = prepare(nn.GELU(), torch.randn(4, requires_grad=True), training=True)
    assert len(found.loop.step(1)) == 4
    assert len(answer_of(found).gradients) == 1


def test_what_drops_values_at_random_drops_none_where_that_is_switched_off(prepare: Prepare) -> None:
    torch.manual_seed(0)
    module, value = nn.Sequential(nn.Linear(50, 50), nn.Dropout(0.5)), torch.randn(4, 50)
    found = prepare(module, value, training=True)
    dropped = answer_of(found)
    with without_dropout(module):
        quiet = answer_of(found)
    assert_same(quiet, by_eager(module[0], value, objective=OnesGradient()))
    assert (dropped.outputs[0] == 0).any()
    assert_same(answer_of(found), dropped)  # drawn from the same seed again


def test_buffers_are_those_from_before_the_tracing(prepare: Prepare) -> None:
    module, images = net()
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    answer_of(prepare(module, images, objective=targets_of(images), training=True))
    assert before
    for name, buffer in module.named_buffers():
        assert torch.equal(buffer, before[name]), name


@pytest.mark.parametrize(
    ("cls", "kwargs"),
    [
        ("SGD", {}),
        ("SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
        ("SGD", {"momentum": 0.5, "dampening": 0.3}),
        ("Adam", {"betas": [0.8, 0.9], "weight_decay": 0.1}),
        ("Adam", {"amsgrad": True, "eps": 1e-3}),
        ("AdamW", {"weight_decay": 0.5}),
        ("AdamW", {"foreach": False}),  # as the C++ API does it
        ("RMSprop", {"alpha": 0.5, "momentum": 0.5, "centered": True}),
        ("Adagrad", {"lr_decay": 0.5, "initial_accumulator_value": 0.1}),
    ],
)
def test_weights_after_some_steps_are_those_of_torch_s_optimizer(
    cls: str, kwargs: dict[str, Any], prepare: Prepare
) -> None:
    config = OptimizerConfig(cls.lower(), cls, lr=0.1, kwargs=kwargs)
    torch.manual_seed(0)
    module, value = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2)), torch.randn(3, 6)
    loop = prepare(module, value, training=True, optimizer=config).loop
    loop.burst(1, 4)
    optimizer = make_optimizer(config, list(module.parameters()))
    for _ in range(4):
        module(value).backward(torch.ones(3, 2))
        optimizer.step()
        optimizer.zero_grad()
    for found, wanted in zip(loop.weights(), module.parameters(), strict=True):
        torch.testing.assert_close(found, wanted.detach())


@pytest.mark.parametrize(
    ("cls", "kwargs", "named"),
    [
        ("Adamax", {}, "optimizer.cls=Adamax"),
        ("SGD", {"maximize": True}, "optimizer.kwargs.maximize=True"),
        ("Adam", {"fused": True}, "optimizer.kwargs.fused=True"),
    ],
)
def test_what_the_cpp_api_does_not_have_of_optimizers_is_named(
    cls: str, kwargs: dict[str, Any], named: str, prepare: Prepare
) -> None:
    config = OptimizerConfig("mine", cls, lr=0.1, kwargs=kwargs)
    with pytest.raises(SkippedError, match="C\\+\\+ API") as caught:
        prepare(nn.Linear(2, 2), torch.ones(1, 2), training=True, optimizer=config)
    assert named in str(caught.value)


def test_what_torch_does_not_take_of_an_optimizer_is_a_mistake() -> None:
    with pytest.raises(UserError, match="does not take"):
        optimizers.options_of(OptimizerConfig("sgd", "SGD", lr=0.1, kwargs={"momentumm": 1}))


@pytest.mark.parametrize("option", ["engine.freeze", "engine.optimize"])
def test_a_frozen_module_cannot_be_trained(option: str, prepare: Prepare) -> None:
    with pytest.raises(SkippedError, match="mode=infer"):
        prepare(nn.Linear(2, 2), torch.ones(1, 2), training=True, **{option: True})


class Untraceable(nn.Module):
    """Does not let itself be traced."""

    def forward(self, value: Tensor) -> Any:
        if torch.jit.is_tracing():
            raise ValueError("not me\nfor a reason")
        return value


def test_a_module_that_works_but_cannot_be_traced_is_skipped(prepare: Prepare) -> None:
    with pytest.raises(
        SkippedError, match=r"^engine=libtorch runs traced modules; this one cannot be traced: not me$"
    ):
        prepare(Untraceable(), torch.ones(1))


def test_a_module_that_does_not_work_fails_as_it_does_without_this_engine(prepare: Prepare) -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        prepare(nn.Linear(2, 2), torch.ones(1, 3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A case as the program reads it, of a dense layer from 2 to 3."""
    config = configured()
    workload = Workload("dense", nn.Linear(2, 3), (torch.ones(1, 2),), OnesGradient())
    settings = libtorch._settings(Job(workload, config, False))
    traced.write(workload, False, tmp_path)
    settings["parameters"] = []
    torch.save(settings, tmp_path / "settings.pt")
    return tmp_path


def test_an_error_within_the_module_is_one_line_that_says_what_is_wrong(program: Path, folder: Path) -> None:
    torch.save({"inputs": [torch.ones(1, 7)]}, folder / "inputs.pt")
    process = Process(program, folder)
    with pytest.raises(
        ProgramError, match=r"^(addmm: )?mat1 and mat2 shapes cannot be multiplied \(1x7 and 2x3\)$"
    ):
        process.ask("load")
    process.close()


def test_a_case_that_cannot_be_read_is_an_error_and_leaves_no_process(program: Path, folder: Path) -> None:
    (folder / "settings.pt").unlink()
    with pytest.raises(ProgramError, match=r"^cannot read .*settings\.pt$"):
        Process(program, folder)


def test_an_operation_that_libtorch_does_not_have_is_named(prepare: Prepare) -> None:
    from torchvision.ops import nms

    class Boxes(nn.Module):
        def forward(self, boxes: Tensor, scores: Tensor) -> Any:
            return nms(boxes, scores, 0.5)

    with pytest.raises(SkippedError, match="torchvision::nms"):
        prepare(Boxes(), torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1))


def test_a_killed_program_is_reported(prepare: Prepare) -> None:
    loop = prepare(nn.Linear(2, 2), torch.ones(1, 2)).loop
    os.kill(loop.pid, signal.SIGKILL)
    with pytest.raises(ProgramError, match=r"^the libtorch program was killed by SIGKILL") as caught:
        loop.step(1)
    assert not is_out_of_memory(caught.value)


def test_a_program_that_the_kernel_killed_is_out_of_memory(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = [3, 4]
    monkeypatch.setattr(cgroups, "oom_kills", lambda: kills.pop(0))
    loop = prepare(nn.Linear(2, 2), torch.ones(1, 2)).loop
    os.kill(loop.pid, signal.SIGKILL)
    with pytest.raises(ProgramError) as caught:
        loop.step(1)
    assert is_out_of_memory(caught.value)


def test_the_program_ends_when_it_is_closed(prepare: Prepare) -> None:
    found = prepare(nn.Linear(2, 2), torch.ones(1, 2))
    found.close()
    assert not Path(f"/proc/{found.loop.pid}").exists()


PARENT = """
import subprocess, sys, time, os
command = [sys.argv[1], sys.argv[2], str(os.getpid())]
child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
os.dup(child.stdin.fileno())
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(600)
"""


def test_the_program_dies_with_its_parent(program: Path, folder: Path) -> None:
    """The parent's end of the pipe is held open here, so that its closing is not what ends the program."""
    held, theirs = os.pipe()
    command = [sys.executable, "-c", PARENT, program, folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pass_fds=[held]) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        stdin = os.open(f"/proc/{child}/fd/0", os.O_WRONLY)
        parent.kill()
    deadline = time.monotonic() + PATIENCE
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(child)
    for descriptor in (stdin, held, theirs):
        os.close(descriptor)


def is_running(pid: int) -> bool:
    """Return whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("flush", [False, True])
def test_denormal_numbers_are_flushed_if_requested(flush: bool, prepare: Prepare) -> None:
    class Half(nn.Module):
        def forward(self, value: Tensor) -> Tensor:
            return value * 0.5

    value = torch.full((8,), 2e-38)
    with denormals_flushed(False):
        found = answer_of(prepare(Half(), value, flush_denormal=flush))
    assert bool((found.outputs[0] == 0).all()) is flush


def test_it_computes_with_the_requested_threads(prepare: Prepare) -> None:
    counts = []
    for number in (1, 4):
        with threads_set(number):
            loop = prepare(nn.GELU(), torch.randn(1_000_000)).loop
        loop.step(1)
        counts.append(len(threads(loop.pid)))
    assert counts[1] - counts[0] >= 3  # OpenMP's, and those of another pool


def test_a_tuned_allocator_keeps_freed_memory(prepare: Prepare) -> None:
    """36 MiB a call are more than glibc keeps by itself; where they lie settles after some calls."""
    faults = []
    for allocator in ("system", "tuned"):
        loop = prepare(nn.ReLU(), torch.ones(9 * MIB), allocator=allocator).loop
        loop.step(20)
        with Usage(loop.pid) as usage:
            loop.step(4)
        faults.append(usage.page_faults)
    assert faults[1] < faults[0] / 10


def test_onednn_can_be_switched_off(prepare: Prepare) -> None:
    """What computes a convolution shows in its last bits."""
    torch.manual_seed(0)
    module, images = nn.Conv2d(64, 64, 3), torch.randn(2, 64, 30, 30)
    wanted, found = [], []
    for enabled in (True, False):
        options = {"device.mkldnn": enabled}
        with torch.inference_mode(), devices.open_device("cpu").prepared(configured(**options)):
            wanted.append(module(images))
        found.append(answer_of(prepare(module, images, **options)).outputs[0])
    if torch.equal(*wanted):
        pytest.skip("here both compute the same bits")
    assert torch.equal(found[0], wanted[0])
    assert torch.equal(found[1], wanted[1])


def test_peak_memory_is_of_the_module_and_what_it_computes(prepare: Prepare) -> None:
    loop = prepare(nn.Linear(4096, 4096), torch.ones(1, 4096)).loop
    loop.step(1)
    peak = loop.peak_memory()
    assert peak is not None
    assert 64 * MIB < peak < 200 * MIB


def test_caches_are_evicted_before_each_sample_by_memory_of_its_own(prepare: Prepare) -> None:
    """A sample then takes the time of rewriting it, which is none of the sample's."""
    loop = prepare(nn.ReLU(), torch.ones(1), **{"measure.cold_cache": True}).loop
    loop.step(1)
    samples = loop.burst(1, 10)
    within = sum(sample[-1] - sample[0] for sample in samples)
    assert samples[-1][-1] - samples[0][0] > 3 * within


# A GPU, without one


def settings_of(device: str, **options: Any) -> dict[str, Any]:
    config = configured(device=device, **options)
    workload = Workload("dense", nn.Linear(2, 3), (torch.ones(1, 2),), OnesGradient())
    return libtorch._settings(Job(workload, config, False))


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", False), ("bf16", False), ("tf32", True)])
def test_a_program_on_a_gpu_is_told_whether_tf32_is_allowed(precision: str, allowed: bool) -> None:
    with facade.installed():
        assert settings_of("cuda", precision=precision)["tf32"] is allowed
    assert settings_of("cpu", precision="fp32")["tf32"] is None


@pytest.mark.parametrize("sync", ["step", "phase", "device"])
def test_cold_caches_of_a_gpu_are_skipped_because_the_fill_would_hide_the_launch(sync: str) -> None:
    line = r"^measure\.cold_cache=true is not possible with engine=libtorch on device=cuda: its program would"
    with facade.installed(), pytest.raises(SkippedError, match=line):
        settings_of("cuda", **{"measure.cold_cache": True, "device.sync": sync})
    assert settings_of("cpu", **{"measure.cold_cache": True})["evict"] > 0


def test_tf32_is_no_format_of_the_cpu(prepare: Prepare) -> None:
    line = r"^engine=libtorch does not support precision=tf32 on device=cpu; it supports fp32, bf16, fp16$"
    with pytest.raises(SkippedError, match=line):
        prepare(nn.Linear(2, 2), torch.ones(1, 2), precision="tf32")


def test_this_process_s_copy_of_the_module_leaves_the_device_before_the_program_has_its_own(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = list[str]()
    ask = Process.ask

    def asked(self: Process, command: str) -> list[int]:
        order.append(command.partition(" ")[0])
        return ask(self, command)

    monkeypatch.setattr(Process, "ask", asked)
    monkeypatch.setattr(cpu.Device, "give_back", lambda self: order.append("given back"))
    monkeypatch.setattr(nn.Linear, "to", lambda self, where: order.append(str(where)))
    prepare(nn.Linear(2, 2), torch.ones(1, 2))
    assert order == ["cpu", "given back", "load"]


@pytest.fixture(scope="module")
def linked() -> Path:
    """The program with torch's libraries for GPUs."""
    libraries = cuda.Device.libraries
    missing = [each for each in libraries if not (build.LIBRARIES / f"lib{each}.so").exists()]
    if missing:
        pytest.skip(f"this torch has no {', '.join(missing)}")
    return build.program(libraries)


@pytest.mark.long
def test_the_program_for_gpus_is_another_one_and_computes_on_the_cpu_too(
    linked: Path, program: Path, folder: Path
) -> None:
    assert linked != program
    process = Process(linked, folder)
    process.ask("load")
    marks = process.ask("sample 2 3")
    assert len(marks) == 6
    assert marks == sorted(marks)
    process.close()


@pytest.mark.long
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_the_program_says_so_in_one_line(linked: Path, folder: Path) -> None:
    settings = torch.load(folder / "settings.pt", weights_only=False)
    torch.save({**settings, "device": "cuda:0", "tf32": False}, folder / "settings.pt")
    with pytest.raises(ProgramError) as caught:
        Process(linked, folder)
    told = str(caught.value)
    assert "\n" not in told
    assert "NVIDIA" in told or "CUDA" in told


TF32 = """
#include <cstdio>

#include "host.h"

int main() {
  for (const bool allowed : {true, false, true}) {
    allow_tf32(allowed);
    const at::Context& context = at::globalContext();
    std::printf("%d %d\\n", context.allowTF32CuBLAS(), context.allowTF32CuDNN());
  }
}
"""


@pytest.mark.long
def test_tf32_is_allowed_to_both_libraries_or_to_none(tmp_path: Path) -> None:
    (tmp_path / "tf32.cpp").write_text(TF32)
    command = [
        str(tmp_path / "tf32.cpp") if word == "program.cpp" else word
        for word in build._command(build._compiler(), ())
    ]
    made = tmp_path / "tf32"
    subprocess.run([*command, f"-I{build.SOURCES}", "-O0", "-o", made], check=True)
    done = subprocess.run([made], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:3] == ["1 1", "0 0", "1 1"]


# The build


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and a program that is built in no time."""
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "program.cpp").write_text("int main() { return 7; }\n")
    monkeypatch.setattr(build, "SOURCES", sources)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every call of the compiler."""
    calls: list[Any] = []
    run = subprocess.run

    def counted(command: Any, **options: Any) -> Any:
        calls.append(command)
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", counted)
    return calls


def test_the_program_is_built_once_for_several_processes(cache: Path, compilations: list[Any]) -> None:
    found: list[Path] = []
    builders = [Thread(target=lambda: found.append(build.program())) for _ in range(3)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert len({*found, build.program()}) == 1
    assert len(compilations) == 1
    assert found[0].is_relative_to(cache)
    assert {path.name for path in found[0].parent.iterdir()} == {"program", "lock"}
    assert subprocess.run([found[0]], check=False).returncode == 7


def test_other_sources_are_another_program(cache: Path) -> None:
    before = build.program()
    (build.SOURCES / "more.h").write_text("// more\n")
    assert build.program() != before
    assert before.exists()


def test_what_the_compiler_says_is_one_line_and_nothing_is_left_in_its_place(cache: Path) -> None:
    (build.SOURCES / "program.cpp").write_text("int main() {\n  return nonsense;\n}\n")
    with pytest.raises(build.BuildError, match=r"program\.cpp:2:\d+: error: .*nonsense") as caught:
        build.program()
    assert "\n" not in str(caught.value)
    assert list(cache.rglob("program")) == []


@pytest.mark.usefixtures("cache")
def test_without_a_compiler_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(SkippedError, match=r"needs the C\+\+ compiler no-such-compiler: `apt install g\+\+`"):
        build.program()


@pytest.mark.usefixtures("cache")
def test_without_torch_s_headers_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "HEADERS", (tmp_path, tmp_path))
    with pytest.raises(SkippedError, match=r"needs torch's C\+\+ headers"):
        build.program()


@pytest.mark.usefixtures("cache")
def test_a_cache_that_cannot_be_written_to_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    with pytest.raises(
        SkippedError, match=r"cannot write to /proc/nowhere/microbench/libtorch/\w+ .*XDG_CACHE"
    ):
        build.program()


class Scaling(nn.Module):
    """Changes its input where it lies, or a copy of it."""

    def __init__(self, on_a_copy: bool) -> None:
        super().__init__()
        self.on_a_copy = on_a_copy

    def forward(self, x: Tensor) -> Tensor:
        return (x.clone() if self.on_a_copy else x).mul_(0.5)


@pytest.mark.parametrize("on_a_copy", [False, True])
def test_a_trace_tells_whether_calls_change_their_inputs(on_a_copy: bool, tmp_path: Path) -> None:
    workload = Workload("scaling", Scaling(on_a_copy).eval(), (torch.ones(2, 3),), OnesGradient())
    (x,) = workload.inputs
    before = x._version
    traced.write(workload, False, tmp_path)
    assert (x._version != before) is not on_a_copy
    assert torch.equal(x, torch.ones(2, 3))
