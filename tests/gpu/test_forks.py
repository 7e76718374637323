"""Servers do not initialize CUDA; where an import does, their workers are new interpreters."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import pytest
from packages import install

from microbench import registry
from microbench.records.progress import Progress, Watch
from microbench.run.protocol import Request
from microbench.run.workers import WORKER, Forked, WorkerDiedError
from microbench.system import driver as nvidia

INITIALIZES = "import ctypes\n\nctypes.CDLL('libcuda.so.1').cuInit(0)\n"

IMPORTS = """
import os, sys
from contextlib import suppress
from importlib import import_module
from microbench.system import driver

driver.keep_uninitialized(os.environ)
for module in sys.argv[1:]:
    with suppress(ImportError):
        import_module(module)
        print(module, driver.is_initialized())
"""


def imported(modules: list[str], variables: Mapping[str, str]) -> tuple[dict[str, str], bool]:
    """Import modules as a server does: whether CUDA is initialized after each, and whether cuInit ran."""
    log = Path(variables["FAKE_CUDA_LOG"])
    log.unlink(missing_ok=True)
    command = [sys.executable, "-c", IMPORTS, *modules]
    done = subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, check=True
    )
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("microbench.")]
    return dict(lines), log.exists()


def test_no_server_import_initializes_cuda(driver: Mapping[str, str]) -> None:
    rooms = {room: registry.names(room) for room in ("workloads", "modes", "engines")}
    modules = [WORKER, *(registry.module_of(room, name) for room, names in rooms.items() for name in names)]
    found, was_initialized = imported(modules, driver)
    assert {
        WORKER,
        *(f"microbench.engines.{name}" for name in ("eager", "compile", "export")),
    } <= found.keys()
    assert set(found.values()) == {"False"}
    assert not was_initialized


def test_a_check_for_a_gpu_initializes_cuda_except_in_a_server(
    driver: Mapping[str, str],
) -> None:
    """Until torch 2.12, importing torch's compiler checks for a GPU."""
    log = Path(driver["FAKE_CUDA_LOG"])
    for prepares in (True, False):
        log.unlink(missing_ok=True)
        script = "import os, torch\nfrom microbench.system import driver\n"
        script += "driver.keep_uninitialized(os.environ)\n" * prepares + "print(torch.cuda.is_available())"
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, **driver},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == str(prepares)  # by NVML there is a GPU; by CUDA, none
        assert log.exists() is not prepares


@dataclass(frozen=True)
class Asks:
    """A request that does what a test specifies."""

    what: str

    def run(self, watch: Watch) -> Any:
        return getattr(self, self.what)()

    def process(self) -> tuple[int, int, bool, bool]:
        ctypes.CDLL("libcuda.so.1")
        return os.getpid(), os.getppid(), nvidia.is_initialized(), "initializes" in sys.modules

    def is_killed(self) -> None:
        print("last words", flush=True)
        os.kill(os.getpid(), 9)


def ask(what: str) -> Request:
    return cast(Request, Asks(what))


def ignore(progress: Progress) -> None:
    """Ignore progress."""


@pytest.fixture
def initializing(driver: Mapping[str, str], tmp_path: Path) -> Iterator[Forked]:
    """Workers whose server imports a module that initializes CUDA, after and before others."""
    (tmp_path / "initializes.py").write_text(INITIALIZES)
    variables = {**driver, "FAKE_CUDA_INIT": "0", "PYTHONPATH": str(tmp_path)}
    workers = Forked(["json", "initializes", "csv"], variables)
    yield workers
    workers.close()


def test_where_an_import_initializes_cuda_each_worker_is_a_new_interpreter(initializing: Forked) -> None:
    first, second = (initializing.ask(ask("process"), ignore, None).value for _ in range(2))
    assert first[0] != second[0]
    assert first[1] == second[1]  # of one server
    assert first[2:] == second[2:] == (False, False)
    (note,) = initializing.notes
    assert note.startswith("Importing initializes initializes CUDA, which forked processes cannot use: ")


def test_a_worker_that_is_a_new_interpreter_may_die_and_the_next_one_answers(initializing: Forked) -> None:
    with pytest.raises(WorkerDiedError, match="killed by SIGKILL") as caught:
        initializing.ask(ask("is_killed"), ignore, None)
    assert "last words" in caught.value.log
    assert initializing.ask(ask("process"), ignore, None).value[2] is False


def test_where_no_import_initializes_cuda_workers_are_forked(
    driver: Mapping[str, str], tmp_path: Path
) -> None:
    (tmp_path / "initializes.py").write_text("import ctypes\n\nctypes.CDLL('libcuda.so.1')\n")
    workers = Forked(["initializes"], {**driver, "FAKE_CUDA_INIT": "0", "PYTHONPATH": str(tmp_path)})
    try:
        assert workers.ask(ask("process"), ignore, None).value[2:] == (False, True)
    finally:
        workers.close()
    assert workers.notes == []


def test_without_a_driver_nothing_is_initialized() -> None:
    assert not nvidia.is_initialized()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}),
        ({"PYTORCH_NVML_BASED_CUDA_CHECK": "0"}, {"PYTORCH_NVML_BASED_CUDA_CHECK": "0"}),
        (
            {"CUDA_VISIBLE_DEVICES": "MIG-1"},
            {"PYTORCH_NVML_BASED_CUDA_CHECK": "1", "TORCHINDUCTOR_USE_EXPERIMENTAL_BENCHMARKER": "0"},
        ),
    ],
)
def test_a_server_finds_gpus_without_initializing_cuda(
    given: dict[str, str], expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "2.11.0+cu130")
    environment = dict(given)
    nvidia.keep_uninitialized(environment)
    assert environment == given | expected
    monkeypatch.setattr(metadata, "version", lambda name: "2.14.1")
    environment = dict(given)
    nvidia.keep_uninitialized(environment)
    assert "TORCHINDUCTOR_USE_EXPERIMENTAL_BENCHMARKER" not in environment


ENGINE = f"""
{INITIALIZES}
from microbench.engines import Job, Program
from microbench.engines.eager import TRAINS, prepare
"""


@pytest.mark.long
def test_the_cases_of_an_engine_that_initializes_cuda_are_measured(
    driver: Mapping[str, str], tmp_path: Path
) -> None:
    site = tmp_path / "site"
    install(site, "initializing", {"engines": {"initializing": "initializing_engine"}})
    (site / "initializing_engine.py").write_text(ENGINE)
    command = [sys.executable, "-m", "microbench", "model=dense", "device=cpu", "engine=initializing"]
    (site / "conf" / "engine").mkdir(parents=True)
    (site / "conf" / "engine" / "initializing.yaml").write_text("name: initializing\n")
    options = ["--config-dir", str(site / "conf"), "threads=1", "measure=quick", "measure.rounds=2"]
    paths = os.pathsep.join([str(site), *sys.path])
    done = subprocess.run(
        [*command, *options, "hydra.run.dir=run"],
        cwd=tmp_path,
        env={**os.environ, **driver, "FAKE_CUDA_INIT": "0", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if "initializes CUDA" in line]
    assert len(said) == 1, done.stderr
    assert said[0].startswith("Importing initializing_engine initializes CUDA")
