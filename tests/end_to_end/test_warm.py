"""A command that is forked is no other than one in a new interpreter, and is forked only where that holds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .support import PATIENCE, environment, measure
from .warm import can_be_forked, forked, run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere commands are started anew")

TELLS = """
import os, signal, sys
import mine
print(sys.argv, os.getcwd(), os.environ["PIDS"], mine.__file__, "torch" in sys.modules)
print([signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE)])
print([os.isatty(each) for each in range(3)], sys.stdin.read(), sys.stdout.line_buffering, __name__)
print([path for path in sys.path if path != os.getcwd()][:2], file=sys.stderr)
sys.exit(int(sys.argv[1]) if sys.argv[1:] else "told")
"""


@pytest.fixture
def mine(tmp_path: Path) -> dict[str, str]:
    """The environment in which `mine` is a module."""
    (tmp_path / "added").mkdir()
    (tmp_path / "added" / "mine.py").touch()
    return environment({"PYTHONPATH": str(tmp_path / "added"), "PIDS": "no file"})


@pytest.mark.parametrize("code", [(), ("0",), ("7",)])
def test_it_is_as_if_it_were_started_again(
    code: tuple[str, ...], mine: dict[str, str], tmp_path: Path
) -> None:
    script = tmp_path / "tells" / "__main__.py"
    script.parent.mkdir()
    script.write_text(TELLS)
    command = ("-m", "tells", *code)
    anew = run(("-u", *command), tmp_path, mine | {"ANEW": "yes"}, PATIENCE)
    assert forked(command, tmp_path, mine, PATIENCE) == anew


def test_its_server_has_torch_and_it_has_not(mine: dict[str, str], tmp_path: Path) -> None:
    done = measure("model=relu", "model.input_shape=[4]", cwd=tmp_path, env=mine)
    assert done.code == 0, done
    code, out, _ = forked(("-c", "import sys; print('torch' in sys.modules)"), tmp_path, mine, PATIENCE)
    assert (code, out) == (0, "False\n")


def test_what_is_written_before_an_error_and_its_traceback_arrive(tmp_path: Path) -> None:
    command = ("-c", "print('before'); raise ValueError('why')")
    code, out, err = forked(command, tmp_path, environment(), PATIENCE)
    assert (code, out) == (1, "before\n")
    assert err.endswith("ValueError: why\n")


def test_one_that_a_signal_ends_says_which(tmp_path: Path) -> None:
    command = ("-c", "import os; os.kill(os.getpid(), 9)")
    assert forked(command, tmp_path, environment(), PATIENCE)[0] == -9


def test_it_is_forked_whatever_other_tests_have_imported(tmp_path: Path) -> None:
    """A library that sets a variable as it is imported, for which this fails, is to be among `FOREIGN`."""
    assert can_be_forked(("-m", "microbench"), tmp_path, environment())


@pytest.mark.parametrize(
    ("variable", "holds"),
    [("PIDS", True), ("COLUMNS", True), ("LD_PRELOAD", False), ("OMP_NUM_THREADS", False), ("LC_ALL", False)],
)
def test_a_variable_that_may_have_been_read_needs_a_new_interpreter(
    variable: str, holds: bool, tmp_path: Path
) -> None:
    env = environment({variable: "something"})
    assert can_be_forked(("-m", "microbench"), tmp_path, env) == holds


@pytest.mark.parametrize(
    ("file", "holds"),
    [("mine.py", True), ("torch.py", False), ("statistics.py", False), ("sitecustomize.py", False)],
)
@pytest.mark.parametrize("is_added", [False, True])
def test_a_module_in_place_of_another_needs_a_new_interpreter(
    file: str, holds: bool, is_added: bool, tmp_path: Path
) -> None:
    (tmp_path / "added").mkdir()
    (tmp_path / ("added" if is_added else ".") / file).touch()
    env = environment({"PYTHONPATH": str(tmp_path / "added")})
    assert can_be_forked(("-m", "microbench"), tmp_path, env) == holds


def test_what_is_about_new_interpreters_gets_one(tmp_path: Path) -> None:
    assert not can_be_forked(("-m", "microbench", "isolation=fork,spawn"), tmp_path, environment())
