"""Side effects of importing the engines' libraries, which the server does before it forks workers."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from microbench.engines.onnxruntime import library as of_onnxruntime
from microbench.engines.openvino import library as of_openvino

SCRIPT = """
import os, sys
import microbench.worker

before = len(os.listdir("/proc/self/task"))
import microbench.engines.onnxruntime
from microbench.engines.openvino import library
print(len(os.listdir("/proc/self/task")) - before)

import torch
library.openvino.convert_model(torch.nn.Linear(2, 2), example_input=torch.ones(1, 2))
print("openvino_telemetry" in sys.modules)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in /proc")
def test_they_start_no_thread_and_leave_no_file_and_have_no_telemetry(tmp_path: Path) -> None:
    variables = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    variables |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=variables, stdout=subprocess.PIPE, check=True)
    assert done.stdout.split() == [b"0", b"False"]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("file", "library"),
    [
        (of_onnxruntime.__file__, "onnxruntime"),
        (of_openvino.__file__, "openvino"),
        (of_openvino.__file__, "nncf"),
    ],
)
def test_a_library_that_is_not_there_is_none(
    monkeypatch: pytest.MonkeyPatch, file: str, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    assert runpy.run_path(file)[library] is None


def test_telemetry_that_another_has_imported_stays() -> None:
    before = sys.modules["json"]
    with of_openvino.hidden("json"), pytest.raises(ImportError):
        import_module("json")
    assert sys.modules["json"] is before
