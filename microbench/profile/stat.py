"""Profiles any module in this process, and leaves it unchanged."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from microbench import devices
from microbench.analysis.calls import interquartile_mean
from microbench.analysis.profile import Profile
from microbench.errors import FailedAt, UserError, first_line
from microbench.measure import sampler
from microbench.measure.disturbances import disturbances
from microbench.measure.stopping import StoppingRule
from microbench.measure.timer import Timer
from microbench.profile.arguments import Arguments, arguments_of, check, check_layers, home, place_of
from microbench.profile.dry_run import dry_run
from microbench.profile.once import called
from microbench.profile.peaks import peaks
from microbench.profile.power import joules_by_counter
from microbench.profile.study import Study, measure_memory
from microbench.profile.timing import Passes, call_times, marking
from microbench.profile.trace import trace
from microbench.records.record import phase_of_calls
from microbench.system import machine
from microbench.system.sensors import Sensors
from microbench.watch.copy import copied

RULE = StoppingRule(rel_ci=0.02, min_time=0.5, max_time=5.0, min_samples=10, max_samples=10_000, least=3)
LONGEST_WARMUP = 3.0  # seconds


@dataclass(frozen=True)
class Wanted:
    """What to measure: times, memory, and whether it is a training step's forward pass."""

    timing: bool = False
    memory: bool = False
    training: bool = False


def stat(
    model: nn.Module,
    inputs: Any,
    input_shape: Sequence[Any] | None,
    batch_size: int | None,
    device: str | torch.device | None,
    wanted: Wanted,
) -> Profile:
    """Profile a module; see `microbench.stat`.

    Raises:
        UserError: it cannot be profiled, or it fails on these inputs; says what failed and where.
    """
    if isinstance(model, str):
        raise UserError(
            "stat takes a torch.nn.Module; for a name, "
            f'microbench.run("{model}", mode="profile", timing={wanted.timing}).'
        )
    check(model)
    check_layers(model)
    place = place_of(model, inputs) if device is None else usable(device)
    with _random_numbers_kept(place), torch.set_grad_enabled(wanted.training):
        arguments = arguments_of(model, place, inputs, input_shape, batch_size)
        size = None if input_shape is None else next(iter(arguments.args[0].shape), None)
        subject = placed(model, place)
        try:
            found = _profile(subject, arguments, wanted, place)
        except UserError:
            raise
        except Exception as error:
            cause = error.__cause__  # a context manager converts StopIteration to RuntimeError
            raise failure(
                cause if isinstance(cause, StopIteration) else error, _hint(inputs, batch_size)
            ) from error
    return replace(found, name=type(model).__name__, batch_size=size, training=wanted.training)


def _profile(model: nn.Module, arguments: Arguments, wanted: Wanted, place: torch.device) -> Profile:
    training = wanted.training
    if not wanted.timing and not wanted.memory:
        root = dry_run(model, arguments.args, arguments.kwargs, training=training)
        return Profile(Study(root, training).rows())
    device = open_device(place)
    with called(model, arguments.args, arguments.kwargs, training) as (root, call, changes):
        if changes:
            raise UserError(
                "The module changes its arguments, so that each call differs: leave out timing and memory."
            )
        assert root.module is not None
        root = trace(root.module, call)  # of a later call: some modules make tables in their first one
        memory = measure_memory(call, root, device) if wanted.memory else None
        study = Study(root, training, memory=memory)
        return _timed(study, call, device) if wanted.timing else Profile(study.rows())


def _timed(study: Study, call: Callable[[], Any], device: devices.Device) -> Profile:
    phase = phase_of_calls(study.training)
    experiment, timer = Passes(call, study.root, phase).experiment(), Timer(device.clock)
    with sampler.quiet_gc():
        sampler.run_warmup(experiment, timer, LONGEST_WARMUP)
        with Sensors() as sensors:
            sampled = sampler.sample(experiment, timer, RULE, 1, lambda progress: None)
    readings = sensors.readings(sampled.calls * experiment.runs)
    surroundings = sensors.surroundings(torch.get_num_threads(), machine.allocator())
    times = call_times(study.root, sampled.inner, marking(device.clock, device.torch_device()))
    seconds = interquartile_mean(sampled.samples[phase])
    return Profile(
        replace(study, times=times).rows(),
        seconds=seconds,
        peaks=peaks(device),
        joules=joules_by_counter(call, device, seconds),
        warnings=[each.message for each in disturbances(readings, surroundings)],
    )


@contextmanager
def _random_numbers_kept(place: torch.device) -> Iterator[None]:
    """Restore the random number generators of torch (of the CPU and the device), Python and NumPy."""
    indices, kind = ([], "cpu") if place.index is None else ([place.index], place.type)
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=indices, device_type=kind):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def open_device(place: torch.device) -> devices.Device:
    """Return the device to measure on.

    Raises:
        UserError: nothing can be measured there.
    """
    if place.type == "meta":
        raise UserError("The module is on meta, where nothing is computed: leave out timing and memory.")
    device = devices.open_device(place.type)
    if place != device.torch_device():
        raise UserError(
            f"The module is on {place}, but measurements run on {device.torch_device()}: make {place} "
            f"torch's current device, or give device={place.type!r}."
        )
    return device


def usable(device: str | torch.device) -> torch.device:
    """Return torch's device of a name.

    Raises:
        UserError: there is no such device here.
    """
    name, _, index = str(device).partition(":")
    found = devices.open_device(name).torch_device()
    if index and index != str(found.index):
        raise UserError(
            f"device={device}: only the current device, {found}, can be measured: give device={name!r}."
        )
    return found


def placed(model: nn.Module, place: torch.device) -> nn.Module:
    """Return the module, or a copy of it on another device.

    Raises:
        UserError: it cannot be copied there.
    """
    at = home(model)
    if at is None or at == place:
        return model
    if at.type == "meta":
        raise UserError(f"The module is on meta, and has no values to copy to {place}: leave out device.")
    try:
        return copied(model).to(place)
    except Exception as error:
        raise UserError(
            f"The module cannot be copied to {place}: move it there with model.to({str(place)!r}), and leave "
            f"out device ({type(error).__name__}: {first_line(error)})."
        ) from error


def _hint(inputs: Any, batch_size: int | None) -> str:
    """Return a hint at what the user may have meant."""
    if inputs is None and batch_size is None:
        return " (input_shape is the whole shape, with its batch, unless batch_size is given)"
    if inputs is None:
        return " (input_shape is without the batch, because batch_size is given)"
    if isinstance(inputs, Mapping):
        return " (a dictionary is taken for keyword arguments: give ({...},) for one argument)"
    return ""


def failure(error: Exception, hint: str = "") -> UserError:
    """Return the one-line error: what failed, where, on what input, and a hint."""
    message = f"{type(error).__name__}: {first_line(error)}"
    if not isinstance(error.__cause__, FailedAt):
        return UserError(f"The profile failed: {message}")
    return UserError(f"{error.__cause__} failed {error.__cause__.given}: {message}{hint}")
