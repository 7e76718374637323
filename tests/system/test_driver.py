"""Which GPUs a process sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from microbench.system import driver


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be a driver."""
    (tmp_path / "nvidiactl").touch()
    monkeypatch.setattr(driver, "NODES", (tmp_path / "dxg", tmp_path / "nvidiactl"))


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("device", "environment", "variables"),
    [
        ("cpu", {}, {"CUDA_VISIBLE_DEVICES": ""}),
        ("cpu", {"CUDA_VISIBLE_DEVICES": "1"}, {"CUDA_VISIBLE_DEVICES": ""}),
        ("cpu", {"CUDA_VISIBLE_DEVICES": ""}, {}),  # it sees none anyway
        ("cpu", {"CUDA_VISIBLE_DEVICES": "-1"}, {}),
        ("cuda", {}, {}),
        ("auto", {}, {}),
        ("cpu_time", {}, {}),  # another package's: who knows what it needs
    ],
)
def test_cases_of_the_cpu_see_no_gpu(
    device: str, environment: dict[str, str], variables: dict[str, str]
) -> None:
    assert driver.variables_for(device, environment) == variables


def test_where_there_is_no_driver_there_is_nothing_to_hide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "NODES", (tmp_path / "nvidiactl",))
    assert driver.variables_for("cpu", {}) == {}
