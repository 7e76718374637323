"""The CPUs that a process may run on. No torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from microbench.errors import SkippedError, UserError
from microbench.system import cpus


def chosen(affinity: Any, threads: int, near: set[int] | None = None) -> set[int] | None:
    """Return the CPUs that the option selects; None to leave them as they are.

    Args:
        affinity: `none`; `compact` (one CPU on each of as many neighbouring cores as there are threads);
            `gpu`; or a list of CPUs.
        threads: threads per operation.
        near: the CPUs near the GPU, for `gpu`.

    Raises:
        UserError: this process may not use one of the CPUs.
    """
    if affinity == "none":
        return None
    if near is not None:
        return near
    usable = cpus.usable()
    if affinity == "compact":
        return set(cpus.one_of_each_core(usable)[:threads])
    if strange := sorted(set(affinity) - usable):
        raise UserError(
            f"affinity={affinity}: this process may not use CPU {strange[0]}, only {cpus.text(usable)}"
        )
    return set(affinity)


@contextmanager
def bound(affinity: Any, threads: int, near: set[int] | None = None) -> Iterator[None]:
    """Bind this process, and the threads it starts from now on, to the CPUs that the option selects.

    Raises:
        SkippedError: this system cannot bind processes to CPUs.
        UserError: this process may not use one of the CPUs.
    """
    wanted = chosen(affinity, threads, near)
    if wanted is None:
        yield
        return
    if not hasattr(os, "sched_setaffinity"):
        raise SkippedError(
            f"affinity={affinity}: this system cannot bind a process to CPUs; use affinity=none"
        )
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, wanted)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
