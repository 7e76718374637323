"""One layer of a model as a workload of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from microbench import registry
from microbench.config import ModelConfig
from microbench.errors import UserError, unknown
from microbench.workloads.arranged import arranged as arrange
from microbench.workloads.objectives import OnesGradient
from microbench.workloads.parts.deferred import Deferred
from microbench.workloads.parts.signatures import CallSignature, TensorSpec, uses
from microbench.workloads.workload import Workload

CPU = torch.device("cpu")

Build = Callable[[ModelConfig, int, torch.device, bool], Workload]
"""A source's `build`: from configuration, batch size, device, and whether to train."""


def build(config: ModelConfig, batch_size: int, device: torch.device, training: bool, seed: int) -> Workload:
    """Build the part of a model that `config.part` names, with inputs as the model calls it with.

    Only the part's weights are drawn, and as the model draws them; inputs are standard normal, except the
    model's own. In training they require a gradient if they do in the model. A part that changes its input in
    place is set not to (`inplace=False`): called repeatedly, it would work on its own output.

    Raises:
        UserError: there is no such part, or in training it has nothing to differentiate.
    """
    assert config.part is not None
    config = replace(config, part=config.part.removesuffix(":0"))
    model, weights = undrawn(config, batch_size, training)
    use = _find(model, weights, config, training)
    name, module = f"{config.name} {config.part or '(whole)'}", use.module
    if training and (reason := untrainable(use)):
        raise UserError(f"{name} cannot train: {reason}; use mode=infer.")
    torch.manual_seed(seed)
    weights.fill(module)
    if use.overwrites:
        _keep_inputs(module)
        if training and _overwrites(use):
            raise UserError(f"{name} overwrites its input, so it cannot train by itself: use mode=infer.")
    drawn = {id(form): form.draw().to(device).detach() for form in use.forms}
    for form in use.forms:
        drawn[id(form)].requires_grad_(training and form.requires_grad)
    part, forms = arranged(use)
    inputs = tuple(drawn[id(form)] for form in forms)
    made = part.to(device).train(training)
    return replace(model, name=name, module=made, inputs=inputs, objective=OnesGradient(), compared=None)


def _find(model: Workload, weights: Deferred, config: ModelConfig, training: bool) -> CallSignature:
    """Return the part's call within a model, whose weights are drawn if it depends on values.

    Raises:
        UserError: there is no such part.
    """
    found = recorded(model, weights, training, config.part)
    use = _named(found, config)
    if not all(form.is_known for form in use.forms):
        weights.fill(model.module)
        use = _named(uses(model, training, config.part, fake=False), config)
    return use


def whole(config: ModelConfig, batch_size: int, device: torch.device, training: bool) -> Workload:
    """Build the whole model, or layer, that `config.source` makes."""
    make: Build = registry.find("workloads", config.source).build
    return make(config, batch_size, device, training)


def undrawn(config: ModelConfig, batch_size: int, training: bool) -> tuple[Workload, Deferred]:
    """Build the whole model without drawing its weights; also return their deferred initialization."""
    with Deferred() as weights:
        return whole(replace(config, part=None), batch_size, CPU, training), weights


def recorded(
    model: Workload, weights: Deferred, training: bool, until: str | None = None
) -> list[CallSignature]:
    """Return the calls that a model makes, found without computing unless they depend on values."""
    try:
        return uses(model, training, until)
    except Exception:
        weights.fill(model.module)
        return uses(model, training, until, fake=False)


def _named(found: Iterable[CallSignature], config: ModelConfig) -> CallSignature:
    """Return the call that `config.part` names.

    Raises:
        UserError: there is none.
    """
    known = {use.part: use for use in found}
    part = str(config.part)
    if part in known:
        return known[part]
    name, _, number = part.partition(":")
    calls = sum(use.name == name for use in known.values())
    if number and calls:
        allowed = f"{name} for its first call, to {name}:{calls - 1}" if calls > 1 else name
        times = f"{calls} times" if calls > 1 else "once"
        raise UserError(f"model.part={part}: {config.name} calls {name} {times}: give {allowed}.")
    raise unknown(f"model.part of {config.name}", part, filter(None, known))


def untrainable(use: CallSignature) -> str | None:
    """Return why a layer has nothing to train; None if it has."""
    if use.learns:
        return None
    trained: list[Tensor | TensorSpec] = [*use.module.parameters(), *use.forms]
    if not any(each.requires_grad for each in trained):
        return "it has no parameters, and nothing before it in the model has"
    return "what it puts out depends on nothing that is trained"


def _keep_inputs(module: nn.Module) -> None:
    """Switch off in-place operation, such as that of activations."""
    for each in module.modules():
        if getattr(each, "inplace", False) is True:
            each.inplace = False  # type: ignore[assignment]


def _overwrites(use: CallSignature) -> bool:
    """Return whether a layer changes its input anyway."""
    part, forms = arranged(use)
    drawn = {id(form): form.draw().detach() for form in use.forms}
    with torch.no_grad():
        part(*(drawn[id(form)] for form in forms))
    return any(tensor._version for tensor in drawn.values())


def arranged(use: CallSignature) -> tuple[nn.Module, list[TensorSpec]]:
    """Return the layer as a module that takes only tensors, with their specs; other arguments are fixed."""
    return arrange(use.module, use.args, use.kwargs, TensorSpec)
