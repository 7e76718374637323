"""The command, forked from a process that has imported what it needs, and its servers from one with torch.

Both are started when first used, one pair per test process, and end with it. A command for which a fork
does not suffice is started in a new interpreter: `run` decides. A test that is about starting itself, about
signals, limits, terminals or streams starts the command with `subprocess`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import PathFinder
from multiprocessing.connection import wait
from pathlib import Path
from threading import Lock

from .zygote import Start, ask, fits

# What a developer's shell may set and would change the command's output, and what libraries set when a test
# imports them.
FOREIGN = (
    "COLUMNS",
    "FORCE_COLOR",
    "HYDRA_FULL_ERROR",
    "NO_COLOR",
    "ORT_DISABLE_TELEMETRY",
    "PYTHONIOENCODING",
    "TORCHINDUCTOR_CACHE_DIR",
    "TTY_COMPATIBLE",
    "TTY_INTERACTIVE",
)

OF_COMMANDS = (
    *("microbench.api", "microbench.cli.main", "microbench.options.compose", "microbench.run.runner"),
    *(
        "microbench.cli.compare",
        "microbench.cli.doctor",
        "microbench.cli.list",
        "microbench.cli.show",
    ),
    *("microbench.tables.export", "microbench.tables.progress", "microbench.tables.terminal"),
    *("microbench.tables.compare", "microbench.tables.ranking", "microbench.analysis.compare"),
    *("microbench.stats.ratio", "microbench.stats.rounds", "pandas"),
)
"""What commands import sooner or later; none of it imports torch."""

OF_SERVERS = (
    *("microbench.worker", "microbench.run.protocol"),
    *("microbench.workloads.layer", "microbench.workloads.torchvision", "microbench.engines.eager"),
    *("microbench.modes.infer", "microbench.modes.train", "microbench.modes.profile"),
)
"""What most servers import. A server of another engine imports that itself once it is forked."""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's variables except `FOREIGN`, and more; PYTHONPATH is extended at its front."""
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    merged = kept | dict(extra or {})
    paths = [each["PYTHONPATH"] for each in (extra or {}, kept) if "PYTHONPATH" in each]
    return merged | ({"PYTHONPATH": os.pathsep.join(paths)} if paths else {})


BEGUN = environment({"CUDA_VISIBLE_DEVICES": ""})  # which is set later, for all but the tests of GPUs
CPUS = os.sched_getaffinity(0) if sys.platform == "linux" else None


ZYGOTES: dict[tuple[str, ...], tuple[socket.socket, subprocess.Popen[bytes]]] = {}
ONE_AT_A_TIME = Lock()


def zygote(*modules: str) -> socket.socket:
    """Return the socket of a process that imports these modules and ends with this one."""
    with ONE_AT_A_TIME:
        if modules not in ZYGOTES:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                script, descriptor = Path(__file__).with_name("zygote.py"), theirs.fileno()
                process = subprocess.Popen(
                    [sys.executable, str(script), str(descriptor), *modules],
                    pass_fds=[descriptor],
                    env=BEGUN,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,
                )
            ZYGOTES[modules] = ours, process
        return ZYGOTES[modules][0]


def run(arguments: Sequence[str], cwd: Path, env: Mapping[str, str], timeout: float) -> tuple[int, str, str]:
    """Run `python ARGUMENT…`; return its exit code, and its output and error, which are pipes.

    Raises:
        subprocess.TimeoutExpired: it takes longer than `timeout` seconds; it has been killed.
    """
    if can_be_forked(arguments, cwd, env):
        return forked(arguments, cwd, env, timeout)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def can_be_forked(arguments: Sequence[str], cwd: Path, env: Mapping[str, str]) -> bool:
    """Return whether a forked process does what one in a new interpreter would."""
    if CPUS is None or os.sched_getaffinity(0) != CPUS:
        return False
    if any(each.startswith("isolation=") and "spawn" in each for each in arguments):
        return False  # which is about new interpreters
    known = BEGUN.get("PYTHONPATH", "").split(os.pathsep)
    added = [each for each in env.get("PYTHONPATH", "").split(os.pathsep) if each not in known]
    return fits(env, BEGUN) and not any(map(hides, [cwd, *(Path(each) for each in added)]))


def hides(folder: Path) -> bool:
    """Return whether a folder has a module that hides an installed one, or that every interpreter imports."""
    return any(
        name in ("sitecustomize", "usercustomize")
        or name in sys.stdlib_module_names
        or PathFinder.find_spec(name) is not None
        for name in modules_in(folder)
    )


def modules_in(folder: Path) -> Iterator[str]:
    """Yield the names of the modules and packages that lie in a folder."""
    for path in folder.iterdir():
        if path.suffix in (".py", ".so") or (path / "__init__.py").exists():
            yield path.name.partition(".")[0]


def forked(
    arguments: Sequence[str], cwd: Path, env: Mapping[str, str], timeout: float
) -> tuple[int, str, str]:
    """Do the same in a forked process."""
    deadline = time.monotonic() + timeout
    start = Start(arguments, str(cwd), dict(env), (0, 1, 2), asks=True)
    (out, their_out), (err, their_err) = os.pipe(), os.pipe()
    with Path(os.devnull).open() as nothing:
        descriptors = (nothing.fileno(), their_out, their_err, zygote(*OF_SERVERS).fileno())
        process = ask(zygote(*OF_COMMANDS), start, descriptors)
    os.close(their_out)
    os.close(their_err)
    try:
        texts = drained([out, err], deadline)
        code = process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    finally:
        os.close(out)
        os.close(err)
    return code, texts[out], texts[err]


def drained(pipes: Sequence[int], deadline: float) -> dict[int, str]:
    """Read pipes until they have no writers."""
    written: dict[int, list[bytes]] = {each: [] for each in pipes}
    still = set(pipes)
    while still:
        ready = wait(still, max(0.0, deadline - time.monotonic()))
        if not ready:
            raise subprocess.TimeoutExpired("a forked process", deadline)
        for each in ready:
            chunk = os.read(int(each), 2**16)  # type: ignore[call-overload]
            written[each].append(chunk) if chunk else still.remove(each)
    return {each: b"".join(chunks).decode() for each, chunks in written.items()}
