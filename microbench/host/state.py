"""The process state of a case: set, and restored afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from microbench.config import Config
from microbench.errors import SkippedError, UserError
from microbench.host import affinity, allocator
from microbench.records.record import Process
from microbench.system import cpus, machine


@contextmanager
def prepared(config: Config, threads: int, near: set[int] | None = None) -> Iterator[Process]:
    """Set affinity, allocator, denormals and threads; yield the values that took effect.

    All are restored except a tuned allocator and the number of inter-op threads, which can be set only once.

    Args:
        config: the case.
        threads: threads per operation.
        near: the CPUs near the GPU, for affinity=gpu.

    Raises:
        UserError, SkippedError: this process cannot be brought into that state.
    """
    with affinity.bound(config.affinity, threads, near):
        set_allocator(config.allocator)
        set_interop_threads(config.interop_threads)
        with denormals_flushed(config.flush_denormal), threads_set(threads):
            yield turned_out(tuned=config.allocator == "tuned")


def turned_out(tuned: bool) -> Process:
    """Return the settings that this process runs with."""
    return Process(
        allocator=machine.allocator() + (", tuned" if tuned else ""),
        threads=torch.get_num_threads(),
        interop_threads=torch.get_num_interop_threads(),
        cpus=cpus.text(cpus.usable()),
        flush_denormal=flushes_denormals(),
    )


def set_allocator(name: str) -> None:
    """Tune the C library's allocator, or check that this process uses the requested one.

    Raises:
        SkippedError: the C library's allocator cannot be tuned, or this process does not use it.
        UserError: this process was not started with the requested allocator.
    """
    found = machine.allocator()
    if name == "tuned":
        if found in machine.ALLOCATORS:
            raise SkippedError(
                f"allocator=tuned tunes glibc's allocator, but {found} is loaded: unset LD_PRELOAD"
            )
        allocator.tune()
    elif name in allocator.LIBRARIES and name != found:
        raise UserError(
            f"allocator={name} has to be loaded when a process starts, and this one uses {found}: use "
            "isolation=fork"
        )


def set_interop_threads(threads: int | None) -> None:
    """Set how many operations may run concurrently; None leaves torch's default.

    Raises:
        UserError: this process has started its threads already, with another number.
    """
    if threads is None or threads == torch.get_num_interop_threads():
        return
    try:
        torch.set_num_interop_threads(threads)
    except RuntimeError as error:
        raise UserError(
            f"interop_threads={threads} cannot be set in a process that has used torch: use isolation=fork"
        ) from error


@contextmanager
def threads_set(threads: int) -> Iterator[None]:
    """Set the number of threads per operation of torch on the CPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def denormals_flushed(wanted: bool) -> Iterator[None]:
    """Treat denormal numbers as zero, in this thread and those it starts.

    Raises:
        SkippedError: this CPU cannot.
    """
    if not wanted:
        yield
        return
    before = flushes_denormals()
    if not torch.set_flush_denormal(True):
        raise SkippedError("flush_denormal=true: this CPU cannot treat denormal numbers as zero")
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def flushes_denormals() -> bool:
    """Return whether a denormal number counts as zero here."""
    denormal = torch.full((1,), torch.finfo(torch.float64).tiny / 4, dtype=torch.float64)
    return bool((denormal * 1.0).item() == 0.0)
