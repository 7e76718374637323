"""torch's compiler: its requirements, caches, settings, and the processes it starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch._inductor.async_compile
import torch._inductor.codecache
import torch._inductor.compile_fx
import torch._inductor.cpp_builder
import torch._inductor.exc
import torch._inductor.utils
import torch.compiler.config

from microbench.config import EngineConfig
from microbench.errors import SkippedError
from microbench.formats import arithmetic
from microbench.workloads import Workload


def require_compiler(engine: str) -> None:
    """Raise a SkippedError if there is no C++ compiler."""
    try:
        torch._inductor.cpp_builder.get_cpp_compiler()
    except torch._inductor.exc.InvalidCxxCompiler as error:
        asked = f"CXX={os.environ['CXX']} is not one" if os.environ.get("CXX") else "none was found"
        raise SkippedError(
            f"engine={engine} needs a C++ compiler, but {asked}: install g++ (apt install g++), or set CXX"
        ) from error


@contextmanager
def compiling(options: EngineConfig, on_cpu: bool) -> Iterator[None]:
    """Compile with an engine's options while the context lasts.

    On the CPU, where kernels are written in C++, the processes that compile for Triton are not started.
    """
    with ExitStack() as stack:
        stack.callback(end_processes)
        if options.cache == "cold":
            stack.enter_context(cold())
        if on_cpu:
            stack.enter_context(variable("TORCH_WARM_POOL", "0"))
        stack.enter_context(torch._inductor.config.patch(settings_of(options)))
        stack.enter_context(torch.compiler.config.patch(cache_key_tag=tag()))  # type: ignore[attr-defined]
        yield


def is_on_cpu(workload: Workload) -> bool:
    """Say whether all of a workload's inputs lie on the CPU."""
    return all(tensor.device.type == "cpu" for tensor in workload.inputs)


@contextmanager
def folder(name: str) -> Iterator[Path]:
    """Make a temporary folder that is removed when the context ends."""
    with TemporaryDirectory(prefix=f"microbench-{name}-", ignore_cleanup_errors=True) as path:
        yield Path(path)


def settings_of(options: EngineConfig) -> dict[str, Any]:
    """Translate an engine's options to those of torch._inductor.config.

    The number of threads is explicit because torch 2.11 reuses cached code that was generated for another
    number.
    """
    return {
        "freezing": options.freezing,
        "cpp_wrapper": options.cpp_wrapper,
        "cpp.threads": torch.get_num_threads(),
    }


def tag() -> str:
    """Return a tag that keeps the compiler's caches apart for different instruction sets.

    torch 2.14 reuses cached graphs whose wrapper and kernels are for vectors of another width: the numbers
    are then wrong, or the process crashes. Weights packed for oneDNN depend on oneDNN's limit.
    """
    own = os.environ.get("TORCH_COMPILE_CACHE_KEY_TAG", "")
    return f"{own} {torch.backends.cpu.get_cpu_capability()} {arithmetic.limit()}".strip()


@contextmanager
def variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable, and restore its value afterwards."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextmanager
def cold() -> Iterator[None]:
    """Compile with empty caches in a temporary folder of their own.

    They include precompiled headers, which torch keeps outside its caches: otherwise the first case on a
    machine would build them and the others would reuse them.
    """
    with (
        folder("cold") as path,
        _headers_in(path / "headers"),
        torch._inductor.utils.fresh_cache(dir=str(path)),
    ):
        yield


@contextmanager
def _headers_in(folder: Path) -> Iterator[None]:
    codecache, names = torch._inductor.codecache, ("_HEADER_DIR", "_HEADER_LOCK_DIR")
    before = {name: getattr(codecache, name) for name in names}
    codecache._precompile_header.cache_clear()
    try:
        for name, path in zip(names, (folder, folder / "locks"), strict=True):
            setattr(codecache, name, str(path))
        yield
    finally:
        codecache._precompile_header.cache_clear()
        for name, path in before.items():
            setattr(codecache, name, path)


def end_processes() -> None:
    """End the compiler's processes, so that none idles, or is still starting, while something is timed."""
    torch._inductor.async_compile.shutdown_compile_workers()
