"""The benchmark that checks a GPU: without one, and its parts that need none."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import facade
import pytest
from facade import Facade

SCRIPTS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The script as a module."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield importlib.import_module("gpu_check")
    sys.modules.pop("gpu_check")


@pytest.mark.parametrize("script", ["gpu_check.py", "gpu_constants.py"])
def test_without_a_gpu_it_says_so_and_is_no_failure(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    command = [sys.executable, SCRIPTS / script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "skipped" in done.stdout
    assert "no GPU" in done.stdout
    assert list(tmp_path.iterdir()) == []


def passes(found: object) -> None:
    pass


def test_a_step_ends_in_one_of_three_ways(check: ModuleType) -> None:
    def skips(found: object) -> None:
        raise check.SkipError("no such library")

    def breaks(found: object) -> None:
        raise KeyError("gone")

    def differs(found: object) -> None:
        found.near("close", 1.01, 1.0, 0.02)  # type: ignore[attr-defined]
        found.near("far", 1.05, 1.0, 0.02)  # type: ignore[attr-defined]
        found.near("failed", 1.0, "RuntimeError: no", 0.02)  # type: ignore[attr-defined]
        found.note("only noted", 7)  # type: ignore[attr-defined]

    def hangs(found: object) -> None:
        found.holds("before", True)  # type: ignore[attr-defined]
        time.sleep(60)

    steps = [check.Step(0, "some", 1.0, each) for each in (passes, skips, breaks, differs, hangs)]
    for step in steps:
        step.run(0.5)
    assert [(each.status, each.why) for each in steps] == [
        ("PASS", ""),
        ("SKIP", "no such library"),
        ("FAIL", "KeyError: 'gone'"),
        ("FAIL", "far, failed"),
        ("FAIL", "took longer than 0.5 s"),
    ]
    assert [each.name for each in steps[-1].found.findings] == ["before"]


def test_what_was_found_is_written_after_each_step(
    check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, seen = tmp_path / "out", []

    def looks(found: object) -> None:
        told = out / "gpu_check.json"
        seen.append([each["name"] for each in json.loads(told.read_text())["steps"]] if told.exists() else [])

    def fails(found: object) -> None:
        found.traces["raw"] = [1, 2]  # type: ignore[attr-defined]
        found.near("a | figure", 2.0, 1.0, 0.1)  # type: ignore[attr-defined]

    named = [("first", looks), ("second", fails), ("third", looks)]
    made = [check.Step(number, name, 10.0, step) for number, (name, step) in enumerate(named)]
    monkeypatch.setattr(check, "steps", lambda: made)
    monkeypatch.setattr(check, "has_gpu", lambda: True)
    assert check.main(["--out", str(out)]) == 1
    assert seen == [[], ["first", "second"]]
    assert capsys.readouterr().out.splitlines()[1].split() == ["1", "second:", "FAIL", "a", "|", "figure"]
    assert json.loads((out / "traces.json").read_text())["second"] == {"raw": [1, 2]}
    assert "| 1 a / figure | 2 | 1 | FAIL | within 10 % |" in (out / "table.md").read_text().splitlines()


def test_all_steps_fit_into_nine_minutes(check: ModuleType) -> None:
    steps = check.steps()
    assert [each.number for each in steps] == list(range(12))
    assert sum(each.seconds for each in steps) <= 540


def test_a_work_of_the_loops_by_hand_is_a_case(check: ModuleType) -> None:
    from microbench.options.compose import from_options

    for work, size in (("linear_64-infer-3", 3), ("relu_128-infer-1", 1), ("resnet50-train-32", 32)):
        (case,) = from_options(check.options_of(work), sweep=True)
        assert (case.config.mode.name, case.config.batch_size) == (work.split("-")[1], size)
    (read,) = from_options(check.options_of("read_256-infer-1"), sweep=True)
    assert (read.config.model.cls, read.config.model.input_shape) == ("torch.sum", [256])


XML = """<nvidia_smi_log>
<driver_version>999.1</driver_version>
<gpu id="0"><product_name>Facade F1</product_name><uuid>GPU-{uuid}</uuid>
<fb_memory_usage><total>{total} MiB</total></fb_memory_usage></gpu>
</nvidia_smi_log>"""


@pytest.fixture
def gpu(check: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Facade]:
    """A GPU that the host stands for, on which cases run in this process."""
    monkeypatch.setitem(check.FEW, "isolation", "inline")
    monkeypatch.setitem(check.FEW, "threads", 1)
    with facade.installed() as gpu:
        yield gpu


def test_records_are_compared_with_what_the_driver_says(
    check: ModuleType, gpu: Facade, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = XML.format(uuid=gpu.uuid, total=gpu.total_memory // 2**20)
    monkeypatch.setattr(check, "smi", lambda *query: told)
    found = check.Found()
    check.check_machine(found)
    verdicts = {each.name: each.passed for each in found.findings}
    assert verdicts["name"] is verdicts["memory"] is True
    assert verdicts["driver"] is False  # there is none here


def test_the_precision_of_products_is_compared(
    check: ModuleType, gpu: Facade, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "SIDE", 32)
    product = {"product": {"s": 1.0, "error": 1e-7}}
    told = {"products": {"fp32": product, "tf32": product}}
    monkeypatch.setattr(check, "constants_here", lambda: told)
    found = check.Found()
    check.check_flags(found)
    verdicts = {each.name: each.passed for each in found.findings}
    assert verdicts["fp32 by hand"] is True
    assert verdicts["TF32's error against fp32"] is False  # the host has computed both in full
    assert verdicts["time of a product in fp32"] is False


def test_each_clock_is_held_against_the_loop_that_measures_the_same(check: ModuleType) -> None:
    times = {"stream": 1.0, "latency": 2.0, "kernels": 0.5, "cold": 3.0, "graph": 0.7}
    loops = {**times, "phases": {"inference": 2.5, "whole": 2.5}}
    ours = {
        name: {"inference": value}
        for name, value in {"events": 1.01, "step": 2.0, "device": 0.5, "phase": 2.5, "cold": 3.1}.items()
    }
    failed = {"failed": "RuntimeError: no graphs"}
    found = check.Found()
    check.compare_work(found, "relu_8-infer-1", [(loops, {**ours, "graph": failed})] * 3)
    verdicts = {each.name.partition(": ")[2]: each.passed for each in found.findings}
    assert verdicts == {
        "stream time": True,
        "latency": True,
        "device time": True,
        "inference, waiting after each phase": True,
        "cold": True,
        "in a graph": False,
    }
    slower = check.Found()
    broken = {**loops, "stream": 0.9, "kernels": "RuntimeError: no CUPTI"}
    check.compare_work(slower, "relu_8-infer-1", [(broken, {**ours, "graph": {"inference": 0.7}})])
    verdicts = {each.name.partition(": ")[2]: each.passed for each in slower.findings}
    assert [name for name, passed in verdicts.items() if not passed] == ["stream time", "device time"]


def test_a_work_is_measured_by_every_clock_in_one_run(check: ModuleType, gpu: Facade) -> None:
    works = {"relu_64-infer-1": "inference", "linear_8-train-2": "total"}
    found = check.by_clock(list(works))
    for work, whole in works.items():
        assert {name: found[work][name].get(whole, 0.0) > 0.0 for name in check.SYNCS} == dict.fromkeys(
            check.SYNCS, True
        ), found[work]
    assert set(found["relu_64-infer-1"]) == {*check.SYNCS, "cold", "graph"}
    assert found["relu_64-infer-1"]["cold"]["inference"] > 0.0
    assert set(found["linear_8-train-2"]["phase"]) >= {"forward", "backward", "update"}
