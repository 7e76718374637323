"""What NVML tells of a GPU, through pynvml's own code, on a driver of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pynvml
import pytest
from fake_nvml import MB, NAMES, NO_PERMISSION, NOT_SUPPORTED, UNKNOWN, State

from microbench.errors import UserError
from microbench.system import gpu
from microbench.system.gpu import NoAnswerError, Reading, count, driver, facts, full_uuid, opened, visible


@pytest.fixture
def first(gpus: State) -> Any:
    return gpus.gpu[0]


def uuid(found: Any) -> str:
    return str(found.uuid.decode())


def test_a_reading_is_in_si_units(first: Any) -> None:
    first.used, first.instant, first.power, first.temperature = 300 * MB, 250_500, 100_000, 61
    first.sm_clock, first.memory_clock, first.reasons, first.energy = 1410, 2619, 0x24, 7_250
    with opened(uuid(first)) as found:
        read = found.reading()
    assert (read.memory, read.sm_clock, read.memory_clock) == (300 * MB, 1.41e9, 2.619e9)
    assert (read.power, read.temperature, read.reasons, read.energy) == (250.5, 61, 0x24, 7.25)


def test_a_reading_asks_each_thing_once_and_no_list_of_processes(first: Any) -> None:
    with opened(uuid(first)) as found:
        found.reading()
        asked = {name: first.calls(name) for name in NAMES if first.calls(name)}
    once = dict.fromkeys(("memory", "energy", "instant", "temperature", "reasons"), 1)
    assert asked == once | {"clock": 2}  # of the multiprocessors, and of the memory


def test_an_older_gpu_tells_the_last_seconds_power(first: Any) -> None:
    first.fail(NOT_SUPPORTED, "instant")
    first.power = 80_000
    with opened(uuid(first)) as found:
        assert [found.power(), found.power()] == [80.0, 80.0]
    assert first.calls("instant") == 1  # what it does not have is not asked again


def test_what_may_not_be_asked_is_unknown_and_is_asked_once(first: Any) -> None:
    first.fail(NO_PERMISSION, "processes", "energy")
    with opened(uuid(first)) as found:
        for _ in range(3):
            assert (found.processes(), found.energy(), found.reading().energy) == (None, None, None)
        assert found.missing == dict.fromkeys(("processes", "energy"), "Insufficient Permissions")
    assert (first.calls("processes"), first.calls("energy")) == (1, 1)


def test_what_fails_for_once_is_asked_again(first: Any) -> None:
    first.fail(pynvml.NVML_ERROR_TIMEOUT, "memory")
    with opened(uuid(first)) as found:
        assert found.memory() is None
        first.fail(0, "memory")
        assert found.memory() == 0
        assert found.missing == {}


def test_processes_have_their_memory_if_the_driver_tells_it(first: Any) -> None:
    first.holds((11, 5 * MB), (12, UNKNOWN))
    with opened(uuid(first)) as found:
        assert found.processes() == [(11, 5 * MB), (12, None)]


def test_a_part_of_a_gpu_has_memory_and_processes_alone(gpus: State) -> None:
    part = gpus.gpu[1]
    part.uuid, part.part = b"MIG-1111", 1
    part.holds((11, 5 * MB))
    gpus.gpu[0].mig = 1
    with opened("MIG-1111") as found:
        read = found.reading()
        assert read == Reading(read.time, 5 * MB)
        assert (found.utilization(), found.max_clock(), found.power(), found.energy()) == (None,) * 4
        assert found.processes() == [(11, 5 * MB)]
        assert found.missing == {}
    assert facts("MIG-1111")["gpu_mig"] is True  # of the GPU that it is a part of


def test_the_library_is_closed_again(gpus: State) -> None:
    with opened(uuid(gpus.gpu[0])):
        assert gpus.opened == 1
    assert gpus.opened == 0
    with pytest.raises(NoAnswerError, match="NVML does not know the GPU GPU-none: "), opened("GPU-none"):
        pass
    assert gpus.opened == 0


@pytest.mark.parametrize("error", [pynvml.NVML_ERROR_NO_PERMISSION, pynvml.NVML_ERROR_DRIVER_NOT_LOADED])
def test_without_a_driver_or_permission_it_says_why(error: int, gpus: State) -> None:
    gpus.fails = error
    with pytest.raises(NoAnswerError, match=r"^NVML: "), opened(uuid(gpus.gpu[0])):
        pass
    assert facts(uuid(gpus.gpu[0])) == {}


def test_another_package_of_the_same_name_is_found_out(gpus: State, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (driver(), count()) == ("580.0", 2)
    monkeypatch.delattr(pynvml, "_nvmlGetFunctionPointer")
    assert (driver(), count()) == (None, None)
    with pytest.raises(NoAnswerError, match="pip uninstall pynvml"):
        visible(0)
    with pytest.raises(NoAnswerError, match="pip uninstall pynvml"), opened("GPU-0"):
        pass


def test_the_facts_are_those_of_the_gpu(first: Any) -> None:
    first.mig, first.pstate = 0, 2
    assert facts(uuid(first)) == {
        "gpu_ecc": True,
        "gpu_mig": False,
        "gpu_power_limit": 700.0,
        "gpu_clock_max": 1.98e9,
        "gpu_memory_clock_max": 2.619e9,
        "gpu_pcie": "gen 5 x16",
        "gpu_pstate": "P2",
    }


def test_cpus_near_a_gpu_are_nvmls_or_else_those_of_its_pci_device(
    first: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first.near[0] = 0b1011
    with opened(uuid(first)) as found:
        assert found.near_cpus() == {0, 1, 3}
        first.near[0] = 0
        monkeypatch.setattr(gpu, "PCI", tmp_path)
        assert found.near_cpus() is None
        (tmp_path / "0000:01:00.0").mkdir()
        (tmp_path / "0000:01:00.0" / "local_cpulist").write_text("4-6,9\n")
        assert found.near_cpus() == {4, 5, 6, 9}


def test_a_uuid_gets_back_what_cuda_leaves_out(gpus: State) -> None:
    gpus.gpu[1].uuid = b"MIG-1111"
    given = uuid(gpus.gpu[0]).removeprefix("GPU-")
    assert [full_uuid(each) for each in (given, f"GPU-{given}", "1111", "2222")] == [
        *(f"GPU-{given}", f"GPU-{given}", "MIG-1111"),
        "GPU-2222",  # as NVML does not know it
    ]


@pytest.mark.parametrize(
    ("variable", "seen"),
    [
        (None, [0, 1]),
        ("1,0", [1, 0]),
        ("1", [1]),
        ("GPU-00000001", [1]),
        ("0,7,1", [0]),  # CUDA stops at the first that is not there
        ("", []),
    ],
)
def test_gpus_are_counted_as_cuda_does(
    variable: str | None, seen: list[int], gpus: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert [visible(number) for number in range(len(seen))] == [uuid(gpus.gpu[place]) for place in seen]
    with pytest.raises(UserError, match=f"^There is no GPU {len(seen)}: this process may use {len(seen)}"):
        visible(len(seen))


def test_another_process_loads_the_driver_by_its_name(gpus: State) -> None:
    script = "from microbench.system import gpu; print(gpu.driver())"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=dict(os.environ)
    )
    assert (done.stdout, done.stderr) == ("580.0\n", "")
    assert gpus.opened == 0
