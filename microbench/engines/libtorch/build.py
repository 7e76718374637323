"""The program's build: once per combination of sources, compiler, torch and the device's libraries."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from microbench.caching import cache_folder
from microbench.errors import SkippedError, first_line

SOURCES = Path(__file__).parent
TORCH = Path(torch.__file__).parent
HEADERS = (TORCH / "include", TORCH / "include/torch/csrc/api/include")
LIBRARIES = TORCH / "lib"


class BuildError(Exception):
    """The compiler failed on the program."""


def program(libraries: Sequence[str] = ()) -> Path:
    """Return the program's path; build it first if it does not exist yet, which takes about 15 seconds.

    It is in the user's cache folder, under a hash of everything that it is built from. If it exists, it is
    complete; if several processes need it at once, one builds it.

    Args:
        libraries: torch's libraries for a device other than the CPU.

    Raises:
        SkippedError: it cannot be built here; says what is missing.
        BuildError: the compiler failed.
    """
    command = _command(_compiler(), libraries)
    path = _folder() / _identity(command) / "program"
    if not path.exists():
        with _locked(path.parent):
            if not path.exists():
                _compile(command, path)
    return path


def _compiler() -> str:
    """Return the C++ compiler.

    Raises:
        SkippedError: it, or something that it needs, is missing.
    """
    if sys.platform != "linux":
        raise SkippedError("engine=libtorch needs Linux: use engine=torchscript")
    wanted = os.environ.get("CXX") or "g++"
    found = shutil.which(wanted)
    if found is None:
        raise SkippedError(
            f"engine=libtorch needs the C++ compiler {wanted}: `apt install g++`, or `conda install -c "
            "conda-forge gxx` (the variable CXX names another)"
        )
    if not (HEADERS[1] / "torch/torch.h").exists():
        raise SkippedError(
            f"engine=libtorch needs torch's C++ headers, which {TORCH} does not have: install torch with pip"
        )
    return found


def _command(compiler: str, libraries: Sequence[str]) -> list[str]:
    """Return the compiler's command line in the sources' folder, without the output's name.

    Nothing in the program refers to a device's libraries, which register themselves when they are loaded.
    """
    linked = [f"-l{each}" for each in libraries]
    return [
        compiler,
        "-O2",
        "-std=c++20",
        f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}",
        *(f"-isystem{folder}" for folder in HEADERS),
        "program.cpp",
        f"-L{LIBRARIES}",
        f"-Wl,-rpath,{LIBRARIES}",
        "-ltorch_cpu",
        "-lc10",
        *(["-Wl,--no-as-needed", *linked] if linked else []),
    ]


def _identity(command: Sequence[str]) -> str:
    """Return a hash of everything that the program is built from."""
    sources = [path.read_text("utf-8") for path in sorted(SOURCES.iterdir()) if path.suffix in (".cpp", ".h")]
    parts = [*command, str(torch.__version__), *sources]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _folder() -> Path:
    """Return the folder where programs are kept.

    Raises:
        SkippedError: this user has no home.
    """
    try:
        return cache_folder() / "libtorch"
    except RuntimeError as error:
        raise SkippedError(
            "engine=libtorch has no folder to build in, because this user has no home: set XDG_CACHE_HOME"
        ) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Make a folder and lock it against other builds.

    Raises:
        SkippedError: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w", encoding="utf-8")
    except OSError as error:
        raise SkippedError(
            f"engine=libtorch cannot write to {folder} ({error.strerror}): set XDG_CACHE_HOME to a folder of "
            "your own"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _compile(command: Sequence[str], path: Path) -> None:
    """Compile under a temporary name, and rename the program once it is complete."""
    made = path.with_suffix(".new")
    done = subprocess.run(
        [*command, "-o", str(made)],
        cwd=SOURCES,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        errors = (line for line in done.stderr.splitlines() if "error" in line)
        raise BuildError(f"{command[0]} cannot compile the program: {next(errors, first_line(done.stderr))}")
    made.replace(path)
