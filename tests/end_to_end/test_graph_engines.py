"""Engines that compile, from the command line: in workers forked from a server that holds the compiler."""

from __future__ import annotations

from pathlib import Path

from .support import by_case, measure


def test_modules_are_compiled_in_forked_workers_of_which_no_process_is_left(tmp_path: Path) -> None:
    done = measure(
        "-m", "model=dense", "batch_size=2", "mode=infer", "engine=torchscript,compile", cwd=tmp_path
    )
    assert done.code == 0, done.err
    cases = by_case(done.records)
    assert [case[0]["status"] for case in cases] == ["ok"] * 2
    assert [case[0]["env_engine"] for case in cases] == ["torchscript", "inductor"]
    assert [case[0]["answer"] for case in cases] == ["same"] * 2
