"""Profiles any module in this process, and leaves it as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from microbench import devices
from microbench.errors import FailedAt, UserError, first_line
from microbench.measure import sampler
from microbench.measure.stopping import StoppingRule
from microbench.profile.arguments import Arguments, arguments_of, check, home
from microbench.profile.paper import double, doubled, left_as_it_was, trace_on_paper
from microbench.profile.peaks import peaks
from microbench.profile.power import joules_per_call
from microbench.profile.study import Study, measure_memory, phase_of
from microbench.profile.timing import Passes, call_times, marking
from microbench.profile.tracing import trace
from microbench.results.profile import Profile
from microbench.results.typical import interquartile_mean

RULE = StoppingRule(rel_ci=0.02, min_time=0.5, max_time=5.0, min_samples=10, max_samples=10_000)
LONGEST_WARMUP = 3.0  # seconds


@dataclass(frozen=True)
class Wanted:
    """What is to be found out: times, memory, and whether of a training step's forward pass."""

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
    """The profile of a module; see `microbench.stat`.

    Raises:
        UserError: it cannot be profiled, or it fails on these inputs; what failed where.
    """
    check(model)
    stand_in = placed(model, device)
    size = None if input_shape is None else batch_size or 1
    with torch.random.fork_rng(devices=[]):
        arguments = doubled(arguments_of(stand_in, inputs, input_shape, batch_size))
        with left_as_it_was(stand_in), torch.set_grad_enabled(wanted.training):
            found = _profiled(stand_in, arguments, wanted, _hint(inputs))
    return replace(found, name=type(model).__name__, batch_size=size, training=wanted.training)


def _profiled(model: nn.Module, arguments: Arguments, wanted: Wanted, hint: str) -> Profile:
    try:
        if any(each.training != wanted.training for each in model.modules()):
            model.train(wanted.training)
        return _profile(model, arguments, wanted)
    except UserError:
        raise
    except Exception as error:
        raise failure(error, hint) from error


def _profile(model: nn.Module, arguments: Arguments, wanted: Wanted) -> Profile:
    def call() -> Any:
        return model(*arguments.args, **arguments.kwargs)

    if not wanted.timing and not wanted.memory:
        return Profile(Study(trace_on_paper(model, arguments.args, arguments.kwargs), wanted.training).rows())
    device = open_device(home(model))
    root = trace(model, call)
    memory = measure_memory(call, root, device) if wanted.memory else None
    if not wanted.timing:
        return Profile(Study(root, wanted.training, memory=memory).rows())
    phase = phase_of(wanted.training)
    sampled = _sampled(Passes(call, root, phase), device)
    times = call_times(root, sampled.inner, marking(device.clock, device.torch_device()))
    return Profile(
        Study(root, wanted.training, times, memory).rows(),
        seconds=interquartile_mean(sampled.samples[phase]),
        peaks=peaks(device),
        joules=joules_per_call(call, device),
    )


def open_device(place: torch.device | None) -> devices.Device:
    """The device that a module runs on.

    Raises:
        UserError: nothing can be measured there.
    """
    if place is None:
        return devices.open_device("cpu")
    if place.type == "meta":
        raise UserError("The module is on meta, where nothing is computed: leave out timing and memory.")
    device = devices.open_device(place.type)
    if place != device.torch_device():
        raise UserError(
            f"The module is on {place}, and measured is on {device.torch_device()}: make {place} torch's "
            f"current device, or give device={place.type!r}."
        )
    return device


def placed(model: nn.Module, device: str | torch.device | None) -> nn.Module:
    """A double of the module, or a copy of it where that is to be elsewhere.

    Raises:
        UserError: there is no such device here.
    """
    if device is None:
        return double(model)
    name, _, index = str(device).partition(":")
    usable = devices.open_device(name).torch_device()
    if index and index != str(usable.index):
        raise UserError(f"device={device}: measured is on {usable}: give device={name!r}.")
    return double(model) if usable == home(model) else deepcopy(model).to(usable)


def _sampled(passes: Passes, device: devices.Device) -> sampler.Sampled:
    experiment = passes.experiment()
    with sampler.quiet_gc():
        sampler.heat(experiment, device.clock, LONGEST_WARMUP)
        return sampler.sample(experiment, device.clock, RULE, 1, lambda progress: None)


def _hint(inputs: Any) -> str:
    """What a user may have meant otherwise."""
    if inputs is None:
        return " (input_shape is without the batch, which batch_size gives)"
    if isinstance(inputs, Mapping):
        return " (a dictionary is taken for keyword arguments: give ({...},) for one argument)"
    return ""


def failure(error: Exception, hint: str = "") -> UserError:
    """What failed, where, and on what, and a hint: one line."""
    message = f"{type(error).__name__}: {first_line(error)}"
    if not isinstance(error.__cause__, FailedAt):
        return UserError(f"The profile failed: {message}")
    return UserError(f"{error.__cause__} failed {error.__cause__.given}: {message}{hint}")
