"""Profiles any module in this process, and leaves it as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from microbench import devices
from microbench.errors import UserError, first_line
from microbench.measure import sampler
from microbench.measure.stopping import StoppingRule
from microbench.profile.calls import Call
from microbench.profile.paper import double, doubled, left_as_it_was, trace_on_paper
from microbench.profile.peaks import peaks
from microbench.profile.power import joules_per_call
from microbench.profile.study import Study, measure_memory, phase_of
from microbench.profile.timing import Passes, call_times, marking
from microbench.profile.tracing import FailedAt, trace
from microbench.results.profile import Profile
from microbench.results.typical import interquartile_mean
from microbench.workloads import tensors

RULE = StoppingRule(rel_ci=0.02, min_time=0.5, max_time=5.0, min_samples=10, max_samples=10_000)
LONGEST_WARMUP = 3.0  # seconds


@dataclass(frozen=True)
class Arguments:
    """What a module is called with."""

    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


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


def check(model: Any) -> None:
    """Refuse what is no module, or none whose layers run one by one.

    Raises:
        UserError: it is one of these.
    """
    if not isinstance(model, nn.Module):
        raise UserError(f"model must be a torch.nn.Module, not {_kind(model)}.")
    if hasattr(model, "_orig_mod"):
        raise UserError("A compiled module runs no layers one by one: profile the original, model._orig_mod.")
    for name, each in model.named_modules():
        if hasattr(each, "_orig_mod") or each._compiled_call_impl is not None:
            raise UserError(
                f"{name or 'The module'} is compiled, and runs no layers one by one: profile the model as it "
                "was before."
            )
    if any(is_lazy(parameter) for parameter in model.parameters()):
        raise UserError("The module is lazy, and its shapes are not known yet: call it once before.")


def _kind(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


def home(model: nn.Module) -> torch.device | None:
    """Where a module's parameters and buffers are; None where it has none."""
    first = next((*model.parameters(), *model.buffers()).__iter__(), None)
    return None if first is None else first.device


def arguments_of(
    model: nn.Module, inputs: Any, input_shape: Sequence[Any] | None, batch_size: int | None
) -> Arguments:
    """What to call the module with: inputs that are given, or standard normal ones of a shape.

    Raises:
        UserError: neither is given, or both, or they are not where the module is.
    """
    if (inputs is None) == (input_shape is None):
        raise UserError("Give inputs=TENSORS, or input_shape=SIZES without the batch, such as (3, 224, 224).")
    if inputs is None:
        return Arguments(_drawn(model, input_shape, 1 if batch_size is None else batch_size))
    if batch_size is not None:
        raise UserError("batch_size is for input_shape: inputs have one of their own.")
    found = (
        Arguments(inputs)
        if type(inputs) is tuple  # a named one, such as a PackedSequence, is one argument
        else Arguments(kwargs=inputs)
        if isinstance(inputs, Mapping) and all(isinstance(key, str) for key in inputs)
        else Arguments((inputs,))
    )
    place = home(model)
    for tensor in tensors((tuple(found.args), dict(found.kwargs))):
        if place is not None and tensor.device != place:
            raise UserError(
                f"An input is on {tensor.device} and the module on {place}: move it there with "
                f"inputs.to({str(place)!r})."
            )
    return found


def _drawn(model: nn.Module, input_shape: Any, batch_size: int) -> tuple[torch.Tensor, ...]:
    """Standard normal inputs of a shape, or of several, in the number format of the module's parameters."""
    if not isinstance(batch_size, int) or batch_size < 1:
        raise UserError(f"batch_size={batch_size} is not possible: give an integer of at least 1.")
    shapes = [input_shape] if _is_shape(input_shape) else list(input_shape) if _is_list(input_shape) else []
    if not shapes or not all(_is_shape(shape) for shape in shapes):
        raise UserError(
            f"input_shape={input_shape!r} is not possible: give sizes of at least 1 without the batch, such "
            "as (3, 224, 224), or a list of such shapes."
        )
    formats = [each.dtype for each in model.parameters() if each.is_floating_point()]
    dtype = formats[0] if formats else torch.get_default_dtype()
    return tuple(torch.randn(batch_size, *shape, device=home(model), dtype=dtype) for shape in shapes)


def _is_list(value: Any) -> bool:
    return isinstance(value, (tuple, list))


def _is_shape(value: Any) -> bool:
    return _is_list(value) and all(isinstance(size, int) and size > 0 for size in value)


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
    call: Call = error.__cause__.call
    where = f"{call.name} ({call.type})" if call.name else call.type
    given = ", ".join(str(tuple(shape)) for shape in call.in_shapes)
    return UserError(
        f"{where} failed {f'on input {given}' if given else 'without a tensor'}: {message}{hint}"
    )
