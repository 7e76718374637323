"""Whether the GPU can be used, which only trying it tells: it may be busy, full, too old or too new."""

from __future__ import annotations

import re

import torch

from microbench.errors import first_line

ABSENT = ("Found no NVIDIA driver", "No CUDA GPUs are available")
"""How torch begins to say that there is no GPU, or that it may see none."""

SENTENCE_END = re.compile(r"\.\s+(?=[A-Z])")
CODE = re.compile(r"\bError \d+: (.+)")  # torch puts the driver's own words last
ARCHITECTURE = re.compile(r"(sm|compute)_(\d+)([af]?)")


def failure() -> str | None:
    """Return torch's own reason why nothing runs on the current device; None if a small kernel does.

    `torch.cuda.is_available` does not tell: by NVML it is true of a GPU that cannot be used, and it never
    tells whether torch has kernels for the GPU.
    """
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
        capability = torch.cuda.get_device_capability()
        if not has_kernels(capability, built := torch.cuda.get_arch_list()):
            of_gpu = "sm_{}{}".format(*capability)
            return f"torch {torch.__version__} has no kernels for {of_gpu}, only for {', '.join(built)}"
        torch.ones(1, device="cuda").add_(1).item()
    except Exception as error:
        return reason(error)
    return None


def reason(error: BaseException) -> str:
    """Return what an error of CUDA says, on one line: its first sentence, or the driver's words."""
    text = first_line(error) if str(error) else type(error).__name__
    found = CODE.search(text)
    words = found[1] if found else SENTENCE_END.split(text)[0]
    return words.removeprefix("CUDA error: ").rstrip(".")


def means_absent(why: str) -> bool:
    """Return whether a reason says that there is no GPU, or that torch may see none."""
    return why.startswith(ABSENT)


def has_kernels(capability: tuple[int, int], built: list[str]) -> bool:
    """Return whether code for these architectures, such as `sm_90`, runs on a GPU of that capability.

    Machine code runs on GPUs of the same major version and at least its minor one, `a` on that GPU alone, `f`
    on its family; code to be compiled by the driver (`compute_90`), on all later ones. An empty list says
    nothing. Source: NVIDIA's CUDA C++ Programming Guide, "Binary Compatibility" and "PTX Compatibility".
    """
    gpu = 10 * capability[0] + capability[1]

    def runs(kind: str, code: int, only: str) -> bool:
        if only == "a":
            return code == gpu
        return code <= gpu and ((kind == "compute" and not only) or code // 10 == gpu // 10)

    found = [ARCHITECTURE.fullmatch(each) for each in built]
    known = [(each[1], int(each[2]), each[3]) for each in found if each]
    return not known or any(runs(*each) for each in known)
