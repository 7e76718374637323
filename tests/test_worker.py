from __future__ import annotations

import gc
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import FakeDevice
from msgspec import structs
from msgspec.structs import astuple
from packages import importable, install

from microbench import devices, engines, worker, workloads
from microbench.config import Config, PrecisionConfig
from microbench.errors import FailedAt
from microbench.formats import arithmetic
from microbench.host import state
from microbench.measure import warmup
from microbench.measure.sampler import FROZEN_AT_START
from microbench.modes import Trial, train
from microbench.options.compose import from_options
from microbench.records.peaks import Peaks
from microbench.records.progress import Progress
from microbench.records.record import (
    Check,
    Correctness,
    Measured,
    Process,
    Role,
    Status,
    StopReason,
    WarningCode,
)
from microbench.records.summary import summarize
from microbench.schema import with_values
from microbench.system import cpus, machine
from microbench.verify import plausible
from microbench.worker import describe, measure_case
from microbench.worker.failures import explain, is_out_of_memory

QUICK = {"min_time": 0, "max_time": 1, "min_samples": 6, "max_samples": 12, "max_warmup": 0, "min_sample": 0}


@pytest.fixture(autouse=True)
def _short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the warm-up's window to a hundredth of a second: these tests need no settled times."""
    monkeypatch.setattr(warmup, "WINDOW", 0.01)


@cache
def tiny() -> Config:
    """Return a tiny layer on the CPU, measured as briefly as possible."""
    options = {
        "model": "layer",
        "model.cls": "torch.nn.Linear",
        "model.args": [4, 3],
        "model.input_shape": [4],
        "device": "cpu",
        "threads": 1,
        "batch_size": 2,
        "measure": QUICK,
    }
    (case,) = from_options(options, sweep=False)
    return case.config


def config(**options: Any) -> Config:
    """Return the tiny layer with these values at dotted keys; `mode` is short for `mode.name`."""
    values = {"mode.name" if key == "mode" else key: value for key, value in options.items()}
    found: Config = with_values(tiny(), values)
    if "model.cls" in options:
        found.model.name = options["model.cls"].rpartition(".")[2]
    return found


def measured(**options: Any) -> Measured:
    return measure_case(config(**options), lambda progress: None)


@pytest.mark.parametrize(
    ("mode", "phases"),
    [("train", ["forward", "backward", "update", "total"]), ("infer", ["inference"])],
)
def test_a_case_is_measured_from_building_to_its_summary(mode: str, phases: list[str]) -> None:
    found = measured(mode=mode)
    assert (found.outcome.status, found.outcome.error, found.outcome.traceback) == (Status.OK, None, None)
    assert [series.phase for series in found.series] == [*phases, "prepare", "first_call"]
    assert found.outcome.stop_reason in (StopReason.REL_CI, StopReason.MAX_SAMPLES)
    assert found.outcome.params == 4 * 3 + 3
    whole = phases[-1]
    assert [series.phase for series in found.series if series.role is Role.WHOLE] == [whole]
    for series in found.series:
        assert series.summary == summarize(series.samples)
        assert min(series.samples) >= 0


def test_phases_have_the_devices_clock_and_as_many_samples() -> None:
    found = measured(mode="train")
    for series in found.series[:4]:
        assert series.clock == "perf_counter_ns"
        assert 6 <= len(series.samples) <= 12
    assert len({len(series.samples) for series in found.series[:4]}) == 1


def test_preparation_and_the_first_call_are_series_of_one_sample() -> None:
    prepare, first_call = measured().series[-2:]
    assert (prepare.phase, prepare.clock, len(prepare.samples)) == ("prepare", "perf_counter_ns", 1)
    assert (first_call.phase, first_call.clock, len(first_call.samples)) == (
        "first_call",
        "perf_counter_ns",
        1,
    )


def test_preparation_is_timed_in_nanoseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare, read, ahead = engines.prepare, time.perf_counter_ns, [0]

    def slow(*arguments: Any) -> engines.Program:
        ahead[0] += 7_000_000_000
        return prepare(*arguments)

    monkeypatch.setattr(engines, "prepare", slow)
    monkeypatch.setattr(time, "perf_counter_ns", lambda: read() + ahead[0])
    (seconds,) = measured().series[-2].samples
    assert 7 <= seconds < 8


def test_the_capture_of_a_graph_belongs_to_the_preparation(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = train.Mode.experiment

    @contextmanager
    def capturing(*arguments: Any) -> Iterator[Trial]:
        with experiment(*arguments) as trial:
            yield replace(trial, capture=50.0)

    monkeypatch.setattr(train.Mode, "experiment", capturing)
    seconds = {each.phase: each.samples for each in measured(mode="train").series}
    assert 50.0 < seconds["prepare"][0] < 100.0
    assert seconds["first_call"][0] < 50.0


def test_preparation_and_the_first_call_have_the_role_once() -> None:
    assert [(series.phase, series.role) for series in measured().series] == [
        ("inference", Role.WHOLE),
        ("prepare", Role.ONCE),
        ("first_call", Role.ONCE),
    ]


def test_parameters_are_those_of_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = engines.prepare
    monkeypatch.setattr(engines, "prepare", lambda *each: replace(prepare(*each), parameters=[]))
    assert measured(mode="infer").outcome.params == 4 * 3 + 3


def test_the_warm_up_is_kept_with_the_whole_step() -> None:
    series = {each.phase: each for each in measured(mode="train").series}
    assert len(series["total"].warmup) > 0
    assert len(series["forward"].warmup) == len(series["backward"].warmup) == 0


def test_a_step_takes_at_least_the_sum_of_its_phases() -> None:
    series = {each.phase: each.samples for each in measured(mode="train").series}
    parts = zip(series["forward"], series["backward"], series["update"], series["total"], strict=True)
    for forward, backward, update, total in parts:
        assert total == pytest.approx(forward + backward + update, abs=1e-8)


@pytest.mark.parametrize(("asked", "taken"), [(1, 1), (2, 2), (20, 3)])
def test_a_slow_round_of_several_has_few_samples_and_fewer_if_requested(asked: int, taken: int) -> None:
    few = {"measure.rounds": 6, "measure.min_samples": asked, "measure.max_time": 1e-9}
    assert len(measured(**few).series[0].samples) == taken


def test_the_readings_are_those_of_the_process() -> None:
    outcome = measured().outcome
    assert outcome.readings is not None
    for value in (outcome.peak_memory, *astuple(outcome.readings)):
        assert value is None or value >= 0


def test_short_calls_of_inference_are_merged_and_those_of_training_are_not() -> None:
    merged = measured(mode="infer", **{"measure.min_sample": 1e-3})
    assert merged.series[0].calls_per_sample > 1
    of_calls = measured(mode="infer", **{"measure.min_sample": 1e-3, "measure.percentile": 90})
    assert of_calls.series[0].calls_per_sample == 1  # the tail of means over calls is not that of calls
    single = measured(mode="train", **{"measure.min_sample": 1e-3})
    assert single.series[0].calls_per_sample == 1


def test_progress_reports_the_stages_in_order() -> None:
    told: list[Progress] = []
    measure_case(config(), told.append)
    assert [progress.stage for progress in told][:3] == ["build", "prepare", "warmup"]
    assert [None if each.built is None else each.built.inputs for each in told][:2] == [None, "2x4"]


@pytest.fixture
def probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a module whose function `look` records at each call what `seeing` returns."""
    (tmp_path / "probe_of_calls.py").write_text(
        "seen = []\nseeing = None\ndef look(value):\n    seen.append(seeing())\n    return value * 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import probe_of_calls  # type: ignore[import-not-found]

    yield probe_of_calls
    del sys.modules["probe_of_calls"]


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_off_and_frozen_while_warming_up_and_sampling_only(
    enabled: bool, probe: Any
) -> None:
    probe.seeing = lambda: (gc.isenabled(), gc.get_freeze_count() > FROZEN_AT_START)
    (gc.enable if enabled else gc.disable)()
    try:
        found = measured(**{"model.cls": "probe_of_calls.look", "model.args": []})
        assert gc.isenabled() is enabled
    finally:
        gc.enable()
    assert found.outcome.status is Status.OK
    first_call, *quiet, finite = probe.seen
    assert len(quiet) == len(found.series[0].warmup) + len(found.series[0].samples)
    assert len(found.series[0].warmup) > 0
    assert set(quiet) == {(False, True)}
    assert first_call == finite == (enabled, False)
    assert gc.get_freeze_count() == 0


def test_the_threads_are_set_for_the_case_and_restored(probe: Any) -> None:
    before = torch.get_num_threads()
    probe.seeing = torch.get_num_threads
    measured(threads=before + 1, **{"model.cls": "probe_of_calls.look", "model.args": []})
    assert set(probe.seen) == {before + 1}
    assert torch.get_num_threads() == before


def test_an_output_that_is_not_finite_is_a_warning() -> None:
    # The logarithm of a normal number is NaN for every negative one.
    found = measured(**{"model.cls": "torch.log", "model.args": [], "model.input_shape": [64]})
    assert found.outcome.status is Status.OK
    (warning,) = [each for each in found.outcome.warnings if each.code is WarningCode.NON_FINITE]
    assert "NaN or Inf" in warning.message


def test_nan_inputs_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    build = workloads.build

    def with_nan(*arguments: Any) -> workloads.Workload:
        workload = build(*arguments)
        with torch.no_grad():
            workload.inputs[0][0] = torch.nan
        return workload

    monkeypatch.setattr(workloads, "build", with_nan)
    for mode in ("train", "infer"):
        codes = [warning.code for warning in measured(mode=mode).outcome.warnings]
        assert codes.count(WarningCode.NON_FINITE) == 1


def test_finite_outputs_are_no_warning() -> None:
    assert WarningCode.NON_FINITE not in [warning.code for warning in measured(mode="train").outcome.warnings]


def test_a_shape_that_does_not_fit_is_reported_with_the_option_to_check() -> None:
    found = measured(**{"model.input_shape": [5]})
    assert found.outcome.status is Status.ERROR
    assert found.outcome.error is not None
    assert found.outcome.error.startswith("The first call of Linear failed: RuntimeError: ")
    assert found.outcome.error.endswith("(input 2x5: check model.input_shape)")
    assert found.outcome.traceback is not None
    assert found.outcome.traceback.startswith("Traceback ")
    assert found.series == ()


def test_batch_normalization_of_one_value_is_reported_with_the_batch_to_use() -> None:
    norm = {"model.cls": "torch.nn.BatchNorm1d", "model.args": [4], "mode": "train"}
    found = measured(batch_size=1, **norm)
    assert found.outcome.status is Status.ERROR
    assert found.outcome.error == (
        "BatchNorm1d cannot train at batch_size=1: batch normalization needs more than one value per "
        "channel; use batch_size=2 or more"
    )
    assert measured(batch_size=2, **norm).outcome.status is Status.OK


def test_a_users_mistake_is_its_own_message() -> None:
    found = measured(**{"model.cls": "torch.nn.Linaer"})
    assert found.outcome.status is Status.ERROR
    assert found.outcome.error is not None
    assert found.outcome.error.startswith("Unknown model.cls 'torch.nn.Linaer'. Did you mean torch.nn.Linear")


class LibraryError(Exception):
    """An error as ONNX Runtime's are: of no kind that Python has."""


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        (
            "CUDA error: device-side assert triggered",
            "an index may be too large; env_set.CUDA_LAUNCH_BLOCKING=1",
        ),
        ("CUDA error: an illegal memory access was encountered", "env_set.CUDA_LAUNCH_BLOCKING=1"),
        ("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", "env_set.CUDA_LAUNCH_BLOCKING=1"),
    ],
)
def test_after_an_error_of_a_gpu_the_call_can_be_found(message: str, hint: str) -> None:
    for doing in ("the first call of", "running"):
        status, line = explain(RuntimeError(f"{message}\nmore"), config(), doing, None)
        assert status is Status.ERROR
        assert line.endswith(f" Linear failed: RuntimeError: {message}; {hint} shows which call fails")


@pytest.mark.parametrize(("report", "notes"), [("5 of 9 bytes are free.\n|===|", 1), (None, 0)])
def test_the_record_of_a_case_without_memory_says_how_the_devices_is_used(
    report: str | None, notes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise LibraryError("CUDA failure 2: out of memory")

    monkeypatch.setattr(devices.Device, "memory_report", lambda self: report)
    monkeypatch.setattr(engines, "prepare", fail)
    outcome = measured().outcome
    assert outcome.status is Status.OOM
    assert outcome.error == (
        "Preparing Linear ran out of memory: CUDA failure 2: out of memory; lower batch_size"
    )
    assert outcome.traceback is not None
    assert outcome.traceback.count("5 of 9 bytes are free.\n|===|") == notes


def test_memory_that_runs_out_for_real_is_out_of_memory() -> None:
    # 2**50 numbers are more than any address space holds.
    found = measured(**{"model.cls": "torch.relu", "model.args": [], "model.input_shape": [2**50]})
    assert found.outcome.status is Status.OOM
    assert found.outcome.error is not None
    assert found.outcome.error.startswith("Building relu ran out of memory: ")
    assert found.outcome.error.endswith("; lower batch_size")


@pytest.mark.parametrize(
    ("error", "out_of_memory"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate"),
            True,
        ),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"), True),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            True,
        ),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (
            LibraryError(
                "[ONNXRuntimeError] : 6 : bfc_arena.cc:376 Failed to allocate memory for requested buffer"
            ),
            True,
        ),
        (LibraryError("[ONNXRuntimeError] : 1 : FAIL : CUDA failure 2: out of memory ; GPU=0"), True),
        (LibraryError("[ONNXRuntimeError] : 1 : FAIL : a node has no kernel"), False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), False),
        (ValueError("out of memory"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("DefaultCPUAllocator"), False),
    ],
)
def test_out_of_memory_is_distinguished_from_other_errors(error: Exception, out_of_memory: bool) -> None:
    assert is_out_of_memory(error) is out_of_memory
    status, line = explain(error, config(), "running", None)
    assert status is (Status.OOM if out_of_memory else Status.ERROR)
    assert "\n" not in line
    assert line.endswith("; lower batch_size") is out_of_memory


LSTM = {"model.cls": "torch.nn.LSTM", "model.args": [4, 3]}
NO_PRIMITIVE = "could not create a primitive descriptor for the LSTM forward propagation primitive. Run"


def no_primitives(monkeypatch: pytest.MonkeyPatch, *precisions: str, within: str) -> None:
    """Let engines fail in these precisions, as oneDNN does: when they prepare, or when they are called."""
    prepare = engines.prepare

    def fail() -> Any:
        raise RuntimeError(f"{NO_PRIMITIVE}\nwith ONEDNN_VERBOSE=all")

    def failing(job: engines.Job) -> engines.Program:
        program = prepare(job)
        if job.config.precision.name in precisions:
            return replace(program, call=fail) if within == "call" else fail()
        return program

    monkeypatch.setattr(engines, "prepare", failing)


@pytest.mark.parametrize("mode", ["infer", "train"])
@pytest.mark.parametrize("within", ["prepare", "call"])
def test_a_case_that_works_only_in_fp32_is_skipped_with_the_librarys_reason(
    mode: str, within: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_primitives(monkeypatch, "bf16", within=within)
    found = measured(mode=mode, precision=PrecisionConfig("bf16", cast="bfloat16"))
    assert (found.outcome.status, found.series) == (Status.SKIPPED, ())
    assert (
        found.outcome.error
        == f"Linear runs in fp32 but not in precision=bf16 here: RuntimeError: {NO_PRIMITIVE}"
    )


def test_a_dry_run_that_works_only_in_fp32_is_skipped_too(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = torch.nn.Linear.forward

    def only_fp32(self: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
        if x.dtype is not torch.float32:
            raise RuntimeError("no kernel")
        return forward(self, x)

    monkeypatch.setattr(torch.nn.Linear, "forward", only_fp32)
    precision = PrecisionConfig("bf16", cast="bfloat16")
    found = measured(mode="profile", timing=False, precision=precision)
    assert (found.outcome.status, found.outcome.error) == (
        Status.SKIPPED,
        "Linear runs in fp32 but not in precision=bf16 here: RuntimeError: no kernel",
    )


@pytest.mark.parametrize("within", ["prepare", "call"])
def test_a_case_that_fails_in_fp32_too_is_an_error(within: str, monkeypatch: pytest.MonkeyPatch) -> None:
    no_primitives(monkeypatch, "bf16", "fp32", within=within)
    for precision in (PrecisionConfig("fp32"), PrecisionConfig("bf16", cast="bfloat16")):
        found = measured(precision=precision)
        assert found.outcome.status is Status.ERROR
        assert found.outcome.error is not None
        assert NO_PRIMITIVE in found.outcome.error


@pytest.mark.parametrize("mode", ["infer", "train"])
@pytest.mark.parametrize(("name", "type_"), [("amp_bf16", "bfloat16"), ("amp_fp16", "float16")])
def test_a_recurrent_layer_under_autocast_runs_or_is_skipped(name: str, type_: str, mode: str) -> None:
    """oneDNN has 16-bit LSTMs on some CPUs, on some only in inference, and on others none."""
    found = measured(mode=mode, precision=PrecisionConfig(name, autocast=type_), **LSTM)
    assert found.outcome.status in (Status.OK, Status.SKIPPED), found.outcome.error
    if found.outcome.status is Status.SKIPPED:
        assert found.outcome.error is not None
        assert found.outcome.error.startswith(
            f"LSTM runs in fp32 but not in precision={name} here: RuntimeError: "
        )


def test_any_other_error_is_reported_with_the_current_step() -> None:
    status, line = explain(KeyError("x"), config(), "preparing", None)
    assert (status, line) == (Status.ERROR, "Preparing Linear failed: KeyError: 'x'")
    status, line = explain(RuntimeError("a\nb"), config(), "running", None)
    assert (status, line) == (Status.ERROR, "Running Linear failed: RuntimeError: a")


def test_a_batch_that_an_exported_program_is_not_for_is_what_to_change() -> None:
    exported = config(**{"model.file": "net.pt2", "model.name": "net"}, batch_size=100)
    failed = "Guard failed: x.size()[0] <= 64"
    for doing in ("preparing", "the first call of"):
        _, line = explain(AssertionError(failed), exported, doing, None)
        assert line == f"net was not exported for batch_size=100: {failed}; give another batch_size"
    _, line = explain(AssertionError("Guard failed: x.size()[1] <= 64"), exported, "preparing", None)
    assert "batch_size" not in line


def test_a_located_error_is_reported_with_the_layer_and_its_inputs() -> None:
    error = RuntimeError("a\nb")
    error.__cause__ = FailedAt("conv1", "Conv2d", "on input (1, 3)")
    _, line = explain(error, config(), "preparing", None)
    assert line == "Linear failed in conv1 (Conv2d) on input (1, 3): RuntimeError: a; check model.input_shape"


@pytest.mark.parametrize(
    ("doing", "begins"),
    [
        ("building", "Building Linear"),
        ("preparing", "Preparing Linear"),
        ("the first call of", "The first call of Linear"),
        ("running", "Running Linear"),
    ],
)
def test_out_of_memory_is_a_sentence_in_any_step(doing: str, begins: str) -> None:
    for message in ("DefaultCPUAllocator: no", "CUDA error: out of memory"):
        status, line = explain(RuntimeError(f"{message}\nmore"), config(), doing, None)
        assert (status, line) == (Status.OOM, f"{begins} ran out of memory: {message}; lower batch_size")


def test_out_of_memory_without_a_message_is_a_sentence_too() -> None:
    _, line = explain(MemoryError(), config(), "running", None)
    assert line == "Running Linear ran out of memory: MemoryError; lower batch_size"


def test_an_optimizer_that_torch_does_not_have_is_named() -> None:
    found = measured(mode="train", **{"optimizer.cls": "Adamm"})
    assert found.outcome.status is Status.ERROR
    assert found.outcome.error is not None
    assert "Adamm" in found.outcome.error


def test_a_place_is_the_device_and_its_description() -> None:
    place = describe("cpu")
    assert (place.device, place.emulated) == ("cpu", arithmetic.emulated("cpu"))
    assert "cpu_capability" in place.facts


@pytest.fixture
def slow_steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDevice]:
    """Return a device with a fake clock, on which every call takes a quarter of a second."""
    device = FakeDevice()
    monkeypatch.setattr(devices, "open_device", lambda name: device)
    monkeypatch.setattr(worker, "disturbances", lambda *each, **more: ())  # they depend on the machine
    handle = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, inputs: device.clock.advance(0.25)
    )
    yield device
    handle.remove()


def test_a_clock_that_moves_only_with_the_work_gives_its_times(slow_steps: FakeDevice) -> None:
    found = measured(**{"measure.max_time": 100, "measure.max_warmup": 10})
    inference, _, first_call = found.series
    assert inference.samples == [0.25] * 6
    assert inference.warmup == [0.25]  # the first call took as long: a window of its own
    assert (inference.clock, inference.summary) == ("fake", summarize([0.25] * 6))
    assert found.outcome.stop_reason is StopReason.REL_CI
    assert first_call.samples == [0.25]
    assert found.outcome.peak_memory is None
    assert found.outcome.warnings == ()


@pytest.mark.parametrize(("rounds", "samples"), [(1, 6), (2, 3), (6, 3)])
def test_a_slow_case_waits_for_an_interval_in_its_only_round_and_for_less_in_one_of_several(
    rounds: int, samples: int, slow_steps: FakeDevice
) -> None:
    slow = {"measure.max_time": 0.5, "measure.min_time": 100, "measure.rounds": rounds}
    found = measured(**slow)
    assert found.outcome.stop_reason is StopReason.MAX_TIME
    assert found.series[0].samples == [0.25] * samples


@pytest.mark.parametrize(("mode", "whole"), [("infer", "inference"), ("train", "total")])
def test_cold_caches_are_evicted_before_every_step_untimed(
    mode: str, whole: str, slow_steps: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    evicted: list[float] = []

    def evict() -> None:
        evicted.append(slow_steps.clock.now())
        slow_steps.clock.advance(8.0)

    monkeypatch.setattr(FakeDevice, "evictor", lambda self: evict)
    cold = measured(
        mode=mode, **{"measure.cold_cache": True, "measure.min_sample": 100, "measure.max_time": 99}
    )
    times = {each.phase: each for each in cold.series}[whole]
    steps = 1 + len(times.warmup) + len(times.samples)  # including the first call
    assert len(evicted) == steps
    assert set(times.samples) == set(times.warmup) == {0.25}
    assert times.calls_per_sample == 1  # a second call would find the caches warm
    evicted.clear()
    measured(mode=mode, **{"measure.min_sample": 0, "measure.max_time": 99})
    assert evicted == []


def test_the_outcome_has_the_actual_settings_of_the_process() -> None:
    process = measured(threads=2).outcome.process
    assert process.allocator == machine.allocator()
    assert (process.threads, process.cpus) == (2, cpus.text(cpus.usable()))
    assert process.interop_threads == torch.get_num_interop_threads()
    assert (process.flush_denormal, process.input_grad) == (False, False)
    assert process.engine is not None
    assert measured(flush_denormal=True).outcome.process.flush_denormal is True


@pytest.mark.parametrize("where", ["__init__", "forward"])
def test_threads_that_a_module_sets_are_recorded(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "setting_threads.py").write_text(SETTING_THREADS)
    monkeypatch.syspath_prepend(tmp_path)
    before = torch.get_num_threads()
    found = measured(
        threads=2, **{"model.cls": "setting_threads.Layer", "model.args": [where], "model.input_shape": [4]}
    )
    del sys.modules["setting_threads"]
    assert (found.outcome.status, found.outcome.process.threads) == (Status.OK, 1)
    (warning,) = [each for each in found.outcome.warnings if each.code is WarningCode.OTHER_THREADS]
    assert warning.message.startswith("1 ran instead of threads=2: ")
    assert torch.get_num_threads() == before
    codes = [each.code for each in measured(threads=2).outcome.warnings]
    assert WarningCode.OTHER_THREADS not in codes


SETTING_THREADS = """
import torch
from torch import nn


class Layer(nn.Module):
    def __init__(self, where):
        super().__init__()
        self.where = where
        if where == "__init__":
            torch.set_num_threads(1)

    def forward(self, x):
        if self.where == "forward":
            torch.set_num_threads(1)
        return x + 1
"""


def test_threads_of_an_engines_own_library_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = engines.prepare

    def with_threads(*arguments: Any) -> engines.Program:
        program = prepare(*arguments)
        return replace(program, info=replace(program.info, threads=3, interop_threads=5))

    monkeypatch.setattr(engines, "prepare", with_threads)
    found = measured(threads=2)
    assert (found.outcome.process.threads, found.outcome.process.interop_threads) == (3, 5)
    (warning,) = [each for each in found.outcome.warnings if each.code is WarningCode.OTHER_THREADS]
    assert warning.message.startswith("3 ran instead of threads=2: ")  # no interop_threads were requested


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="binds processes to CPUs")
def test_a_case_runs_on_the_requested_cpus(probe: Any) -> None:
    before, one = cpus.usable(), min(cpus.usable())
    probe.seeing = cpus.usable
    found = measured(affinity=[one], **{"model.cls": "probe_of_calls.look", "model.args": []})
    assert found.outcome.process.cpus == str(one)
    assert all(seen == {one} for seen in probe.seen)
    assert cpus.usable() == before


def test_a_missing_cpu_is_the_cases_error() -> None:
    found = measured(affinity=[10_000])
    assert found.outcome.status is Status.ERROR
    assert found.outcome.error is not None
    assert found.outcome.error.startswith("affinity=[10000]: this process may not use CPU 10000")


def test_denormals_are_flushed_for_the_case_and_not_after(probe: Any) -> None:
    probe.seeing = state.flushes_denormals
    measured(flush_denormal=True, **{"model.cls": "probe_of_calls.look", "model.args": []})
    assert set(probe.seen) == {True}
    assert not state.flushes_denormals()


@pytest.mark.parametrize("ending", ["raise SystemExit('bye')", "import pytest; pytest.fail('bye')"])
def test_a_module_that_ends_the_program_when_imported_is_an_error_with_its_message(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ends.py").write_text(ending)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "ends", raising=False)
    found = measured(**{"model.cls": "ends.Layer"})
    assert found.outcome.status == Status.ERROR
    assert found.outcome.error is not None
    assert re.fullmatch(r"Building Layer failed: (SystemExit|Failed): bye", found.outcome.error)


def test_a_case_that_failed_has_the_settings_of_the_process_too() -> None:
    found = measured(threads=2, **{"model.args": [5, 3]})
    assert found.outcome.status is Status.ERROR
    assert found.outcome.process.threads == 2


def test_a_case_that_failed_has_its_inputs_if_it_was_built() -> None:
    assert measured(**{"model.args": [5, 3]}).outcome.inputs == "2x4"
    assert measured(**{"model.args": [4]}).outcome.inputs is None


def test_a_limit_of_the_machine_skips_the_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "set_flush_denormal", lambda mode: False)
    found = measured(flush_denormal=True)
    assert (found.outcome.status, found.series) == (Status.SKIPPED, ())
    assert found.outcome.error == "flush_denormal=true: this CPU cannot treat denormal numbers as zero"
    assert found.outcome.process == Process()  # it did not get that far


def test_a_limit_of_the_engine_skips_the_case_before_anything_is_built() -> None:
    found = measured(**{"engine.name": "export", "mode.name": "train", "model.cls": "torch.nn.NoSuchThing"})
    assert (found.outcome.status, found.outcome.error) == (
        Status.SKIPPED,
        "engine=export does not train: use mode=infer, or engine=eager or compile",
    )


def test_one_off_phases_are_reported_at_once() -> None:
    """A later crash then does not lose it."""
    told: list[Progress] = []
    found = measure_case(config(), told.append)
    handed = {phase: samples for progress in told for phase, samples in progress.samples.items()}
    once = {each.phase: each for each in found.series if each.role is Role.ONCE}
    assert once.keys() == {"prepare", "first_call"} <= handed.keys()
    for phase, series in once.items():
        assert handed[phase].tolist() == series.samples
    assert all(progress.stage != "sample" for progress in told if progress.samples.keys() & once.keys())


CHANGING = """
import torch
from torch import nn

seen = []


class Decay(nn.Module):
    def forward(self, x):
        seen.append(x.detach().clone())
        return x.mul_(0.5).exp()


class Hidden(Decay):
    def forward(self, x):
        seen.append(x.detach().clone())
        x.data.numpy()[...] *= 0.5  # torch's version counter does not see it
        return x + 1


class Settling(Decay):
    def forward(self, x):
        seen.append(x.detach().clone())
        return x.relu_()


class Emptying(Decay):
    def forward(self, x):
        y = x.exp()
        x.zero_()
        return y


class Trained(Decay):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self, x):
        return super().forward(x) * self.weight


class Overwriting(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self, x):
        return x * self.weight.mul_(2)


class Prepared(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.zeros(4))
        self.register_buffer("shape", torch.ones(4, device="meta"))
        self.linear = nn.LazyLinear(4)

    def forward(self, x):
        if not self.table.any():
            self.table.fill_(3)
        return self.linear(x + self.table)


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        return x + self.calls
"""


class TestChanges:
    """Workloads whose calls change their inputs or state."""

    @pytest.fixture
    def changing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
        (tmp_path / "changing.py").write_text(CHANGING)
        monkeypatch.syspath_prepend(tmp_path)
        import changing  # type: ignore[import-not-found]

        yield changing
        del sys.modules["changing"]

    @staticmethod
    def measured(name: str, **options: Any) -> Measured:
        merging = {"measure.min_sample": 1e-3}
        return measured(**{"model.cls": f"changing.{name}", "model.args": [], **merging, **options})

    @pytest.mark.parametrize("name", ["Decay", "Hidden"])
    def test_inputs_are_restored_before_each_timed_call(self, name: str, changing: Any) -> None:
        found = self.measured(name)
        assert (found.outcome.status, found.outcome.error) == (Status.OK, None)
        first, *later = changing.seen
        inference = found.series[0]
        timed = later[2 : 2 + len(inference.warmup) + len(inference.samples)]  # after two that only inspect
        assert len(timed) == len(inference.warmup) + len(inference.samples)
        assert all(torch.equal(each, first) for each in timed)
        assert inference.calls_per_sample == 1
        assert WarningCode.NOT_REPEATABLE not in [each.code for each in found.outcome.warnings]

    def test_inputs_are_restored_before_each_step_of_training(self, changing: Any) -> None:
        found = self.measured("Trained", mode="train")
        assert (found.outcome.status, found.outcome.error) == (Status.OK, None)
        total = {each.phase: each for each in found.series}["total"]
        first, *later = changing.seen
        assert all(torch.equal(each, first) for each in later[: len(total.warmup) + len(total.samples)])

    @pytest.mark.parametrize(("name", "merges"), [("Settling", True), ("Emptying", False)])
    def test_a_call_that_writes_the_same_values_is_left_alone_unless_its_answer_changes(
        self, name: str, merges: bool, changing: Any
    ) -> None:
        found = self.measured(name, **{"measure.min_sample": 0.005})
        assert (found.series[0].calls_per_sample > 1) is merges
        assert WarningCode.NOT_REPEATABLE not in [each.code for each in found.outcome.warnings]

    def test_inputs_that_preparing_has_changed_are_restored_too(
        self, changing: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.measured("Decay")
        first = changing.seen[0]
        changing.seen.clear()
        given: list[torch.Tensor] = []
        prepare = engines.prepare

        def noting(*arguments: Any) -> engines.Program:
            program = prepare(*arguments)
            given.append(program.workload.inputs[0])
            return replace(program, call=lambda: [given.append(given[0].clone()), program.call()][1])

        monkeypatch.setattr(engines, "prepare", noting)
        found = self.measured("Decay", **{"engine.name": "torchscript"})
        assert found.outcome.status is Status.OK
        assert torch.equal(given[1], first)  # of the first call
        assert torch.equal(given[4], first)  # of the warm-up

    def test_a_sample_of_several_calls_says_so(self, changing: Any) -> None:
        found = self.measured("Decay", mode="profile")
        assert (found.outcome.status, found.outcome.error) == (Status.OK, None)
        (warning,) = [each for each in found.outcome.warnings if each.code is WarningCode.NOT_REPEATABLE]
        assert "its calls change their inputs, given back after" in warning.message

    def test_a_loop_that_does_not_restore_inputs_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        prepare = engines.prepare
        monkeypatch.setattr(engines, "prepare", lambda *each: replace(prepare(*each), overwrites=True))
        (warning,) = [each for each in measured().outcome.warnings if each.code is WarningCode.NOT_REPEATABLE]
        assert "its calls change their inputs, and work on other numbers each time" in warning.message

    def test_state_that_inference_changes_is_a_warning(self, changing: Any) -> None:
        (warning,) = [
            each
            for each in self.measured("Counting").outcome.warnings
            if each.code is WarningCode.NOT_REPEATABLE
        ]
        assert "its calls change calls, although they only infer" in warning.message

    def test_state_that_only_the_first_call_makes_is_no_warning(self, changing: Any) -> None:
        found = self.measured("Prepared", verify=False)
        assert (found.outcome.status, found.outcome.error) == (Status.OK, None)
        assert WarningCode.NOT_REPEATABLE not in [each.code for each in found.outcome.warnings]

    def test_running_statistics_may_change_in_training(self) -> None:
        norm = {"model.cls": "torch.nn.BatchNorm1d", "model.args": [4], "mode": "train"}
        assert WarningCode.NOT_REPEATABLE not in [each.code for each in measured(**norm).outcome.warnings]

    def test_an_overwritten_input_that_requires_a_gradient_cannot_train(self) -> None:
        found = measured(
            mode="train", **{"model.cls": "torch.relu_", "model.args": [], "model.input_grad": True}
        )
        assert found.outcome.status is Status.ERROR
        assert found.outcome.error == "relu_ overwrites its input, so it cannot train: use mode=infer."

    def test_an_overwritten_weight_is_not_taken_for_an_input(self, changing: Any) -> None:
        found = self.measured("Overwriting", mode="train")
        assert found.outcome.error == "Overwriting overwrites a weight, so it cannot train: use mode=infer."


class TestAnswer:
    """Cases that compute something other than they should, by an engine of their own."""

    @pytest.fixture(autouse=True)
    def _planted(self, tmp_path: Path) -> Iterator[None]:
        (tmp_path / "scaled.py").write_text(SCALED)
        (tmp_path / "keeping.py").write_text(KEEPING)
        install(tmp_path, "planted", {"engines": {"scaled": "scaled", "keeping": "keeping"}})
        with importable(tmp_path):
            yield

    @pytest.mark.parametrize("mode", ["train", "infer"])
    def test_a_wrong_answer_is_a_mismatch_that_keeps_all_that_was_measured(self, mode: str) -> None:
        found = measured(mode=mode, **{"engine.name": "scaled"})
        assert found.outcome.status == Status.MISMATCH
        assert found.outcome.error is not None
        assert found.outcome.error.startswith("the output is off eager fp32's by 0.05 of its largest value")
        assert found.outcome.check.answer == Correctness.MISMATCH
        assert all(series.summary is not None for series in found.series)
        assert found.outcome.process.engine == "scaled 1.0"

    def test_an_engine_that_computes_nothing_is_implausibly_fast(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        peaks = Peaks(1e6, None, "", "", (), 1e-6)  # so slow that any machine is faster
        monkeypatch.setattr(plausible, "peaks", lambda device: peaks)
        monkeypatch.setattr(plausible, "_reached", lambda device: 1e6)
        wide = {"model.args": [512, 512], "model.input_shape": [512], "batch_size": 32}
        found = measured(**{"engine.name": "keeping"}, **wide)
        assert (found.outcome.status, found.outcome.check.answer) == (Status.OK, Correctness.SAME)
        (warning,) = [each for each in found.outcome.warnings if each.code is WarningCode.IMPLAUSIBLE]
        assert "something was not computed" in warning.message

    def test_eager_mode_that_keeps_its_answer_is_implausibly_fast(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The first call did the work; the work of the others is counted anyway."""
        (tmp_path / "memoizing.py").write_text(MEMOIZING)
        monkeypatch.setattr(plausible, "peaks", lambda device: Peaks(1e6, None, "", "", (), 1e-6))
        monkeypatch.setattr(plausible, "_reached", lambda device: 1e6)
        wide = {"model.args": [512], "model.input_shape": [512], "batch_size": 32}
        found = measured(**{"model.cls": "memoizing.Memoizing"}, **wide)
        assert (found.outcome.status, found.outcome.check.answer) == (Status.OK, Correctness.REFERENCE)
        assert WarningCode.IMPLAUSIBLE in [each.code for each in found.outcome.warnings]

    def test_the_answer_is_checked_only_in_the_first_round(self) -> None:
        case = config(**{"engine.name": "scaled"})
        later = measure_case(case, lambda progress: None, is_first=False)
        assert (later.outcome.status, later.outcome.check.answer) == (Status.OK, None)

    def test_a_check_that_fails_loses_nothing_that_was_measured(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        build, built = workloads.build, []

        def once(*arguments: Any) -> Any:
            if built:
                raise MemoryError
            built.append(True)
            return build(*arguments)

        monkeypatch.setattr(workloads, "build", once)
        found = measured(**{"engine.name": "scaled"})
        assert (found.outcome.status, found.outcome.error, found.outcome.check.answer) == (
            Status.OK,
            None,
            None,
        )
        assert found.series[0].summary is not None
        (warning,) = [each for each in found.outcome.warnings if each.code is WarningCode.UNVERIFIED]
        assert warning.message.startswith(
            "Checking the answer of Linear with engine=scaled ran out of memory"
        )
        assert warning.message.endswith("; verify=false leaves the check out")

    def test_everything_that_was_measured_is_reported_before_the_check(self) -> None:
        told: list[Progress] = []
        found = measure_case(config(**{"engine.name": "scaled"}), told.append)
        before = structs.replace(found.outcome, status=Status.OK, error=None, check=Check())
        assert (told[-1].stage, told[-1].measured) == ("verify", structs.replace(found, outcome=before))


MEMOIZING = """
import time

import torch


class Memoizing(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear, self.known = torch.nn.Linear(width, width), None

    def forward(self, x):
        if self.known is None:
            time.sleep(0.01)  # makes the first call the slow one on any machine
            self.known = self.linear(x)
        return self.known
"""

KEEPING = """
from dataclasses import replace

import torch

from microbench.engines import Program, in_format

TRAINS = True


def prepare(job):
    workload, info = in_format(job)
    with torch.no_grad():
        kept = workload.module(*workload.inputs)
    return Program(workload, lambda: kept, info=info)
"""

SCALED = """
from dataclasses import replace

from microbench.engines import Program, in_format

TRAINS = True


def prepare(job):
    workload, info = in_format(job)
    module = workload.module
    return Program(
        workload,
        lambda: module(*workload.inputs) * 1.05,
        list(module.parameters()),
        info=replace(info, engine="scaled 1.0"),
    )
"""


class OpenedDevice(FakeDevice):
    """A device on another's fake clock; a process first has to make a context on it, which takes a while."""

    has_context = True

    def __init__(self, other: FakeDevice) -> None:
        self.clock = other.clock

    def begin(self) -> None:
        time.sleep(0.01)


def test_making_a_context_is_a_phase_of_its_own_and_comes_before_all_others(
    slow_steps: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, told = OpenedDevice(slow_steps), list[Progress]()
    monkeypatch.setattr(devices, "open_device", lambda name: device)
    found = measure_case(config(**{"measure.max_warmup": 0}), told.append)
    assert found.outcome.status is Status.OK
    context = next(each for each in found.series if each.phase == "context")
    assert (context.role, context.clock, len(context.samples)) == (Role.ONCE, "perf_counter_ns", 1)
    assert context.samples[0] >= 0.01
    assert [each.stage for each in told[:2]] == ["context", "build"]
    assert told[0].samples["context"].tolist() == context.samples


def test_a_device_without_a_context_has_no_such_phase(slow_steps: FakeDevice) -> None:
    assert "context" not in {each.phase for each in measured(**{"measure.max_warmup": 0}).series}
