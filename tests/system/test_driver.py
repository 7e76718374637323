"""Which GPUs a process sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from microbench.errors import UserError
from microbench.system import driver, gpu


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be a driver."""
    (tmp_path / "nvidiactl").touch()
    monkeypatch.setattr(driver, "NODES", (tmp_path / "dxg", tmp_path / "nvidiactl"))


@pytest.mark.usefixtures("loaded")
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


@pytest.mark.parametrize(
    ("label", "environment", "there", "variables"),
    [
        ("cuda:1", {}, 2, {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1"}),
        ("cuda:5", {}, None, {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "5"}),
        ("cuda:1", {"CUDA_VISIBLE_DEVICES": "3, 2"}, 4, {"CUDA_VISIBLE_DEVICES": "2"}),
        ("cuda:0", {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}, 4, {"CUDA_VISIBLE_DEVICES": "GPU-a"}),
        ("cuda:1", {"CUDA_VISIBLE_DEVICES": "MIG-a,MIG-b"}, 1, {"CUDA_VISIBLE_DEVICES": "MIG-b"}),
    ],
)
def test_the_cases_of_a_gpu_with_a_number_see_it_alone(
    label: str,
    environment: dict[str, str],
    there: int | None,
    variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gpu, "count", lambda: there)
    assert driver.variables_for(label, environment) == variables


@pytest.mark.parametrize(
    ("label", "environment", "there", "line"),
    [
        ("cuda:2", {}, 2, "this machine has 2 GPUs; give a number from 0 to 1."),
        ("cuda:1", {}, 1, "this machine has 1 GPU; give cuda:0."),
        ("cuda:0", {}, 0, "this machine has no GPU."),
        ("cuda:1", {"CUDA_VISIBLE_DEVICES": "3"}, 8, "CUDA_VISIBLE_DEVICES=3 lists 1 GPU; give cuda:0."),
        ("cuda:0", {"CUDA_VISIBLE_DEVICES": ""}, 8, "CUDA_VISIBLE_DEVICES= lists no GPU."),
    ],
)
def test_a_number_that_no_gpu_has_is_an_error_of_one_line(
    label: str, environment: dict[str, str], there: int, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "count", lambda: there)
    with pytest.raises(UserError) as caught:
        driver.variables_for(label, environment)
    assert str(caught.value) == f"There is no device={label}: {line}"


def test_where_there_is_no_driver_there_is_nothing_to_hide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "NODES", (tmp_path / "nvidiactl",))
    assert driver.variables_for("cpu", {}) == {}
