"""What only a GPU can show: `make test-gpu`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from flat import rows

import microbench
from microbench.records.store import read

pytestmark = pytest.mark.gpu

LEAST = ("measure.rounds=1", "measure.min_time=0", "measure.max_time=0.3", "measure.max_warmup=0.3")
ENGINES = ("eager", "torchscript", "compile", "export", "onnxruntime", "libtorch", "tensorrt")
SIDE = 2048
MATRIX = (
    *("model=layer", "model.cls=torch.nn.Linear", f"model.args=[{SIDE},{SIDE}]"),
    f"model.input_shape=[{SIDE}]",
)

Record = dict[str, Any]


@pytest.fixture(autouse=True)
def _needs_a_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU that torch can use")


def measured(folder: Path, *arguments: str) -> list[Record]:
    """Run the command line in a new interpreter, whose server forks the workers; return its records."""
    command = [sys.executable, "-m", "microbench", "device=cuda", "hydra.run.dir=run", *LEAST, *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert (folder / "run").exists(), done.stderr
    records = rows(*read(folder / "run"))
    skipped = [str(each["error"]) for each in records if each["status"] == "skipped"]
    if skipped:
        pytest.skip(skipped[0])
    assert done.returncode == 0, done.stderr
    return records


def phase(records: list[Record], name: str) -> Record:
    """Return the record of a phase, of which there is one."""
    (found,) = [each for each in records if each["phase"] == name]
    return found


def by_hand(calls: int = 50) -> float:
    """Return the seconds of a call between two events around many, without microbench."""
    module = torch.nn.Linear(SIDE, SIDE).cuda()
    x = torch.randn(SIDE, SIDE, device="cuda")
    found = []
    with torch.inference_mode():
        for _ in range(10):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            for _ in range(calls):
                module(x)
            end.record()
            end.synchronize()
            found.append(begin.elapsed_time(end) * 1e-3 / calls)
    return median(found[2:])


def test_events_tell_the_time_that_a_loop_of_events_by_hand_tells(tmp_path: Path) -> None:
    found = phase(measured(tmp_path, *MATRIX, f"batch_size={SIDE}", "device.sync=events"), "inference")
    assert found["clock"] == "cuda_event"
    assert 0.5 < found["median"] / by_hand() < 2  # the GPU's clock may move between them


@pytest.mark.parametrize("engine", ENGINES)
def test_workers_of_each_engine_use_the_gpu(engine: str, tmp_path: Path) -> None:
    records = measured(tmp_path, "model=dense", f"engine={engine}", "batch_size=2")
    assert {each["status"] for each in records} == {"ok"}
    assert {each["cfg_device"] for each in records} == {"cuda"}
    assert {each["answer"] for each in records} <= {"reference", "same"}
    assert phase(records, "inference")["median"] > 0


def test_a_training_step_in_a_graph_has_a_first_call_and_the_same_answer(tmp_path: Path) -> None:
    options = ("model=dense", "mode=train", "batch_size=2", "device.cuda_graph=true")
    records = measured(tmp_path, *options)
    assert {each["status"] for each in records} == {"ok"}
    assert {each["answer"] for each in records} <= {"reference", "same"}
    assert phase(records, "first_call")["median"] > 0
    assert phase(records, "total")["median"] > 0


def test_the_peak_of_a_layer_is_its_weights_input_and_output(tmp_path: Path) -> None:
    """The allocator's blocks are rounded up, and a library may take a workspace of some megabytes."""
    found = phase(measured(tmp_path, *MATRIX, f"batch_size={SIDE}"), "inference")
    tensor = 4 * SIDE * SIDE
    assert 3 * tensor <= found["peak_memory"] <= 4 * tensor + 64 * 2**20


def test_watched_memory_grows_by_what_is_allocated() -> None:
    size = 512 * 2**20
    with microbench.watch(device=torch.cuda.current_device()) as memory:
        kept = torch.ones(size, dtype=torch.uint8, device="cuda")
        torch.cuda.synchronize()
    assert kept.numel() == size
    assert memory.peak_kb is not None
    assert memory.peak_kb * 1024 >= size
