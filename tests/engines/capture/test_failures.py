from __future__ import annotations

import pytest
import torch
from torch import nn

from microbench.engines.capture.failures import CompileError, break_reason, one_line_errors, reason
from microbench.errors import SkippedError
from microbench.workloads import Workload
from microbench.workloads.objectives import OnesGradient


class BackendError(RuntimeError):
    """A failure that wraps another, as TorchDynamo's do."""

    def __init__(self, inner: Exception) -> None:
        super().__init__("backend='x' raised:\nand much more")
        self.inner_exception = inner


def workload_of(width: int = 3) -> Workload:
    return Workload("tiny", nn.Linear(3, 2).eval(), (torch.ones(1, width),), OnesGradient())


def test_a_failure_is_reported_in_one_line_with_its_cause() -> None:
    with (
        pytest.raises(CompileError, match=r"^engine.backend=x: ValueError: no such operator$"),
        one_line_errors("engine.backend=x", workload_of(), training=False),
    ):
        raise BackendError(ValueError("no such operator\nat line 3"))


def test_a_missing_library_skips() -> None:
    with (
        pytest.raises(SkippedError, match=r"^engine.backend=x: ImportError: pip install x$"),
        one_line_errors("engine.backend=x", workload_of(), training=False),
    ):
        raise BackendError(ImportError("pip install x"))


def test_what_the_module_itself_raises_is_raised() -> None:
    with (
        pytest.raises(RuntimeError, match=r"shapes cannot be multiplied") as caught,
        one_line_errors("engine.backend=x", workload_of(width=4), training=False),
    ):
        raise BackendError(ValueError("fake tensors"))
    assert not isinstance(caught.value, CompileError)


def test_of_a_cpp_compilers_output_the_first_error_is_reported() -> None:
    output = "C++ compile error\n\nCommand:\ng++ x.cpp\n\nOutput:\nx.cpp: In f:\nx.cpp:1: error: no 'y'\n"
    assert reason(RuntimeError(output)) == "x.cpp:1: error: no 'y'"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("first\nsecond"), "ValueError: first"),
        (KeyError("name"), "KeyError: 'name'"),
        (NotImplementedError(), "NotImplementedError"),
    ],
)
def test_of_other_errors_the_first_line_is_reported(error: Exception, line: str) -> None:
    assert reason(error) == line


def test_why_a_graph_broke_is_the_explanation_that_torch_gives() -> None:
    text = "Unsupported call\n  Explanation: Dynamo breaks here. Reason: no LSTM. Set it.\n  Hint: none\n"
    assert break_reason(text) == "no LSTM"
    assert break_reason("call_function f") == "call_function f"
