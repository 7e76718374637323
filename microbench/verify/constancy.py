"""Whether each call does the work of the first: whether calls change their inputs, or the module's state."""

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

SAMPLED = 2**16  # bytes that are looked at of a large parameter or buffer

Digests = tuple[int, ...]
"""Checksums of the numbers in tensors."""


def digests(values: object) -> Digests:
    """Compute a checksum of the memory of each tensor in values."""
    dense = (each if each.layout == torch.strided else each.detach().to_dense() for each in tensors(values))
    return tuple(zlib.crc32(_memory(each).cpu().numpy().data) for each in dense)


def _memory(tensor: Tensor) -> Tensor:
    """Return the bytes that a dense tensor lies in."""
    memory = torch.empty(0, dtype=torch.uint8, device=tensor.device)
    return memory.set_(tensor.untyped_storage())


class Inputs:
    """The inputs of a workload, which are given back where its calls change them.

    No copy is kept of inputs that do not change: it would show in the peak of memory.

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
        """Look after these from now on: the inputs in the form in which an engine runs them.

        What it has done with them in preparation is undone.
        """
        self._given = given
        are_other = any(one is not other for one, other in zip(given, self._built, strict=True))
        if are_other or digests(given) != self._before:
            self.give_back()
        self._expected = digests(given)

    def have_changed(self) -> bool:
        """Say whether they are not as they were given."""
        return digests(self._given) != self._expected

    def settle(self, call: Callable[[], object]) -> bool:
        """Say whether a second call changes nothing more, and puts out the same.

        They are left so then: each call does the same work.
        """
        self.give_back()
        once = digests(call()), digests(self._given)
        again = digests(call()), digests(self._given)
        if once == again:
            self._expected = once[1]
        return once == again

    @torch.no_grad()
    def give_back(self) -> None:
        """Give them the values that they were built with."""
        if self._originals is None:
            is_intact = digests(self._built) == self._before
            self._originals = self._built if is_intact else self._rebuild()
        for given, original in zip(self._given, self._originals, strict=True):
            if given is not original:
                given.copy_(original.to_mkldnn() if given.is_mkldnn else original)


def state_of(module: nn.Module) -> dict[str, tuple[int, int]]:
    """Return, by name, what changes when a call writes to a parameter or buffer.

    That is how often they were written to, as far as torch has seen that, and a checksum of the memory of
    small ones, and of bytes all over that of large ones.
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
    step = 1 + 2 * (memory.numel() // SAMPLED // 2)  # odd: of numbers of several bytes it meets each of these
    return zlib.crc32(memory[::step].contiguous().cpu().numpy().data)


class Constancy:
    """Sees to it that each call does the work of the first; made once that has been done.

    Inputs that calls change are given back before each sample. They need not be where inference settles:
    where a call writes what is there already.
    """

    def __init__(self, inputs: Inputs, program: Program, training: bool) -> None:
        self._inputs, self._program, self._training = inputs, program, training
        self._gives_back = inputs.have_changed() and (
            training or not inputs.settle(lambda: program.outputs(program.call()))
        )
        self._before = {} if training else state_of(program.workload.module)

    def kept(self, experiment: Experiment) -> Experiment:
        """Return the experiment with the inputs given back before each sample, if they have to be."""
        if not self._gives_back:
            return experiment
        give_back, then = self._inputs.give_back, experiment.before

        def before() -> None:
            give_back()
            if then is not None:
                then()

        return replace(experiment, before=before, mergeable=False)

    def changes(self, experiment: Experiment) -> Changes:
        """Return what the calls have changed all the same."""
        after = {} if self._training else state_of(self._program.workload.module)
        return Changes(
            inputs=self._program.overwrites or (not self._gives_back and self._inputs.have_changed()),
            given_back_over=experiment.runs if self._gives_back else 1,
            state=() if self._training else changed(self._before, after),
        )
