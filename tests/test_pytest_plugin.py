"""The pytest plugin: in a suite of its own once, and its verdicts on records that the test makes."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from factory import FAST, NOISY, SLOW, result_of

import microbench
import pytest_microbench
from microbench import api
from microbench.errors import UserError
from microbench.records.record import RoundRecord, Status
from microbench.records.store import Store
from pytest_microbench import BASELINE, SAVE, STRICT, Microbench

ROOT = Path(__file__).parents[1]
Make = Callable[..., Microbench]
Failed, Skipped = pytest.fail.Exception, pytest.skip.Exception

SUITE = """
import torch
from torch import nn


class Once(nn.Module):
    calls = 1

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 64)

    def forward(self, x):
        for _ in range(self.calls):
            x = self.layer(x)
        return x


class Often(Once):
    calls = 30


FEW = {
    "inputs": torch.ones(4, 64),
    "mode": "infer",
    "device": "cpu",
    "threads": 1,
    "verify": False,
    "measure": {"rounds": 3, "budget": None, "max_time": 0.02, "min_time": 0, "max_warmup": 0.02},
}


def test_beside_another_plugin(microbench, benchmark):
    benchmark(sum, [1, 2])
    microbench.not_slower(Often(), Once(), **FEW)
"""


def test_a_suite_fails_where_a_module_is_slower(tmp_path: Path) -> None:
    (tmp_path / "test_speed.py").write_text(SUITE)
    plugins = ("pytest_microbench", "pytest_benchmark.plugin", "xdist.plugin")
    command = [sys.executable, "-m", "pytest", "-q", "--microbench-save=kept"]
    ended = subprocess.run(
        [*command, *(f"-p{name}" for name in plugins)],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_ADDOPTS": "",
        },
        capture_output=True,
        text=True,
        timeout=240,
    )
    lines = ended.stdout.splitlines()
    assert ended.returncode == 1, ended
    assert any(line.startswith("slower: infer inference: Often/Once ") for line in lines), ended.stdout
    assert "Traceback" not in ended.stdout
    (kept,) = (tmp_path / "kept").glob("*/1")
    assert kept.parent.name.startswith("test_speed.py-test_beside_another_plugin-")
    (row,) = microbench.compare(kept, by="model", baseline="Once").rows
    assert (row.paired, row.a_rounds, row.verdict) == (True, 3, "slower")


def test_the_plugin_imports_nothing_of_the_package() -> None:
    heavy = ("microbench", "torch", "numpy", "pandas")
    code = f"import sys, pytest_microbench; print([name for name in {heavy} if name in sys.modules])"
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert told.stdout == "[]\n"


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes the fixture of a test, which measures these records."""

    def made(*cases: list[RoundRecord], among_workers: bool = False, **options: Any) -> Microbench:
        given = {f"--microbench-{name}": value for name, value in options.items()}

        def run(model: Any, folder: Path, **_: Any) -> Any:
            with Store(folder) as store:
                for record in (record for case in cases for record in case):
                    store.append(record)
            return result_of(*cases)

        monkeypatch.setattr(api, "run", run)
        factory = SimpleNamespace(getbasetemp=lambda: tmp_path / "worker")
        request = SimpleNamespace(
            config=SimpleNamespace(getoption=given.get, **({"workerinput": {}} if among_workers else {})),
            node=SimpleNamespace(nodeid="tests/test_speed.py::test_net[1/2]"),
            getfixturevalue=lambda name: {"tmp_path_factory": factory}[name],
        )
        return Microbench(request, tmp_path / "test")  # type: ignore[arg-type]

    return made


@pytest.fixture
def kept(make: Make, timed: Any, tmp_path: Path) -> Path:
    """Where a test has kept a case."""
    make(timed(FAST), save=tmp_path / "kept").run("dense")
    return tmp_path / "kept"


def test_slower_than_the_baseline_fails_with_the_words_of_the_comparison(
    make: Make, timed: Any, kept: Path
) -> None:
    with pytest.raises(Failed) as failed:
        make(timed(SLOW, run_id="s"), baseline=kept).no_regression("dense")
    text = str(failed.value)
    assert text.startswith("slower: dense infer inference: B/A 1.199, 95 % CI 1.184 to 1.214, slower\n")
    assert "separate runs are not interleaved" in text


def test_other_verdicts_pass_unless_inconclusive_is_to_fail(make: Make, timed: Any, kept: Path) -> None:
    noisy = timed(NOISY, run_id="s")
    with pytest.warns(UserWarning, match=r"^inconclusive: dense infer inference: B/A 1\.\d+, 95 % CI "):
        found = make(noisy, baseline=kept).no_regression("dense")
    assert found is not None
    assert found.rows[0].verdict == "inconclusive"
    with pytest.raises(Failed, match=r"^inconclusive: dense infer"):
        make(noisy, baseline=kept, strict=True).no_regression("dense")
    with pytest.raises(Failed, match=r"^inconclusive: dense infer"):
        make(noisy, baseline=kept).no_regression("dense", strict=True)
    with pytest.warns(UserWarning, match=r"^inconclusive: dense infer"):
        make(noisy, baseline=kept, strict=True).no_regression("dense", strict=False)


def test_a_slowdown_may_be_allowed(make: Make, timed: Any, kept: Path) -> None:
    slow = timed(SLOW, run_id="s")
    make(slow, baseline=kept).no_regression("dense", max_slowdown=0.25)
    with pytest.raises(Failed, match=r"^slower by more than 5.0 %: dense infer"):
        make(slow, baseline=kept).no_regression("dense", max_slowdown=0.05)


def test_a_model_that_has_changed_is_compared_all_the_same(make: Make, timed: Any, kept: Path) -> None:
    other = timed(SLOW, run_id="s", model="net")
    with pytest.raises(Failed, match=r"^slower: dense→net infer inference: "):
        make(other, baseline=kept).no_regression("net")


def test_without_a_baseline_it_is_only_measured(make: Make, timed: Any, kept: Path) -> None:
    assert make(timed(SLOW)).no_regression("dense") is None
    second = make(timed(SLOW), baseline=kept)
    second.run("dense")
    with pytest.warns(UserWarning, match="has nothing of this test .*: it was measured, but not compared"):
        assert second.no_regression("dense") is None
    strict = make(timed(SLOW), baseline=kept.parent / "none", strict=True)
    with pytest.raises(Failed, match="has nothing of this test"):
        strict.no_regression("dense")


def test_a_case_that_fails_fails_the_test_and_one_that_cannot_run_skips_it(make: Make, timed: Any) -> None:
    with pytest.raises(Failed, match=r"^dense: error: it broke$"):
        make(timed([None])).run("dense")
    with pytest.raises(Skipped, match="dense: skipped: no such library"):
        make(timed([None], error=(Status.SKIPPED, "no such library"))).run("dense")


def test_a_mistake_fails_the_test_with_its_line(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise UserError("Unknown mode 'infr'.")

    fixture = make()
    monkeypatch.setattr(api, "run", run)
    with pytest.raises(Failed, match=r"^Unknown mode 'infr'\.$"):
        fixture.run("dense")


def test_a_case_of_which_some_rounds_fail_fails_the_test(make: Make, timed: Any) -> None:
    with pytest.raises(Failed, match=r"^dense: error: it broke$"):
        make(timed([1.0, None, 1.0])).run("dense")


def test_workers_of_xdist_measure_in_turn(
    make: Make, timed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bool] = []

    def run(*_: Any, **__: Any) -> Any:
        with (tmp_path / "microbench.lock").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held.append(False)
            except BlockingIOError:
                held.append(True)
        return result_of(timed(FAST))

    alone, worker = make(), make(among_workers=True)
    monkeypatch.setattr(api, "run", run)
    (tmp_path / "microbench.lock").touch()
    alone.run("dense")
    worker.run("dense")
    assert held == [False, True]


def test_one_round_per_side_has_no_verdict(make: Make, timed: Any, kept: Path) -> None:
    with pytest.raises(Failed, match=r"^No verdict is possible, .*: measure\.rounds=6\.$"):
        make(timed([1.0], run_id="s"), baseline=kept).no_regression("dense")


def test_what_a_test_kept_before_is_replaced(make: Make, timed: Any, kept: Path) -> None:
    make(timed(SLOW, run_id="s"), save=kept).run("dense")
    (folder,) = kept.glob("*/1")
    assert {record.run.id for record in microbench.load(folder).records} == {"s"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({BASELINE: "nowhere"}, "--microbench-baseline nowhere: there is no such folder"),
        ({BASELINE: ".", SAVE: "./x/.."}, "--microbench-save ./x/.. would overwrite the baseline"),
    ],
)
def test_folders_that_cannot_be_meant_are_rejected(
    options: dict[str, str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pytest.UsageError, match=re.escape(words)):
        pytest_microbench.pytest_configure(SimpleNamespace(getoption=options.get))  # type: ignore[arg-type]
    pytest_microbench.pytest_configure(SimpleNamespace(getoption={SAVE: "y", STRICT: True}.get))  # type: ignore[arg-type]
