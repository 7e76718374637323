from __future__ import annotations

import re
import sys
from importlib import metadata

import pytest
from msgspec.json import decode, encode

from microbench.records.record import Machine
from microbench.system import machine


def test_the_hosts_id_stays_the_same_and_tells_hosts_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    here = machine.host_id()
    assert re.fullmatch(r"[0-9a-f]{12}", here)
    assert machine.host_id() == here
    monkeypatch.setattr(machine.platform, "node", lambda: "elsewhere")
    assert machine.host_id() != here


def test_a_machine_is_described_with_the_versions_of_its_software(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("KMP_AFFINITY", raising=False)
    found = machine.described({}, {})
    assert decode(encode(found), type=Machine) == found
    assert found.host_id == machine.host_id()
    assert (found.omp_num_threads, found.kmp_affinity) == ("3", None)
    assert found.python == ".".join(map(str, sys.version_info[:3]))
    for package in ("torch", "torchvision", "numpy", "scipy", "microbench"):
        assert re.match(r"\d+\.\d+", str(getattr(found, package))), package
    assert found.memory is not None
    assert found.memory > 2**28


def test_the_variables_of_the_process_that_measures_count_before_those_of_this_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("MKL_NUM_THREADS", "4")
    found = machine.described({}, {"OMP_NUM_THREADS": "5"})
    assert (found.omp_num_threads, found.mkl_num_threads) == ("5", "4")


def test_what_a_device_says_of_itself_is_a_field_or_an_extra() -> None:
    found = machine.described({"gpu": "Some GPU", "tiles": 4}, {})
    assert (found.gpu, found.extra) == ("Some GPU", {"tiles": 4})


def test_a_package_that_is_not_there_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> str:
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(machine.metadata, "version", missing)
    assert machine.described({}, {}).torch is None
