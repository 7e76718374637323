"""A run is watched on a device that a driver of ours lists as a GPU; it computes on the CPU."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from fake_nvml import MB, State, counting
from packages import install

from .support import QUICK, Finished, start

DEVICE = """
import os
from contextlib import contextmanager
from pathlib import Path

import torch
from fake_nvml import MB, mapped

from microbench.devices import cpu
from microbench.system import gpu

STATE = mapped(Path(os.environ["FAKE_NVML"])).gpu[0]
UUID = STATE.uuid.decode()


class Device(cpu.Device):
    name, preference, is_watched = "watched", -1, True

    def torch_device(self):
        return torch.device("cpu")

    def begin(self):
        STATE.holds((os.getpid(), 500 * MB))

    def memory(self):
        return Allocated()

    def reserved(self):
        return 700 * MB

    @contextmanager
    def counter(self):
        with gpu.opened(UUID) as found:
            yield found

    def near_cpus(self):
        return {min(os.sched_getaffinity(0))}

    def describe(self):
        return {**super().describe(), "gpu": "Fake H100", "gpu_uuid": UUID}


class Allocated(cpu.PeakMemory):
    def peak(self):
        STATE.holds((os.getpid(), 1200 * MB))
        return 600 * MB
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a device that a driver lists."""
    site = tmp_path_factory.mktemp("site")
    (site / "watched.py").write_text(DEVICE)
    conf = site / "watched_conf" / "device"
    conf.mkdir(parents=True)
    (conf / "watched.yaml").write_text("name: watched\n")
    install(site, "watched", {"devices": {"watched": "watched"}, "conf": {"watched": "watched_conf"}})
    return site


def watched(site: Path, folder: Path, *options: str) -> Finished:
    paths = os.pathsep.join((str(site), str(Path(__file__).parents[1])))
    env = {"PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}
    return start("model=dense", "device=watched", *QUICK, *options, cwd=folder, env=env).finished()


def test_memory_clocks_and_energy_of_a_run_are_in_its_records(
    site: Path, gpus: State, tmp_path: Path
) -> None:
    with counting(gpus.gpu[0], 300.0, 0.02):
        run = watched(site, tmp_path, "mode=train", "affinity=gpu")
    assert run.code == 0, run.err
    whole: dict[str, Any] = next(each for each in run.records if each["phase"] == "total")
    assert (whole["gpu_context"], whole["gpu_process"]) == (500 * MB, 500 * MB)
    assert (whole["gpu_memory_source"], whole["gpu_others"]) == ("process_group", 0)
    assert (whole["gpu_allocated"], whole["gpu_reserved"]) == (600 * MB, 700 * MB)
    assert (whole["gpu_sm_clock"], whole["gpu_power"]) == (1.98e9, 300.0)
    assert whole["env_gpu_uuid"] == gpus.gpu[0].uuid.decode()
    assert whole["env_cpus"] == str(min(os.sched_getaffinity(0)))
    assert whole["energy_missing"] is None
    of_call = whole["energy_seconds"] / whole["energy_calls"]
    assert whole["joules"] == pytest.approx(300.0 * of_call, rel=0.2)
    assert whole["energy_idle"] == pytest.approx(300.0, rel=0.2)
    assert (
        "GPU: process 500 MiB, 500 MiB of it CUDA's context · 1980 MHz · 300 W · 30 °C · energy " in run.out
    )
    assert gpus.opened == 0


def test_a_run_without_permission_has_one_line_and_no_energy(site: Path, gpus: State, tmp_path: Path) -> None:
    gpus.gpu[0].fail(4, "energy")
    run = watched(site, tmp_path, "mode=infer")
    assert run.code == 0, run.err
    whole: dict[str, Any] = next(each for each in run.records if each["phase"] == "inference")
    assert whole["joules"] is None
    assert whole["energy_missing"] == "the device has no counter of energy that may be read"
    (line,) = [each for each in run.err.splitlines() if "NVML" in each]
    assert line == "NVML does not tell the GPU's energy: Insufficient Permissions."


def test_no_energy_is_measured_where_none_is_wanted(site: Path, gpus: State, tmp_path: Path) -> None:
    with counting(gpus.gpu[0], 300.0, 0.02):
        run = watched(site, tmp_path, "mode=infer", "measure.energy=false")
    assert run.code == 0, run.err
    whole: dict[str, Any] = next(each for each in run.records if each["phase"] == "inference")
    assert (whole["joules"], whole["gpu_power"]) == (None, 300.0)
    assert whole.get("energy_missing") is None
