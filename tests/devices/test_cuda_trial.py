"""Whether a GPU can be used, on stubs of what torch says where it cannot."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from microbench import devices
from microbench.devices import cpu, cuda
from microbench.devices.cuda import trial
from microbench.errors import UserError

BUILT = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]
TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by "
    "downloading and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx"
)
BUSY = (
    "CUDA error: CUDA-capable device(s) is/are busy or unavailable\nCUDA kernel errors might be "
    "asynchronously reported at some other API call, so the stacktrace below might be incorrect."
)
UNEXPECTED = (
    "Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before calling "
    "NumCudaDevices() that might have already set an error? Error 802: system not yet initialized"
)
UNKNOWN = (
    "CUDA unknown error - this may be due to an incorrectly set up environment, e.g. changing env variable "
    "CUDA_VISIBLE_DEVICES after program start. Setting the available devices to be zero."
)
FULL = "CUDA out of memory. Tried to allocate 2.00 MiB. GPU 0 has a total capacity of 79.11 GiB of which"
NO_DRIVER = (
    "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver "
    "from http://www.nvidia.com/Download/index.aspx"
)


class Torch:
    """What torch.cuda does on a machine with a GPU: it starts, unless told to fail, and runs a kernel."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.starting: str | None = None
        self.kernel: str | None = None
        self.capability = (9, 0)
        self.run = 0
        ones = torch.ones

        def on_gpu(*size: int, device: Any = None) -> torch.Tensor:
            assert device == "cuda"
            self.run += 1
            if self.kernel is not None:
                raise RuntimeError(self.kernel)
            return ones(*size)

        monkeypatch.setattr(torch.version, "cuda", "13.0")
        monkeypatch.setattr(torch.cuda, "init", self.start)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # by NVML, of any GPU
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: self.capability)
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: BUILT)
        monkeypatch.setattr(torch, "ones", on_gpu)

    def start(self) -> None:
        if self.starting is not None:
            raise RuntimeError(self.starting)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Torch:
    return Torch(monkeypatch)


def test_a_gpu_on_which_a_kernel_runs_can_be_used(gpu: Torch) -> None:
    device = cuda.Device()
    assert (device.missing(), device.unusable()) == (None, None)
    assert gpu.run == 1


UNUSABLE = [
    ("starting", TOO_OLD, "The NVIDIA driver on your system is too old (found version 11040)"),
    ("starting", UNEXPECTED, "system not yet initialized"),
    ("starting", UNKNOWN, UNKNOWN.partition(". Setting")[0]),
    ("kernel", BUSY, "CUDA-capable device(s) is/are busy or unavailable"),
    ("kernel", FULL, "CUDA out of memory"),
]


@pytest.mark.parametrize(("step", "said", "told"), UNUSABLE)
def test_a_gpu_that_cannot_be_used_is_an_error_with_torchs_own_reason(
    step: str, said: str, told: str, gpu: Torch
) -> None:
    setattr(gpu, step, said)
    with pytest.raises(UserError) as caught:
        devices.open_device("cuda")
    assert str(caught.value) == f"device=cuda cannot be used here: {told}."


@pytest.mark.parametrize(("step", "said", "told"), UNUSABLE)
def test_auto_takes_the_cpu_instead_and_says_why(step: str, said: str, told: str, gpu: Torch) -> None:
    setattr(gpu, step, said)
    choice = devices.choice()
    assert [each.name for each in choice.usable] == ["cpu"]
    assert choice.passed_over == f"device=auto takes device=cpu: device=cuda cannot be used here ({told})."


@pytest.mark.parametrize("said", [NO_DRIVER, "No CUDA GPUs are available"])
def test_auto_says_nothing_where_there_is_no_gpu_or_none_may_be_seen(said: str, gpu: Torch) -> None:
    gpu.starting = said
    choice = devices.choice()
    assert ([each.name for each in choice.usable], choice.passed_over) == (["cpu"], None)
    line = r"^device=cuda cannot be used here: torch finds no NVIDIA GPU with a working driver; use device="
    with pytest.raises(UserError, match=line):
        devices.open_device("cuda")


def test_auto_says_nothing_where_torch_has_no_cuda(gpu: Torch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    assert devices.choice().passed_over is None
    with pytest.raises(UserError, match=r"this torch is built without CUDA; install one built with it"):
        devices.open_device("cuda")


def test_a_usable_gpu_is_what_auto_takes_and_nothing_is_passed_over(gpu: Torch) -> None:
    choice = devices.choice()
    assert ([each.name for each in choice.usable], choice.passed_over) == (["cuda", "cpu"], None)


def test_a_gpu_without_kernels_in_this_torch_is_not_tried(gpu: Torch) -> None:
    gpu.capability = (6, 1)
    assert cuda.Device().unusable() == (
        f"torch {torch.__version__} has no kernels for sm_61, only for {', '.join(BUILT)}"
    )
    assert gpu.run == 0


@pytest.mark.parametrize(
    ("capability", "built", "runs"),
    [
        ((9, 0), ["sm_80", "sm_90"], True),
        ((8, 9), ["sm_80", "sm_86"], True),  # the same major version, a later minor one
        ((8, 0), ["sm_86"], False),
        ((9, 0), ["sm_80"], False),
        ((9, 0), ["sm_80", "compute_80"], True),  # compiled by the driver
        ((7, 0), ["compute_75"], False),
        ((10, 3), ["sm_100"], True),
        ((10, 3), ["sm_100a"], False),
        ((10, 3), ["sm_100f"], True),
        ((10, 0), ["sm_100a"], True),
        ((12, 0), ["sm_100", "sm_90a"], False),
        ((12, 0), [], True),  # a build that does not say
    ],
)
def test_kernels_run_on_a_gpu_by_the_rules_of_compatibility(
    capability: tuple[int, int], built: list[str], runs: bool
) -> None:
    assert trial.has_kernels(capability, built) is runs


def test_on_this_machine_torch_gives_a_reason_or_a_gpu_works() -> None:
    """Without stubs: where there is no GPU, torch's words for that must still be known."""
    device = cuda.Device()
    if torch.version.cuda is None or not torch.cuda.is_available():
        assert device.missing() is not None
    assert isinstance(devices.open_device("auto"), (cpu.Device, cuda.Device))
