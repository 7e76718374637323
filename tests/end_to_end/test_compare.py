"""`microbench compare`, on files that the test writes, and once on a sweep that is measured."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from factory import FAST, NOISY, SLOW

from microbench.analysis.verdict import ONE_ROUND
from microbench.errors import ExitCode

from .support import Finished, measure, microbench, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, timed: Any) -> Path:
    """Where the runs `before` and `after` are, a sweep over `ways`, and what cannot be compared."""
    found = tmp_path_factory.mktemp("compare")
    train = {"forward": FAST, "total": SLOW}
    write(found / "before", timed(FAST), timed(train, 1, mode="train"))
    write(found / "after", timed(SLOW, run_id="s"), timed(train, 1, run_id="s", mode="train"))
    write(
        found / "ways",
        timed(FAST, 0),
        timed(SLOW, 1, allocator="tuned"),
        timed(NOISY, 2, allocator="jemalloc"),
    )
    write(found / "failed", timed([None], run_id="f"))
    write(
        found / "other",
        timed(SLOW, run_id="o", batch_size=1),
        timed(SLOW, 1, run_id="o", allocator="tcmalloc"),
    )
    write(found / "empty")
    write(found / "batch", timed(SLOW, run_id="b", batch_size=1))
    write(found / "once", timed([1.0], run_id="1"), timed({"total": [1.0]}, 1, run_id="1", mode="train"))
    write(found / "broken", timed(FAST, run_id="b"), timed([None], 1, run_id="b", mode="train"))
    write(found / "fewer", timed(FAST, run_id="d"))
    (found / "text.txt").write_text("not a record\n")
    return found


@pytest.fixture(scope="module")
def compared(folder: Path) -> Finished:
    return microbench("compare", "before", "after/records.jsonl", cwd=folder)


def test_two_runs_are_a_row_a_case_with_ratio_interval_and_verdict(compared: Finished) -> None:
    assert (compared.code, compared.err) == (0, "")
    rows = [line.split() for line in compared.out.splitlines() if line.startswith("dense")]
    assert [" ".join(row) for row in rows] == [
        "dense infer inference 1.00 s 1.21 s B/A 1.199 1.184 to 1.214 slower",
        "dense train total 1.21 s 1.21 s B/A 1.000 0.989 to 1.011 inconclusive: about 2 more rounds",
    ]


def test_separate_runs_are_warned_of(compared: Finished) -> None:
    assert "warning: separate runs are not interleaved" in compared.out


def test_one_run_is_compared_by_an_option_with_a_baseline(folder: Path) -> None:
    found = microbench("compare", "--by", "allocator", "ways", "--baseline=tuned", cwd=folder)
    assert found.code == 0, found
    assert "compared: allocator: tuned → system, jemalloc" in found.out
    assert "system/tuned 0.834" in found.out
    assert re.search(r"jemalloc/tuned .* (faster|inconclusive: about \d+ more rounds)\n", found.out)


def test_phases_and_the_margin_are_options(folder: Path) -> None:
    found = microbench(
        "compare", "before", "after", "--phase", "forward,total", "--margin", "0.05", cwd=folder
    )
    rows = [line.split() for line in found.out.splitlines() if line.startswith("dense")]
    assert [(row[1], row[2], row[-1]) for row in rows] == [
        ("train", "forward", "same"),
        ("train", "total", "same"),
    ]
    assert "same: within ±5.0 %" in found.out


def test_json_is_a_line_a_pair_and_phase_with_the_rest_on_standard_error(folder: Path) -> None:
    found = microbench("compare", "before", "after", "--json", cwd=folder)
    assert found.code == 0, found
    rows = [json.loads(line) for line in found.out.splitlines()]
    assert [(row["case"], row["phase"], row["verdict"]) for row in rows] == [
        ("dense infer", "inference", "slower"),
        ("dense train", "total", "inconclusive"),
    ]
    assert rows[0]["low"] < rows[0]["ratio"] < rows[0]["high"]
    assert (rows[0]["a_run_id"], rows[0]["b_run_id"]) == ("r", "s")
    assert (rows[1]["more_rounds"], rows[1]["reason"]) == (2, "about 2 more rounds")
    assert found.err.startswith("microbench: separate runs are not interleaved")


@pytest.mark.parametrize(
    ("verdicts", "code"), [("slower", 1), ("faster", 0), ("faster,inconclusive", 1), ("faster, slower", 1)]
)
def test_fail_on_is_the_exit_code_and_says_which(verdicts: str, code: int, folder: Path) -> None:
    found = microbench("compare", "before", "after", "--fail-on", verdicts, cwd=folder)
    assert found.code == code
    assert "B/A 1.199" in found.out
    said = {
        "slower": "microbench: --fail-on slower: dense infer inference: "
        "B/A 1.199, 95 % CI 1.184 to 1.214, slower\n",
        "inconclusive": "microbench: --fail-on inconclusive: dense train total: "
        "B/A 1.000, 95 % CI 0.989 to 1.011, inconclusive (about 2 more rounds)\n",
    }
    assert found.err == "".join(text for verdict, text in said.items() if verdict in verdicts)


@pytest.mark.parametrize(
    ("limit", "code"),
    [("18%", 1), ("0.18", 1), ("18.3 %", 1), ("19%", 0), ("0.25", 0), ("150%", 0)],
)
def test_a_slowdown_is_beyond_a_limit_where_the_interval_is(limit: str, code: int, folder: Path) -> None:
    """The ratio is 1.199, of which the interval begins at 1.184; the other row is inconclusive."""
    found = microbench("compare", "before", "after", "--max-slowdown", limit, cwd=folder)
    assert found.code == code
    told = "slower by more than 18 %: dense infer inference: B/A 1.199, 95 % CI 1.184 to 1.214, slower"
    assert found.err == (f"microbench: --max-slowdown {told}\n" if code else "")


@pytest.mark.parametrize(
    ("b", "more", "code", "said"),
    [
        ("broken", (), 1, "--max-slowdown failed: dense train: B: error: it broke"),
        ("fewer", (), 1, "--max-slowdown missing: dense train: B has no such case"),
        ("failed", (), 1, "--max-slowdown failed: dense infer: B: error: it broke"),
        ("once", (), 3, f"No verdict is possible, and none to fail on: {ONE_ROUND}."),
        ("after", ("--fail-on", "faster"), 0, ""),
    ],
)
def test_a_limit_is_no_success_where_there_is_no_time(
    b: str, more: tuple[str, ...], code: int, said: str, folder: Path
) -> None:
    found = microbench("compare", "before", b, "--max-slowdown", "50%", *more, cwd=folder)
    assert found.code == code, found
    assert said in found.err.splitlines()[0] if said else found.err == ""


def test_a_limit_and_other_verdicts_fail_together(folder: Path) -> None:
    both = ("--max-slowdown", "5%", "--fail-on", "inconclusive,failed")
    found = microbench("compare", "before", "after", *both, cwd=folder)
    assert found.code == 1
    assert [line.split(":")[1] for line in found.err.splitlines()] == [
        " --max-slowdown slower by more than 5.0 %",
        " --fail-on inconclusive",
    ]
    strict = microbench("compare", "before", "once", *both, cwd=folder)
    assert (strict.code, "--fail-on inconclusive" in strict.err) == (1, True)


def test_markdown_is_a_comment_with_the_verdict_first(folder: Path) -> None:
    found = microbench("compare", "before", "after", "--markdown", "--max-slowdown", "25%", cwd=folder)
    assert (found.code, found.err) == (0, "")
    lines = found.out.splitlines()
    assert lines[0] == "**1 of 2 cases is slower, 1 is inconclusive**"
    assert "Limit: 25 % slower. 0 certainly beyond it." in lines
    folded = lines.index("<details>")
    rows = [line.split(" | ") for line in lines if line.startswith("| dense")]
    assert [(row[0], row[-1]) for row in rows] == [
        ("| dense infer", "**slower** |"),
        ("| dense infer", "**slower** |"),
        ("| dense train", "inconclusive: about 2 more rounds |"),
    ]
    assert [lines.index(line) > folded for line in lines if line.startswith("| dense train")] == [True]
    assert "- Some CPU, 4 cores · 2 threads · torch 2.11 · Python 3.12 · glibc 2.36 malloc · Linux 6" in lines
    assert lines[-1] == "</details>"


def test_markdown_says_that_nothing_was_measured(folder: Path) -> None:
    found = microbench("compare", "fewer", "failed", "--markdown", "--max-slowdown", "5%", cwd=folder)
    told = "failed: dense infer: B: error: it broke"
    assert found.out == f"**Nothing was measured on both sides**\n\n- {told}\n"
    assert (found.code, found.err) == (1, f"microbench: --max-slowdown {told}\n")


@pytest.mark.parametrize(
    ("on", "code", "said"),
    [
        ("slower", 1, "--fail-on failed: dense infer: B: error: it broke"),
        ("inconclusive,failed", 1, "--fail-on failed: dense infer: B: error: it broke"),
        ("faster,missing", 3, "Nothing to compare: B: dense infer: error: it broke."),
    ],
)
def test_a_check_fails_where_nothing_of_b_was_measured(on: str, code: int, said: str, folder: Path) -> None:
    assert microbench("compare", "fewer", "failed", "--fail-on", on, cwd=folder).complaint_with(
        ExitCode(code)
    ) == (f"microbench: {said}")


@pytest.mark.parametrize(
    ("b", "on", "code", "said"),
    [
        ("broken", "slower", 1, "--fail-on failed: dense train: B: error: it broke"),
        ("broken", "failed", 1, "--fail-on failed: dense train: B: error: it broke"),
        ("broken", "missing", 0, ""),
        ("fewer", "slower", 1, "--fail-on missing: dense train: B has no such case"),
        ("fewer", "failed,faster", 0, ""),
        ("once", "slower,faster", 3, f"No verdict is possible, and none to fail on: {ONE_ROUND}."),
        ("once", "failed,missing", 0, ""),
    ],
)
def test_what_has_no_time_to_compare_is_no_success(
    b: str, on: str, code: int, said: str, folder: Path
) -> None:
    found = microbench("compare", "before", b, "--fail-on", on, cwd=folder)
    assert (found.code, found.err) == (code, f"microbench: {said}\n" if said else "")
    assert "case" in found.out


def test_two_works_are_compared_if_requested(folder: Path) -> None:
    found = microbench("compare", "before", "batch", "--by", "batch_size", cwd=folder)
    assert found.code == 0, found
    assert "compared: batch_size: 8 → 1" in found.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Give the runs to compare: microbench compare A B, or microbench compare A --by OPTION."),
        (["ways"], "Give a second run to compare with, or a setting that varies in this one: allocator."),
        (["a", "b", "c"], "Give two runs to compare, not 3."),
        (["before", "afte"], "Cannot read afte: No such file or directory."),
        (["befor", "afte"], "Cannot read befor: No such file or directory."),
        (["before", "text.txt"], "Cannot read text.txt: no line of it is a record"),
        (["before", "empty"], "Nothing to compare: empty/records.jsonl has no records."),
        (["before", "failed"], "Nothing to compare: B: dense infer: error: it broke."),
        (["ways", "other"], "Nothing to compare, because no case of A pairs with one of B: "),
        (["before", "batch"], "To compare them anyway: --by batch_size."),
        (["ways", "--by", "alocator"], "Did you mean allocator? Allowed: allocator."),
        (["before", "batch", "--by", "bach_size"], "'bach_size'. Did you mean batch_size?"),
        (["ways", "--by", "engine"], "it is the same in all cases. These vary: allocator."),
        (
            ["ways", "--by", "allocator", "--baseline", "tund"],
            "'tund'. Did you mean tuned? Allowed: jemalloc,",
        ),
        (["before", "after", "--baseline", "1"], "is for the cases of one run: leave out the second."),
        (["before", "after", "--by", "engine"], "Nothing to compare by engine: A and B share values of it"),
        (["before", "after", "--phase", "totl"], "Unknown phase 'totl'. Did you mean total?"),
        (["before", "after", "--margin", "2"], "margin=2 is not possible: give a share from 0 to below 1"),
        (["before", "after", "--margin", "much"], "Argument --margin: invalid float value: 'much'."),
        (["before", "after", "--margin"], "Argument --margin: expected one argument."),
        (
            ["before", "after", "--fail-on", "slwer"],
            "Unknown verdict to fail on 'slwer'. Did you mean slower?",
        ),
        (
            ["before", "after", "--max-slowdown", "5"],
            "Argument --max-slowdown: '5' is not possible: give a share such as 5% or 0.05.",
        ),
        (["before", "after", "--max-slowdown=-1%"], "'-1%' is not possible: give a share such as 5%"),
        (["before", "after", "--max-slowdown", "x%"], "'x%' is not possible: give a share such as 5% or"),
        (["before", "after", "--max-slowdown", "5%", "--fail-on", "slower"], "leave one out."),
        (["before", "after", "--json", "--markdown"], "--markdown: not allowed with argument --json."),
        (["before", "after", "--jsn"], "Unknown option '--jsn'. Did you mean --json?"),
        (["before", "after", "--phas=all"], "Unknown option '--phas'. Did you mean --phase"),
    ],
)
def test_a_mistake_is_answered_in_one_line(arguments: list[str], words: str, folder: Path) -> None:
    compared = microbench("compare", *arguments, cwd=folder)
    is_nothing = words.startswith(("Nothing to compare", "To compare")) or "the same in all cases" in words
    code = ExitCode.NOTHING_TO_COMPARE if is_nothing else ExitCode.USAGE
    assert words in compared.complaint_with(code)


def test_help_tells_the_usage(folder: Path) -> None:
    found = microbench("compare", "--help", cwd=folder)
    assert (found.code, found.err) == (0, "")
    assert found.out.startswith("usage: microbench compare")
    for option in ("--by", "--baseline", "--phase", "--margin", "--fail-on", "--json"):
        assert option in found.out


def test_comparing_loads_no_torch(folder: Path) -> None:
    (folder / "torch.py").write_text("raise SystemExit('torch was imported')")
    found = microbench("compare", "before", "after", cwd=folder, env={"PYTHONPATH": str(folder)})
    assert found.code == 0, found


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A sweep over two ways, in two rounds."""
    found = measure(
        "-m",
        "model=dense",
        "mode=infer",
        "batch_size=1",
        "allocator=system,tuned",
        "measure.rounds=2",
        cwd=tmp_path_factory.mktemp("swept"),
    )
    assert found.code == 0, found
    return found


def test_a_sweep_ends_with_its_ways_ranked(swept: Finished) -> None:
    lines = swept.out.splitlines()
    ranking = lines[lines.index("fastest first") :]
    assert ranking[2].strip() == "dense infer"
    assert [line.split()[:2] for line in ranking[3:5]] in (
        [["1", "allocator=system"], ["2", "allocator=tuned"]],
        [["1", "allocator=tuned"], ["2", "allocator=system"]],
    )
    assert re.search(
        r" \d\.\d+ to .*(slower|same|not significantly slower than the fastest: .* more rounds?)", ranking[4]
    )


def test_a_sweep_s_records_can_be_compared(swept: Finished) -> None:
    found = microbench("compare", "run", "--by", "allocator", "--json", cwd=swept.folder)
    (row,) = [json.loads(line) for line in found.out.splitlines()]
    medians = {
        way: [
            record["median"]
            for record in swept.records
            if record["phase"] == "inference" and record["cfg_allocator"] == way
        ]
        for way in ("system", "tuned")
    }
    assert (row["a"], row["b"], row["paired"], row["a_rounds"]) == ("system", "tuned", True, 2)
    products = [first * second for first, second in medians.values()]
    assert row["ratio"] == pytest.approx((products[1] / products[0]) ** 0.5)
    assert (found.code, found.err) == (0, "")
