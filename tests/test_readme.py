"""Every command of the README is run; those that measure are given few samples."""

from __future__ import annotations

import atexit
import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from end_to_end import warm

from microbench.config import ModelConfig
from microbench.records.store import FILE_NAME, Store

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks"))
import readme  # noqa: E402 - a script, not a module of the package

README = (ROOT / "README.md").read_text()
ONE = "threads=1"  # several commands run at once, and threads that wait for each other take what others need
FEW = ["measure.rounds=1", "measure.max_samples=2", "measure.max_warmup=0"]
SHORT = ["experiment.budget=1", "model=squeezenet1_1"]  # a search lasts as long as it may
SMALL = ["model.input_shape=[3,64,64]"]  # of models that take images of any size
SHRINK = (
    "alexnet",
    "glob(squeezenet*)",
    "lraspp_mobilenet_v3_large",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "resnet18",
    "resnet50",
    "squeezenet1_1",
    "vgg16",
)
QUICKER = {"engine=eager,compile": "engine=eager,torchscript"}  # of a sweep that compiles each case
READERS = ("list", "compare", "show", "query", "report")
TWICE = ["measure.rounds=2"]  # what compares processes
MAKE = [
    "make",
    "-o",
    ".venv/installed",
    f"BIN={Path(sys.executable).parent}",
]  # this environment is installed
PLACEHOLDER = re.compile(r"^[A-Z]+_OUTPUT$", re.MULTILINE)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines() if line]


@cache
def folder() -> Path:
    """Return the folder in which the commands run in order, as a reader would run them."""
    made = TemporaryDirectory()
    atexit.register(made.cleanup)
    return Path(made.name)


def as_run_here(command: str) -> tuple[list[str], Path]:
    """Return the command for this environment, with few samples if it measures, and its folder."""
    words = shlex.split(command)
    match words:
        case ["make", "run", arguments]:
            few = shlex.join([*FEW, ONE, *SMALL, f"hydra.run.dir={folder() / 'outputs/make'}"])
            return [*MAKE, "run", f"{arguments} {few}"], ROOT
        case ["make", ("test" | "test-long") as target]:
            what = "tests/measure" if target == "test" else "tests/test_readme.py"
            return [*MAKE, target, f"ARGS=--collect-only {what}"], ROOT
        case ["pip", *rest]:
            pip = [sys.executable, "-m", "pip", *rest, "--dry-run", "--no-deps", "--no-build-isolation"]
            return pip, ROOT
        case ["python", "-m", "microbench", *rest] | ["microbench", *rest]:
            rest = [QUICKER.get(word, word) for word in rest]
            few = [*FEW, *(SMALL if shrinks(rest) else [])] if measures(rest) else []
            return [sys.executable, "-m", "microbench", *rest, *few, *more(rest)], folder()
    raise AssertionError(f"the README has a command this test cannot run: {command}")


def more(arguments: list[str]) -> list[str]:
    """Return the further arguments of a command that measures."""
    if not measures(arguments):
        return []
    threads = [] if any(each.startswith("threads=") for each in arguments) else [ONE]
    if arguments[0] == "doctor":
        return [*threads, *TWICE, "model=dense"]
    if "+experiment=fastest" in arguments:
        return [*threads, *SHORT]
    is_compared = re.search(r"hydra\.run\.dir=outputs/(before|after)", shlex.join(arguments))
    return [*threads, *TWICE] if is_compared else threads


def measures(arguments: list[str]) -> bool:
    """Return whether the command takes options of measuring; one that is repeated has its own."""
    is_other = arguments[0] in READERS or arguments[0].startswith("resume=")
    return not is_other and not {"--help", "--cfg"} & set(arguments)


def shrinks(arguments: list[str]) -> bool:
    """Return whether all models of a command take images of any size."""
    given = [each.removeprefix("model=") for each in arguments if each.startswith("model=")]
    return bool(given) and all(name in SHRINK for each in given for name in each.split(","))


def needed(command: str) -> list[str]:
    """Return the README's commands that write the folders which this one reads."""
    names = re.findall(r"(?<!\.dir=)\boutputs/\w+", command)
    return [each for name in names for each in commands() if f".dir={name}" in each]


@cache
def run(command: str) -> subprocess.CompletedProcess[str]:
    for each in needed(command):
        run(each)
    words, where = as_run_here(command)
    if words[:3] == [sys.executable, "-m", "microbench"]:
        return subprocess.CompletedProcess(words, *warm.run(words[1:], where, warm.environment(), 300))
    without = {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"}
    return subprocess.run(words, cwd=where, env=without, capture_output=True, text=True, timeout=300)


@cache
def run_all() -> None:
    """Run every command, as many at once as there are CPUs: none of them is about time."""
    folder()  # made once, before several ask for it at once
    written = [each for command in commands() for each in needed(command)]
    others = [each for each in commands() if each not in written]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for wave in (written, others):
            list(pool.map(run, dict.fromkeys(wave)))


def found_slower(done: subprocess.CompletedProcess[str]) -> bool:
    """Return whether a comparison failed on "slower", which noise may cause in a second run."""
    return "--fail-on" in done.args and done.returncode == 1 and "slower" in done.stderr


@pytest.mark.long
@pytest.mark.parametrize("command", commands())
def test_command_of_the_readme_runs(command: str) -> None:
    run_all()
    done = run(command)
    assert done.returncode == 0 or found_slower(done), done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_command_that_reads_a_folder_needs_the_one_that_writes_it() -> None:
    (compare,) = (each for each in commands() if " compare " in each)
    assert [each.split("hydra.run.dir=")[1] for each in needed(compare)] == [
        "outputs/before",
        "outputs/after",
    ]


@pytest.mark.long
def test_main_command_prints_what_the_readme_shows() -> None:
    def first_words(text: str) -> list[str]:
        words = [line.split()[0] for line in text.splitlines() if line.strip()]
        shown = [word for word in words if word not in ("warning:", "make[1]:", "make:")]
        return ["N" if word.isdigit() else word for word in shown]  # so many rounds

    shown = blocks("text")[0]
    printed = run(commands()[0]).stdout
    table = printed[printed.index("vgg16 train") :]
    assert first_words(table) == first_words(shown[shown.index("vgg16 train") :])


@pytest.mark.long
@pytest.mark.parametrize("program", blocks("python"))
def test_program_of_the_readme_runs(program: str, tmp_path: Path) -> None:
    code, out, err = warm.run(("-c", program), tmp_path, warm.environment(), 300)
    assert code == 0, err
    assert "inference" in out


def named(model: str) -> ModelConfig:
    """Return one of torchvision's classifiers."""
    return ModelConfig("torchvision", model, input_shape=[3, 224, 224])


@pytest.fixture
def sweep(timed: Any, tmp_path: Path) -> Path:
    """A run with the cases of the README's sweep."""
    (command,) = (each for each in commands() if f"hydra.sweep.dir={readme.RUN}" in each)
    axes = {name: values.split(",") for name, _, values in (word.partition("=") for word in command.split())}
    (tmp_path / FILE_NAME).touch()
    names = ("model", "batch_size", "mode", "engine")
    with Store(tmp_path) as store:
        for order, (model, size, mode, engine) in enumerate(product(*(axes[name] for name in names))):
            phase = "inference" if mode == "infer" else "total"
            settings = {"batch_size": int(size), "mode": mode, "engine": engine, "model": named(model)}
            for record in timed({phase: [1.0, 1.1, 1.05]}, order, **settings):
                store.append(record)
    return tmp_path


def test_the_tables_and_pictures_are_those_that_the_code_makes(sweep: Path, tmp_path: Path) -> None:
    assert {part.picture is None for page in readme.PAGES for part in readme.parts(page)} == {True, False}
    assert readme.main([str(sweep), "--check"]) == 0
    stale = tmp_path / "README.md"
    stale.write_text(README.replace("| model | batch\\_size", "| model | batch"))
    table = next(part for part in readme.parts(stale) if part.picture is None)
    (told,) = table.stale(sweep, stale)
    assert "has | model | batch " in told


def test_making_the_readme_s_parts_again_changes_nothing_else(sweep: Path, tmp_path: Path) -> None:
    copy = tmp_path / "README.md"
    copy.write_text(README)
    readme.remake(copy, sweep)
    assert readme.MARKED.sub("", copy.read_text()) == readme.MARKED.sub("", README)
    assert [part.command for part in readme.parts(copy)] == [
        part.command for part in readme.parts(ROOT / "README.md")
    ]
    for part in readme.parts(copy):
        if part.picture is not None:
            assert (tmp_path / part.picture).exists()
            assert (tmp_path / readme.dark_of(part.picture)).exists()


def test_no_page_has_a_gap_where_an_output_belongs() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    assert [page.name for page in pages if PLACEHOLDER.search(page.read_text())] == []
