"""The fake driver, compiled."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

NAMES = ("libcuda.so.1", "libnvidia-ml.so.1")


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The variables of a process that finds the fake driver, which notes each cuInit in FAKE_CUDA_LOG."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("needs Linux and a C compiler, to build the fake driver")
    folder = tmp_path_factory.mktemp("driver")
    for name in NAMES:
        source = Path(__file__).with_name("driver.c")
        command = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", folder / name, source]
        subprocess.run(command, check=True)
    return {"LD_LIBRARY_PATH": str(folder), "FAKE_CUDA_LOG": str(folder / "log"), "CUDA_VISIBLE_DEVICES": "0"}
