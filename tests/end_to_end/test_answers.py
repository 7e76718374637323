"""An external engine that computes something else is detected; correct ones pass."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packages import install

from .support import Finished, Record, by_case, cell, measure, microbench

ENGINE = """
from torch.nn.functional import linear

from microbench.engines import Program, in_format

TRAINS = True


def prepare(job):
    workload, info = in_format(job)
    module, (x,) = workload.module, workload.inputs
    calls = {
        "right": lambda: module(x),
        "right too": lambda: module(x),
        "scaled": lambda: module(x) * 1.05,
        "detached": lambda: linear(x, module.weight.detach(), module.bias),
    }
    call = calls[list(calls)[job.config.interop_threads - 1]]
    return Program(workload, call, list(module.parameters()), info=info)
"""
RIGHT, RIGHT_TOO, SCALED, DETACHED = 1, 2, 3, 4
"""`interop_threads` tells the planted engine whether and how to be wrong, so that one server suffices."""

LINEAR = ("model=layer", "model.cls=Linear", "model.args=[4,3]", "model.input_shape=[4]", "device=cpu")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package installed that has an engine."""
    folder = tmp_path_factory.mktemp("planted")
    (folder / "planted.py").write_text(ENGINE)
    (folder / "planted_conf" / "engine").mkdir(parents=True)
    (folder / "planted_conf" / "engine" / "planted.yaml").write_text("name: planted\n")
    install(folder, "planted", {"engines": {"planted": "planted"}, "conf": {"planted": "planted_conf"}})
    return folder


def run(planted: Path, cwd: Path, *arguments: str) -> Finished:
    return measure("-m", "engine=planted", *LINEAR, *arguments, cwd=cwd, env={"PYTHONPATH": str(planted)})


@pytest.fixture(scope="module")
def swept(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """What is right and what is wrong, training, in two rounds."""
    options = ("interop_threads=1,2,3,4", "mode=train", "measure.rounds=2")
    return run(planted, tmp_path_factory.mktemp("swept"), *options)


@pytest.fixture(scope="module")
def firsts(swept: Finished) -> dict[int, Record]:
    """A record of each case's first round."""
    return {each[0]["cfg_interop_threads"]: each[0] for each in by_case(swept.records)}


def test_what_is_wrong_is_a_mismatch_and_what_is_right_is_not(firsts: dict[int, Record]) -> None:
    assert {which: (record["status"], record["answer"]) for which, record in firsts.items()} == {
        RIGHT: ("ok", "same"),
        RIGHT_TOO: ("ok", "same"),
        SCALED: ("mismatch", "mismatch"),
        DETACHED: ("mismatch", "mismatch"),
    }


def test_the_error_of_a_wrong_answer_is_recorded(firsts: dict[int, Record]) -> None:
    right, scaled, detached = firsts[RIGHT], firsts[SCALED], firsts[DETACHED]
    assert right["error_rel"] == right["gradient_error"] == 0
    assert (right["tolerance"], right["gradient_tolerance"]) == (1e-4, 1e-3)
    assert scaled["error_rel"] == pytest.approx(0.05, rel=1e-4)
    assert scaled["gradient_error"] == pytest.approx(0.05, rel=1e-4)
    assert detached["error_rel"] == 0
    assert 0.1 < detached["gradient_error"] < 1


def test_a_wrong_one_is_not_measured_again_and_later_rounds_are_not_checked(swept: Finished) -> None:
    rounds = {
        each[0]["cfg_interop_threads"]: {record["round"]: record["answer"] for record in each}
        for each in by_case(swept.records)
    }
    assert rounds[SCALED] == rounds[DETACHED] == {0: "mismatch"}
    assert rounds[RIGHT] == rounds[RIGHT_TOO] == {0: "same", 1: None}


def test_all_that_was_measured_of_a_wrong_one_is_in_its_records(swept: Finished) -> None:
    wrong = [record for record in swept.records if record["cfg_interop_threads"] == SCALED]
    assert {record["phase"] for record in wrong} >= {"forward", "backward", "total", "first_call"}
    assert all(record["median"] > 0 and record["samples"] for record in wrong)


def test_its_time_is_struck_out_and_the_exit_code_is_1(swept: Finished) -> None:
    assert swept.code == 1
    for which in (SCALED, DETACHED):
        assert re.fullmatch(r"~\S+ \S+( ±.*)?~", cell(swept.out, f"Linear {which}", "total"))
        assert cell(swept.out, f"Linear {which}", "total items/s") == ""
        assert cell(swept.out, f"Linear {which}", "status") == "mismatch"
    assert "~" not in cell(swept.out, f"Linear {RIGHT}", "total")
    assert cell(swept.out, f"Linear {SCALED}", "error") == "5.0e-02"


def test_the_error_of_a_wrong_answer_is_printed(swept: Finished) -> None:
    assert (
        f"mismatch: Linear train, interop_threads={SCALED}: the output is off eager fp32's by 0.05 of its "
        "largest value (allowed: 0.0001) and the gradients are off eager fp32's by 0.05 of their norm "
        "(allowed: 0.001)"
    ) in swept.out
    assert f"mismatch: Linear train, interop_threads={DETACHED}: the gradients are off" in swept.out


def test_a_wrong_answer_is_not_ranked(swept: Finished) -> None:
    ranking = swept.out[swept.out.index("fastest first") :]
    for place in (1, 2):
        assert re.search(rf"^{place}  interop_threads=[{RIGHT}{RIGHT_TOO}] ", ranking, re.MULTILINE)
    for which in (SCALED, DETACHED):
        assert re.search(rf"^–  interop_threads={which} .*mismatch *$", ranking, re.MULTILINE)


def test_it_is_not_compared_and_that_is_said(swept: Finished) -> None:
    compared = microbench("compare", "run", "--by", "interop_threads", cwd=swept.folder)
    assert compared.code == 0
    assert f"{RIGHT_TOO}/{RIGHT}" in compared.out
    assert f"{SCALED}/{RIGHT}" not in compared.out
    assert f"{SCALED}: Linear train: mismatch: the output is off eager fp32's by 0.05" in compared.out


def test_whether_and_how_strictly_it_is_checked_is_an_option_in_every_isolation(
    planted: Path, tmp_path: Path
) -> None:
    options = ("verify=true,false", "tolerance=null,0.1", "isolation=fork,inline")
    found = run(planted, tmp_path, f"interop_threads={SCALED}", "mode=infer", *options)
    assert found.code == 1
    seen = {
        (record["config"]["verify"], record["config"]["tolerance"], record["cfg_isolation"]): (
            record["status"],
            record["answer"],
        )
        for record in found.records
    }
    assert seen == {
        (verify, tolerance, isolation): answer
        for isolation in ("fork", "inline")
        for verify, tolerance, answer in (
            (True, None, ("mismatch", "mismatch")),
            (True, 0.1, ("ok", "same")),
            (False, None, ("ok", "off")),
            (False, 0.1, ("ok", "off")),
        )
    }
