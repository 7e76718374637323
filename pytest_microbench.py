"""The pytest plugin: the fixture `microbench`, which fails a test on a verdict and not on a threshold.

pytest imports this module in every test suite of an environment. So it is no part of the package, and imports
that only when a test measures.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from microbench.api import Result
    from microbench.tables.compare import Comparison

BASELINE, SAVE, STRICT = "--microbench-baseline", "--microbench-save", "--microbench-strict"
LONGEST = 80  # characters of a test's name in the name of its folder


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the fixture."""
    group = parser.getgroup("microbench", "measuring neural networks")
    group.addoption(SAVE, metavar="DIR", help="keep what tests measure in DIR, as a baseline for later")
    group.addoption(BASELINE, metavar="DIR", help="what microbench.no_regression compares with")
    group.addoption(STRICT, action="store_true", help="fail on inconclusive verdicts and missing baselines")


def pytest_configure(config: pytest.Config) -> None:
    """Reject folders that cannot be meant.

    Raises:
        UsageError: there is no such baseline, or what is measured would overwrite it.
    """
    baseline, save = config.getoption(BASELINE), config.getoption(SAVE)
    if baseline is not None and not Path(baseline).is_dir():
        raise pytest.UsageError(f"{BASELINE} {baseline}: there is no such folder; make one by {SAVE} DIR.")
    if baseline is not None and save is not None and Path(baseline).resolve() == Path(save).resolve():
        raise pytest.UsageError(f"{SAVE} {save} would overwrite the baseline: give another folder.")


@pytest.fixture
def microbench(request: pytest.FixtureRequest, tmp_path: Path) -> Microbench:
    """Measure modules in processes of their own, and fail the test where a verdict says slower."""
    return Microbench(request, tmp_path)


class Microbench:
    """What a test measures and compares by.

    Every method takes the options of `microbench.run`, such as `mode="train"` or `measure={"budget": 5}`.
    Where a case fails or an option is wrong, the test fails with one line that says why; where a case cannot
    run on this machine, the test is skipped.
    """

    def __init__(self, request: pytest.FixtureRequest, tmp_path: Path) -> None:
        config, name = request.config, _folder_name(request.node.nodeid)
        baseline, save = config.getoption(BASELINE), config.getoption(SAVE)
        self._baseline = None if baseline is None else Path(baseline) / name
        self._folder = tmp_path / "microbench" if save is None else Path(save) / name
        self._is_strict = bool(config.getoption(STRICT))
        self._lock: Path | None = None
        if hasattr(config, "workerinput"):  # a worker of xdist, whose folder lies in that of all workers
            folder: Path = request.getfixturevalue("tmp_path_factory").getbasetemp().parent
            self._lock = folder / "microbench.lock"
        self._measurements = 0

    def run(self, model: Any, *, inputs: Any = None, objective: Any = None, **options: Any) -> Result:
        """Measure a module, or a model by its name, in fresh processes, and return the result.

        Args:
            model: as of `microbench.run`.
            inputs: a module's arguments.
            objective: what its training minimizes.
            options: other options.
        """
        __tracebackhide__ = True
        from microbench import api

        return self._measured(api.run, model, inputs=inputs, objective=objective, **options)

    def sweep(self, model: Any, *, inputs: Any = None, objective: Any = None, **options: Any) -> Result:
        """Measure every combination of the listed values, in interleaved rounds; see `run`."""
        __tracebackhide__ = True
        from microbench import api

        return self._measured(api.sweep, model, inputs=inputs, objective=objective, **options)

    def not_slower(
        self,
        candidate: Any,
        baseline: Any,
        *,
        inputs: Any = None,
        objective: Any = None,
        strict: bool | None = None,
        max_slowdown: float | None = None,
        **options: Any,
    ) -> Comparison:
        """Fail the test if a module is slower than another; return the comparison.

        The rounds of both are interleaved, so that what disturbs the machine disturbs both alike.

        Args:
            candidate: a module, or a model by its name.
            baseline: what it is compared with, on the same inputs.
            inputs: the arguments of both.
            objective: what the training of both minimizes.
            strict: also fail on an inconclusive verdict; by default only with `--microbench-strict`.
            max_slowdown: the share by which the candidate may be slower: only fail beyond it.
            options: other options.
        """
        __tracebackhide__ = True
        from microbench import api

        result = self.sweep([baseline, candidate], inputs=inputs, objective=objective, **options)
        with _told():
            name = result.cases()[0].config.model.name
            comparison = api.compare(result, by="model", baseline=name)
        self.check(comparison, strict=strict, max_slowdown=max_slowdown)
        return comparison

    def no_regression(
        self,
        model: Any,
        *,
        inputs: Any = None,
        objective: Any = None,
        strict: bool | None = None,
        max_slowdown: float | None = None,
        **options: Any,
    ) -> Comparison | None:
        """Fail the test if a module is slower than it was; return the comparison.

        What is measured is kept by `--microbench-save DIR`, and compared by `--microbench-baseline DIR` with
        what the same test had kept. Without a baseline it is only measured, and None is returned. For the
        arguments see `not_slower`.
        """
        __tracebackhide__ = True
        from microbench import api

        result = self.run(model, inputs=inputs, objective=objective, **options)
        if self._baseline is None:
            return None
        folder = self._baseline / str(self._measurements)
        if not folder.exists():
            self._tell_missing(folder, strict)
            return None
        with _told():
            before = api.load(folder)
            both = [
                {case.config.model.identity or case.config.model.name for case in each.cases()}
                for each in (before, result)
            ]
            comparison = api.compare(before, result, by="model" if both[0].isdisjoint(both[1]) else None)
        self.check(comparison, strict=strict, max_slowdown=max_slowdown)
        return comparison

    def check(
        self, comparison: Comparison, *, strict: bool | None = None, max_slowdown: float | None = None
    ) -> None:
        """Fail the test if a comparison's verdict is slower, and warn of inconclusive ones that pass.

        For the arguments see `not_slower`.
        """
        __tracebackhide__ = True
        words = [] if max_slowdown is not None else ["slower"]
        words += ["inconclusive"] if (self._is_strict if strict is None else strict) else []
        with _told():
            failing = comparison.failing(words, max_slowdown)
        if failing:
            pytest.fail("\n".join([*failing, "", str(comparison)]), pytrace=False)
        for text in comparison.failing("inconclusive"):
            warnings.warn(text, stacklevel=3)

    def _measured(self, measure: Callable[..., Result], model: Any, /, **arguments: Any) -> Result:
        __tracebackhide__ = True
        self._measurements += 1
        folder = self._folder / str(self._measurements)
        shutil.rmtree(folder, ignore_errors=True)  # what the test had measured before
        with _told(), _alone(self._lock):
            result = measure(model, folder=folder, **arguments)
        for case in result.cases():
            for failed in case.failures.values():
                text = f"{case.name}: {failed.outcome.status}: {failed.outcome.error}"
                if case.status == "skipped":
                    pytest.skip(text)
                pytest.fail(text, pytrace=False)
        return result

    def _tell_missing(self, folder: Path, strict: bool | None) -> None:
        __tracebackhide__ = True
        text = f"{BASELINE} has nothing of this test ({folder}): it was measured, but not compared"
        if self._is_strict if strict is None else strict:
            pytest.fail(text, pytrace=False)
        warnings.warn(text, stacklevel=3)


def _folder_name(test: str) -> str:
    """Return a test's name as the name of a folder, which no other test has."""
    readable = re.sub(r"[^\w.-]+", "-", test)[-LONGEST:].strip("-")
    return f"{readable}-{hashlib.sha256(test.encode()).hexdigest()[:8]}"


@contextmanager
def _told() -> Iterator[None]:
    """Fail the test with one line if the package rejects what it was given."""
    __tracebackhide__ = True
    from microbench.errors import UserError

    try:
        yield
    except UserError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


@contextmanager
def _alone(lock: Path | None) -> Iterator[None]:
    """Wait until no other process that locks the file measures."""
    if lock is None:
        yield
        return
    import fcntl

    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
