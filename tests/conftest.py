"""Fixtures of several rooms. No test sees a GPU but those that are marked `gpu`, which run alone."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Protocol

import pynvml
import pytest
from factory import QUIET, checked, configured, record_of, series_of, split
from fake_nvml import State, built, create
from hydra.core.config_store import ConfigStore
from msgspec.structs import replace
from omegaconf import DictConfig

from microbench.config import ModelConfig
from microbench.options import compose
from microbench.records.peaks import Peaks
from microbench.records.record import (
    BenchmarkWarning,
    Check,
    Outcome,
    RoundRecord,
    RunInfo,
    Status,
    StopReason,
)
from microbench.verify.judging import Checked


def pytest_configure(config: pytest.Config) -> None:
    """Hide GPUs from this process and all that it starts, unless the tests of GPUs are asked for."""
    if not _are_of_gpus(config):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the tests of GPUs beside others."""
    for item in items:
        if item.get_closest_marker("gpu") and not _are_of_gpus(config):
            item.add_marker(pytest.mark.skip(reason="needs a GPU: make test-gpu"))


def _are_of_gpus(config: pytest.Config) -> bool:
    return bool(config.option.markexpr == "gpu")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's cache folder as it is: all tests, in several processes too, share one of their own."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(base / "cache"))
        yield


@pytest.fixture(scope="session", autouse=True)
def _composed_once() -> Iterator[None]:
    """Have Hydra compose the same task once: it takes a tenth of a second, and most tests want a plain case.

    What other files, models or packages a test adds is composed anew, as is what is in its own folder.
    """
    plainly, found = compose._compose, dict[object, DictConfig]()

    def _compose(task: Sequence[str], folder: str | None = None) -> DictConfig:
        has_models = bool(ConfigStore.instance().repo.get("model"))
        if folder is not None or has_models or any("searchpath" in each for each in task):
            return plainly(task, folder)
        key = tuple(task), Path.cwd(), tuple(sys.path)
        if key not in found:
            found[key] = plainly(task)
        return deepcopy(found[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compose, "_compose", _compose)
        yield


RESNET = ModelConfig("torchvision", "resnet18", input_shape=[3, 224, 224])


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of a driver whose GPUs are a file."""
    return built(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def gpus(nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[State]:
    """Two idle GPUs that are a file, of which this process's pynvml tells, and that of its children."""
    library, state = ctypes.CDLL(str(nvml_library)), create(tmp_path / "gpus", 2)
    monkeypatch.setenv("FAKE_NVML", str(tmp_path / "gpus"))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(nvml_library.parent))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(pynvml, "nvmlLib", library)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    library.fakeNvmlForget()
    yield state
    library.fakeNvmlForget()


class Doctored(Protocol):
    """Makes the records of a doctor's run."""

    def __call__(
        self,
        first: Sequence[float],
        second: Sequence[float],
        peaks: Peaks | None = ...,
        within: float = ...,
        env: Mapping[str, Any] = ...,
        state: Mapping[str, Any] = ...,
        warnings: tuple[BenchmarkWarning, ...] = ...,
        allocator: str = ...,
    ) -> list[RoundRecord]:
        """The records.

        Args:
            first: the medians of the case's rounds, in seconds; 0 for one that failed.
            second: those of its twin.
            peaks: the machine's.
            within: how far samples scatter around these medians, as a share of them.
            env: fields of the machine and of the process.
            state: what the sensors read.
            warnings: on each round of the case and its twin.
            allocator: the option of the case and its twin.
        """
        ...


@pytest.fixture
def doctored() -> Doctored:
    """Makes the records of a doctor's run, as a run makes them."""

    def make(
        first: Sequence[float],
        second: Sequence[float],
        peaks: Peaks | None = None,
        within: float = 0.0,
        env: Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
        warnings: tuple[BenchmarkWarning, ...] = (),
        allocator: str = "system",
    ) -> list[RoundRecord]:
        machine, process = split(env or {})
        found = Outcome(
            warnings=warnings, readings=replace(QUIET, **(state or {})), process=process, peaks=peaks
        )
        failed = replace(found, status=Status.ERROR, error="it broke", warnings=())
        return [
            record_of(
                {"inference": [median * (1 + within * step) for step in (-1, -0.5, 0.5, 1)] * 10}
                if median
                else {},
                configured(model=RESNET, batch_size=1, allocator=allocator, measure__rounds=len(medians)),
                order=order,
                round=number,
                run=RunInfo(id="r", command="doctor"),
                machine=machine,
                outcome=found if median else failed,
            )
            for order, medians in enumerate((first, second))
            for number, median in enumerate(medians)
        ]

    return make


class Timed(Protocol):
    """Makes the records of one case of a run."""

    def __call__(
        self,
        times: Sequence[float | None] | Mapping[str, Sequence[float | None]],
        order: int = ...,
        run_id: str = ...,
        schedule: str = ...,
        env: Mapping[str, Any] = ...,
        error: tuple[Status, str] = ...,
        check: Check | Checked = ...,
        **settings: Any,
    ) -> list[RoundRecord]:
        """The records.

        Args:
            times: each round's median in seconds, of inference or by phase; None for a round that failed.
            order: its place in the run.
            run_id: the run.
            schedule: interleaved or sequential.
            env: fields of the machine and of the process.
            error: how rounds failed, and what was said of it.
            check: what came of checking the answer, in the first round.
            settings: of the configuration; a group by its option's name, one in a group as `group__name`.
        """
        ...


@pytest.fixture(scope="session")
def timed() -> Timed:
    """Makes the records of one case of a run, as a run makes them."""

    def make(
        times: Sequence[float | None] | Mapping[str, Sequence[float | None]],
        order: int = 0,
        run_id: str = "r",
        schedule: str = "interleaved",
        env: Mapping[str, Any] | None = None,
        error: tuple[Status, str] = (Status.ERROR, "it broke"),
        check: Check | Checked | None = None,
        **settings: Any,
    ) -> list[RoundRecord]:
        phases = times if isinstance(times, Mapping) else {"inference": times}
        rounds = max(map(len, phases.values()))
        config = configured(**{"measure__rounds": rounds} | settings)
        machine, process = split({"threads": config.threads} | dict(env or {}))
        good = Outcome(stop_reason=StopReason.REL_CI, process=process)
        failed = Outcome(status=error[0], error=error[1], process=process)
        found: list[RoundRecord] = []
        for number in range(rounds):
            medians = {phase: each[number] for phase, each in phases.items()}
            ended = all(median is not None for median in medians.values())
            outcome = good if ended else failed
            if check is not None and number == 0:
                outcome = checked(check).applied(outcome)
            found.append(
                record_of(
                    {
                        phase: series_of(phase, [median or 0.0] * 6)
                        for phase, median in medians.items()
                        if ended
                    },
                    config,
                    order=order,
                    round=number,
                    run=RunInfo(id=run_id, schedule=schedule),
                    machine=machine,
                    outcome=outcome,
                )
            )
        return found

    return make
