"""Whether every call does the same work: calls may change their inputs, or the module's state."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from microbench.engines import Program
from microbench.measure.cautions import Changes
from microbench.measure.experiment import Experiment
from microbench.watch.tensors import tensors

SAMPLED = 2**16  # bytes checked of a large parameter or buffer

Digests = tuple[int, ...]
"""Checksums of tensors' values."""


def digests(values: object) -> Digests:
    """Compute a checksum of each tensor in `values`."""
    dense = (each if each.layout == torch.strided else each.detach().to_dense() for each in tensors(values))
    return tuple(zlib.crc32(_memory(each).cpu().numpy().data) for each in dense)


def _memory(tensor: Tensor) -> Tensor:
    """Return a dense tensor's memory as bytes."""
    memory = torch.empty(0, dtype=torch.uint8, device=tensor.device)
    return memory.set_(tensor.untyped_storage())


class Inputs:
    """The inputs of a workload, which are restored if its calls change them.

    Inputs that do not change are not copied: a copy would count in the peak memory.

    Args:
        built: the inputs as they were built.
        rebuild: builds them again, with the same values.
    """

    def __init__(self, built: Sequence[Tensor], rebuild: Callable[[], Sequence[Tensor]]) -> None:
        self._built, self._rebuild = built, rebuild
        self._before = digests(built)
        self._given, self._expected = built, self._before
        self._originals: Sequence[Tensor] | None = None

    def follow(self, given: Sequence[Tensor]) -> None:
        """Track these inputs from now on, in the form in which an engine runs them.

        Changes that its preparation made are undone.
        """
        self._given = given
        are_other = any(one is not other for one, other in zip(given, self._built, strict=True))
        if are_other or digests(given) != self._before:
            self.give_back()
        self._expected = digests(given)

    def have_changed(self) -> bool:
        """Return whether they have changed."""
        return digests(self._given) != self._expected

    def settle(self, call: Callable[[], object]) -> bool:
        """Return whether a second call changes nothing more and returns the same.

        If so, the inputs stay as they are: each call does the same work.
        """
        self.give_back()
        once = digests(call()), digests(self._given)
        again = digests(call()), digests(self._given)
        if once == again:
            self._expected = once[1]
        return once == again

    @torch.no_grad()
    def give_back(self) -> None:
        """Restore the values that they were built with."""
        if self._originals is None:
            is_intact = digests(self._built) == self._before
            self._originals = self._built if is_intact else self._rebuild()
        for given, original in zip(self._given, self._originals, strict=True):
            if given is not original:
                given.copy_(original.to_mkldnn() if given.is_mkldnn else original)


def state_of(module: nn.Module) -> dict[str, tuple[int, int]]:
    """Return, by name, fingerprints that change when a call writes to a parameter or buffer.

    A fingerprint is torch's version counter, and a checksum of the memory: all of it for small tensors,
    spread samples for large ones.
    """
    held = dict(module.named_parameters()) | dict(module.named_buffers())
    return {name: (_version(each), _fingerprint(each)) for name, each in held.items()}


def changed(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """Return the names of the parameters and buffers that are not as they were before."""
    return [name for name, found in after.items() if before.get(name) != found]


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _fingerprint(tensor: Tensor) -> int:
    if tensor.layout != torch.strided or tensor.is_meta:
        return 0
    memory = _memory(tensor)
    step = 1 + 2 * (memory.numel() // SAMPLED // 2)  # odd: it reaches every byte of multi-byte numbers
    return zlib.crc32(memory[::step].contiguous().cpu().numpy().data)


class Constancy:
    """Ensures that every call does the work of the first; created after the first call.

    Inputs that calls change are restored before each sample, unless inference settles: then a call writes
    what is already there.
    """

    def __init__(self, inputs: Inputs, program: Program, training: bool) -> None:
        self._inputs, self._program, self._training = inputs, program, training
        self._gives_back = inputs.have_changed() and (
            training or not inputs.settle(lambda: program.outputs(program.call()))
        )
        self._before = {} if training else state_of(program.workload.module)

    def kept(self, experiment: Experiment) -> Experiment:
        """Return the experiment, with the inputs restored before each sample if necessary."""
        if not self._gives_back:
            return experiment
        give_back, then = self._inputs.give_back, experiment.before

        def before() -> None:
            give_back()
            if then is not None:
                then()

        return replace(experiment, before=before, mergeable=False)

    def changes(self, experiment: Experiment) -> Changes:
        """Return what the calls have changed nevertheless."""
        after = {} if self._training else state_of(self._program.workload.module)
        return Changes(
            inputs=self._program.overwrites or (not self._gives_back and self._inputs.have_changed()),
            given_back_over=experiment.runs if self._gives_back else 1,
            state=() if self._training else changed(self._before, after),
        )
