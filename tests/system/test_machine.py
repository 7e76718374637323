from __future__ import annotations

import re
import sys

import pytest

from microbench.system import machine


def test_the_hosts_id_stays_the_same_and_tells_hosts_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    here = machine.host_id()
    assert re.fullmatch(r"[0-9a-f]{12}", here)
    assert machine.host_id() == here
    monkeypatch.setattr(machine.platform, "node", lambda: "elsewhere")
    assert machine.host_id() != here


def test_the_environment_is_flat_and_says_the_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("KMP_AFFINITY", raising=False)
    environment = machine.environment()
    assert all(value is None or isinstance(value, (str, int, float)) for value in environment.values())
    assert environment["omp_num_threads"] == "3"
    assert environment["kmp_affinity"] is None
    assert environment["python"] == ".".join(map(str, sys.version_info[:3]))
    for package in ("torch", "torchvision", "numpy", "scipy", "microbench"):
        assert re.match(r"\d+\.\d+", str(environment[package])), package
    assert isinstance(environment["memory"], int)
    assert environment["memory"] > 2**28


def test_a_package_that_is_not_there_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PACKAGES", ("no-such-package",))
    assert machine.environment()["no-such-package"] is None
