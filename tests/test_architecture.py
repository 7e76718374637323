"""Imports go one way, torch stays out of the parent process, and only devices know what a GPU is."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import microbench
from microbench.registry import SHARED

PACKAGE = Path(microbench.__file__).parent
FILES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
TREES = {module: ast.parse(path.read_text()) for module, path in FILES.items()}

# Who may import whom: a room imports its own rank and the higher ones.
RANKS = {
    0: {"", "cli", "axes", "compose", "explain", "catalog", "hydra_options", "verbs", "api", "__main__"},
    1: {"schedule"},
    2: {"worker", "verify"},
    3: {"profile", "modes", "engines", "formats", "devices", "workloads", "host", "metrics"},
    4: {"measure"},
    5: {"results"},
    6: {"stats"},
}
RANK = {room: rank for rank, rooms in RANKS.items() for room in rooms}
LEAVES = {"errors", "config", "validation", "registry", "startup", "distribution", "quoting"}


def room_of(module: str) -> str:
    """The room, or the file at the top, that a module lies in; empty for the package itself."""
    return module.partition(".")[2].partition(".")[0]


def imports_of(module: str) -> Iterator[str]:
    """Our own modules that a module imports, inside its functions too."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name.split(".")[0] == "microbench")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            if node.module and node.module.split(".")[0] == "microbench":
                for each in node.names:
                    inner = f"{node.module}.{each.name}"
                    yield inner if inner in FILES else node.module


def edges() -> list[tuple[str, str]]:
    return [(module, imported) for module in FILES for imported in imports_of(module)]


def test_every_room_has_its_place() -> None:
    assert {room_of(module) for module in FILES} == set(RANK) | LEAVES | {"reports"}


def test_the_imports_are_found() -> None:
    assert ("microbench.cli", "microbench.compose") in edges()  # inside a function
    assert ("microbench.worker", "microbench.modes") in edges()  # `from microbench import modes`
    assert ("microbench.measure.sampler", "microbench.results.record") in edges()


def test_imports_go_one_way() -> None:
    ranked = [(a, b) for a, b in edges() if room_of(a) in RANK and room_of(b) in RANK]
    assert len(ranked) > 50
    assert [(a, b) for a, b in ranked if RANK[room_of(a)] > RANK[room_of(b)]] == []


def test_leaves_import_nothing_of_ours_but_each_other() -> None:
    assert [(a, b) for a, b in edges() if room_of(a) in LEAVES and room_of(b) not in LEAVES] == []


def test_reports_see_results_only() -> None:
    allowed = LEAVES | {"reports", "results", "stats"}
    assert [(a, b) for a, b in edges() if room_of(a) == "reports" and room_of(b) not in allowed] == []


def test_only_the_top_imports_reports() -> None:
    outside = [(a, b) for a, b in edges() if room_of(b) == "reports" and room_of(a) != "reports"]
    assert [(a, b) for a, b in outside if RANK.get(room_of(a)) != 0] == []


def locale_s(tree: ast.AST) -> Iterator[int]:
    """The lines on which a tree opens a text in whatever encoding the locale has."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        texts = [each.value for each in node.args if isinstance(each, ast.Constant)]
        is_named = any(each.arg == "encoding" for each in node.keywords) or "utf-8" in texts
        is_text = node.func.attr in ("read_text", "write_text") or (
            node.func.attr == "open" and not any("b" in str(each) for each in texts)
        )
        of_files = not ast.unparse(node.func.value).startswith(("os", "metadata."))
        if is_text and of_files and not is_named:
            yield node.lineno


def test_a_text_in_the_locale_s_encoding_is_found() -> None:
    asked = """
path.read_text()
path.open("w")
path.open("wb")
path.read_text("utf-8")
os.open(path, os.O_RDONLY)
"""
    assert list(locale_s(ast.parse(asked))) == [2, 3]


def test_texts_are_read_and_written_in_utf_8() -> None:
    assert {module: lines for module, tree in TREES.items() if (lines := list(locale_s(tree)))} == {}


def option_of(module: str) -> str:
    """The option of its room that a module is, or is a part of; empty for the room itself."""
    return ".".join(module.split(".")[2:3])


def test_no_option_imports_another_of_its_room() -> None:
    """One file or package an option: what two share lies in `__init__`, in SHARED, or in a lower room."""
    rooms, shared = {"modes", "engines", "workloads"}, {"", *SHARED}
    between = [
        (a, b)
        for a, b in edges()
        if room_of(a) in rooms and room_of(a) == room_of(b) and option_of(b) not in shared | {option_of(a)}
    ]
    assert between == []


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("microbench.cli", ("torch", "numpy", "pandas", "scipy", "importlib.metadata")),
        ("microbench", ("torch", "torchvision", "numpy", "pandas", "scipy")),
        (
            "microbench.compose, microbench.schedule.runner, microbench.reports.terminal",
            ("torch", "torchvision"),
        ),
        ("microbench.measure.sampler, microbench.measure.cautions", ("torch",)),
    ],
)
def test_the_parent_does_not_load_what_only_workers_need(module: str, absent: tuple[str, ...]) -> None:
    script = f"import sys, {module}; print(*(each for each in {absent!r} if each in sys.modules))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def mentions_cuda(tree: ast.AST) -> Iterator[int]:
    """The lines on which a tree asks whether something is CUDA's."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ("is_cuda", "cuda"):
            yield node.lineno
        if isinstance(node, (ast.Compare, ast.MatchValue)):
            constants = [each.value for each in ast.walk(node) if isinstance(each, ast.Constant)]
            if any(isinstance(value, str) and value.startswith("cuda") for value in constants):
                yield node.lineno


def test_a_question_for_cuda_is_found() -> None:
    asked = """
if device.type == "cuda": pass
if tensor.is_cuda: pass
if name in ("cuda:0", "cpu"): pass
torch.cuda.empty_cache()
"""
    assert sorted(set(mentions_cuda(ast.parse(asked)))) == [2, 3, 4, 5]


def test_only_devices_ask_whether_something_is_cudas() -> None:
    found = {
        module: lines
        for module, tree in TREES.items()
        if room_of(module) != "devices" and (lines := list(mentions_cuda(tree)))
    }
    assert found == {}
