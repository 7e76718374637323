"""One-line errors for failed captures and compilations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from microbench.engines.capture.rehearsal import same_random_numbers, unchanged
from microbench.errors import SkippedError, UserError, first_line
from microbench.workloads import Workload


class CompileError(RuntimeError):
    """A compiler failed on a module that works without it."""


@contextmanager
def one_line_errors(
    what: str, workload: Workload, training: bool, kind: type[Exception] = CompileError
) -> Iterator[None]:
    """Raise failures as one line; if the workload's module fails by itself, raise its own error.

    Args:
        what: what is done, such as `engine.backend=inductor`.
        workload: what it is done with.
        training: whether it is to be trained.
        kind: the exception to raise; if a library is missing, it is always a SkippedError.
    """
    try:
        yield
    except (SkippedError, UserError):
        raise
    except Exception as error:
        with unchanged(workload.module), same_random_numbers(workload), torch.set_grad_enabled(training):
            workload.module(*workload.inputs)
        cause = getattr(error, "inner_exception", None) or error
        text = f"{what}: {reason(cause)}"
        raise (SkippedError if isinstance(cause, ImportError) else kind)(text) from error


def reason(error: BaseException) -> str:
    """Return an error's most informative line; in a C++ compiler's output, the first error."""
    lines = [line.strip() for line in str(error).splitlines()]
    if fatal := next((line for line in lines if "error: " in line), None):
        return fatal
    name = type(error).__name__
    return f"{name}: {first_line(error)}" if str(error).strip() else name


def break_reason(told: str) -> str:
    """Return why a graph broke: the first sentence of TorchDynamo's explanation."""
    lines = [line.strip() for line in told.splitlines()]
    explained = next(
        (line.partition(": ")[2] for line in lines if line.startswith("Explanation: ")), lines[0]
    )
    return explained.rpartition("Reason: ")[2].partition(". ")[0].rstrip(".")
