"""`microbench.watch`: a GPU while any code runs, on a driver of ours."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

import pynvml
import pytest
from fake_nvml import MB, State

import microbench
from microbench.errors import UserError


def test_a_block_of_code_has_its_peak_in_kb(gpus: State) -> None:
    gpus.gpu[0].holds((os.getpid(), 100 * MB))
    with microbench.watch(device=0) as memory:
        gpus.gpu[0].holds((os.getpid(), 130 * MB))
    assert (memory.peak_kb, memory.process_kb, memory.others) == (30 * 1024, 130 * 1024, 0)
    assert memory.timeline.power == [70.0, 70.0]
    assert gpus.opened == 0


@pytest.mark.parametrize("device", [1, "GPU-00000001-0000-0000-0000-000000000000"])
def test_the_gpu_is_that_of_the_number_or_of_the_uuid(device: Any, gpus: State) -> None:
    with microbench.watch(device=device) as memory:
        gpus.gpu[0].used, gpus.gpu[1].used = 99 * MB, MB
    assert memory.peak_kb == 1024


def test_an_error_of_the_block_is_its_own(gpus: State) -> None:
    with pytest.raises(KeyError, match="mine"), microbench.watch():
        raise KeyError("mine")
    assert gpus.opened == 0


@pytest.mark.parametrize(
    ("device", "error", "line"),
    [
        (
            0,
            pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
            "microbench.watch needs an NVIDIA GPU and its driver: NVML: ",
        ),
        (0, pynvml.NVML_ERROR_NO_PERMISSION, "microbench.watch needs an NVIDIA GPU and its driver: NVML: "),
        (2, 0, "There is no GPU 2: this process may use 2, from 0."),
        (
            "GPU-none",
            0,
            "microbench.watch needs an NVIDIA GPU and its driver: NVML does not know the GPU GPU-n",
        ),
    ],
)
def test_without_such_a_gpu_there_is_one_line(device: Any, error: int, line: str, gpus: State) -> None:
    gpus.fails = error
    with pytest.raises(UserError, match=re.escape(line)) as caught, microbench.watch(device=device):
        pass
    assert "\n" not in str(caught.value)


def test_a_script_needs_neither_torch_nor_a_model(gpus: State) -> None:
    script = (
        "import sys, microbench\n"
        "with microbench.watch() as memory: pass\n"
        "print(memory.peak_kb, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=dict(os.environ)
    )
    assert (done.stdout, done.stderr) == ("0 False\n", "")
