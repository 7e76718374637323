"""Imports go one way, torch stays out of the parent process, and only devices know what a GPU is."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Collection, Iterator
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

FLOORS = (
    *("__main__", "cli", "api", "options", "run", "worker", "verify", "modes", "engines", "profile", "flops"),
    *("formats", "workloads", "watch", "devices", "host", "system", "measure", "tables", "analysis"),
    *("records", "stats"),
)
"""The rooms from top to bottom: each imports itself and those behind it."""

FLOOR = {room: floor for floor, room in enumerate(FLOORS)}
LEAVES = {"", "errors", "config", "schema", "registry", "startup", "distribution", "quoting", "caching"}
"""What every room may import, and what imports nothing of ours but each other."""


def room_of(module: str) -> str:
    """Return the room, or the file at the top, that a module lies in; empty for the package itself."""
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


def test_every_room_has_its_floor() -> None:
    assert {room_of(module) for module in FILES} == set(FLOOR) | LEAVES


def test_the_imports_are_found() -> None:
    assert ("microbench.cli.main", "microbench.options.compose") in edges()  # inside a function
    assert ("microbench.worker", "microbench.modes") in edges()  # `from microbench import modes`
    assert ("microbench.measure.sampler", "microbench.records.record") in edges()


def test_imports_go_down() -> None:
    between = [(a, b) for a, b in edges() if room_of(a) in FLOOR and room_of(b) in FLOOR]
    assert len(between) > 300
    assert [(a, b) for a, b in between if FLOOR[room_of(a)] > FLOOR[room_of(b)]] == []


def test_leaves_import_nothing_of_ours_but_each_other() -> None:
    leaves = [(a, b) for a, b in edges() if room_of(a) in LEAVES and room_of(b) not in LEAVES]
    assert [(a, b) for a, b in leaves if a != "microbench"] == []


def circles(imports: Collection[tuple[str, str]]) -> list[set[str]]:
    """Return the groups of files each of which imports, by way of the others, itself."""
    graph: dict[str, set[str]] = {}
    for a, b in imports:
        graph.setdefault(a, set()).add(b)

    def reached(start: str) -> set[str]:
        found, todo = set[str](), [start]
        while todo:
            for each in graph.get(todo.pop(), ()):
                if each not in found:
                    found.add(each)
                    todo.append(each)
        return found

    behind = {module: reached(module) for module in graph}
    return [
        {each for each in behind[module] if module in behind.get(each, ())}
        for module in graph
        if module in behind[module]
    ]


def test_a_circle_is_found() -> None:
    assert circles([("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")]) == [{"a", "b", "c"}] * 3
    assert circles([("a", "b"), ("b", "c"), ("a", "c")]) == []


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circles(edges()) == []


def locale_s(tree: ast.AST) -> Iterator[int]:
    """Yield the lines on which a tree opens a text in whatever encoding the locale has."""
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
    """Return the option of its room that a module is, or is a part of; empty for the room itself."""
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
        ("microbench.cli.main", ("torch", "numpy", "pandas", "scipy", "importlib.metadata")),
        ("microbench", ("torch", "torchvision", "numpy", "pandas", "scipy")),
        (
            "microbench.options.compose, microbench.run.runner, microbench.tables.terminal",
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
    """Yield the lines on which a tree asks whether something is CUDA's."""
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
