"""The instructions that compute in a number format on this machine."""

from __future__ import annotations

import os
import platform
import re
from functools import cache
from pathlib import Path
from typing import Any

import torch

from microbench.config import PrecisionConfig
from microbench.formats import mkldnn
from microbench.system.files import read

X86 = ("x86_64", "AMD64")
ARM = ("aarch64", "arm64")
CPUINFO = Path("/proc/cpuinfo")

INSTRUCTIONS = {
    "bfloat16": ("amx_bf16", "avx512_bf16"),
    "float16": ("amx_fp16", "avx512_fp16"),
}
"""The instructions that multiply a format on x86, best first, by the kernel's and torch's names."""

NEEDED = {
    "avx512_bf16": "AVX512_CORE_BF16",
    "avx512_fp16": "AVX512_CORE_FP16",
    "amx_bf16": "AVX512_CORE_AMX",
    "amx_fp16": "AVX512_CORE_AMX_FP16",
    "avx_vnni": "AVX2_VNNI",
    "avx512_vnni": "AVX512_CORE_VNNI",
    "amx_int8": "AVX512_CORE_AMX",
}
"""The limits of oneDNN that include these instructions."""

DOT_PRODUCTS = ("amx_int8", "avx512_vnni", "avx_vnni")
"""The instructions that multiply int8 on x86."""

ON_ARM = {"bfloat16": "arm_bf16", "float16": "arm_fp16"}
"""Our names for the extensions that multiply a format on ARM."""

LIMITS = (
    ("SSE41", "AVX", "AVX2", "AVX512_CORE"),
    ("AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE_VNNI"),
    ("AVX512_CORE_BF16",),
    ("AVX512_CORE_FP16", "AVX10_1_512"),
    ("AVX512_CORE_AMX", "AVX10_1_512_AMX"),
    ("AVX512_CORE_AMX_FP16", "AVX10_1_512_AMX_FP16"),
)
"""The values of ONEDNN_MAX_CPU_ISA, from least to most; each includes all before it."""


def of(precision: PrecisionConfig, device: str) -> str | None:
    """Return the instructions that multiply in torch's own engines, or `fp32`; None if unknown.

    oneDNN multiplies bf16 and fp16 directly if the CPU has instructions for them and it may use them.
    Otherwise it, or torch without it, converts them to fp32 and back. (Torch's own vector width,
    ATEN_CPU_CAPABILITY, has no effect on that.)
    """
    if device != "cpu" or platform.machine() not in (*X86, *ARM):
        return None
    format_ = precision.cast or precision.autocast
    return "fp32" if format_ is None else _multiplies(format_)


def is_emulated(format_: str, device: str) -> bool | None:
    """Return whether a 16-bit format, such as `bfloat16`, is computed in fp32; None if unknown."""
    found = of(PrecisionConfig(format_, cast=format_), device)
    return None if found is None else found not in (*NEEDED, *ON_ARM.values())


def emulated(device: str) -> tuple[str, ...]:
    """Return the formats that torch's own engines convert to fp32 and back; none if unknown."""
    return tuple(format_ for format_ in INSTRUCTIONS if is_emulated(format_, device))


def slow(device: str) -> tuple[str, ...]:
    """Return the formats that are multiplied in several steps: int8 without dot products; none if unknown."""
    if device != "cpu" or platform.machine() not in X86:
        return ()
    has = any(each in available() and is_allowed(each) for each in DOT_PRODUCTS)
    return () if has else ("int8",)


def _multiplies(format_: str) -> str | None:
    """Return the instructions that multiply a 16-bit format on this CPU; None if unknown."""
    emulated = f"{format_} emulated in fp32"
    if platform.machine() in ARM:
        if mkldnn.is_usable() and mkldnn.has(format_):
            return ON_ARM[format_]
        # Without oneDNN, and in fp16, torch's own products may use the extensions, but it does not say so.
        return emulated if mkldnn.is_usable() and format_ == "bfloat16" else None
    if mkldnn.is_usable():
        for instructions in INSTRUCTIONS[format_]:
            if instructions in available() and is_allowed(instructions):
                return instructions
    return emulated


@cache
def available() -> frozenset[str]:
    """Return the CPU's instructions by torch's names, which are mostly the kernel's.

    Torch detects them in this process, as the libraries do; the kernel's list for the machine is used before
    torch 2.12, which does not list them.
    """
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    flags = re.search(r"^flags\s*:(.*)$", read(CPUINFO) or "", re.MULTILINE)
    return frozenset(name for name, has in capabilities.items() if has is True) or frozenset(
        flags[1].split() if flags else ()
    )


def is_allowed(instructions: str) -> bool:
    """Return whether the environment lets oneDNN use the instructions."""
    ranks = {name: rank for rank, names in enumerate(LIMITS) for name in names}
    return ranks.get(limit(), len(LIMITS)) >= ranks[NEEDED[instructions]]


def limit() -> str:
    """Return the environment's limit on oneDNN; empty if there is none."""
    return os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", "")).upper()
