"""A GPU while something runs on it: the thread that reads it, and whose memory it holds."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fake_nvml import MB, NO_PERMISSION, UNKNOWN, State

from microbench.records.record import MemorySource
from microbench.system.gpu import Gpu, opened
from microbench.system.watcher import (
    Attributed,
    Border,
    Entry,
    WatchedMemory,
    Watcher,
    attributed,
    group_of,
    look,
    timeline_of,
)

US = 100
"""Our process group, in made-up borders."""


@pytest.fixture
def first(gpus: State) -> Any:
    return gpus.gpu[0]


@pytest.fixture
def found(first: Any) -> Iterator[Gpu]:
    with opened(first.uuid.decode()) as gpu:
        yield gpu


def border(memory: int | None, *entries: tuple[int, int | None, int | None]) -> Border:
    return Border(memory, tuple(Entry(*each) for each in entries))


OTHER = (7, 50, 7)
BEFORE = border(50, OTHER)


@pytest.mark.parametrize(
    ("before", "now", "source", "bytes_"),
    [
        # 1. entries whose process group is ours: a compiler's worker is in it too
        (BEFORE, border(350, OTHER, (101, 200, US), (102, 100, US)), MemorySource.PROCESS_GROUP, 300),
        # 2. ids of the host, which mean nothing here: the one entry more than before
        (BEFORE, border(250, OTHER, (9001, 200, None)), MemorySource.NEW_ENTRY, 200),
        # 3. no memory of single processes
        (BEFORE, border(250, OTHER, (101, None, US)), MemorySource.DEVICE, 200),
        (BEFORE, border(250, OTHER, (9001, None, None)), MemorySource.DEVICE, 200),
        (border(50), border(250), MemorySource.DEVICE, 200),  # nobody is listed at all
        (border(50), border(250, (101, 0, US)), MemorySource.DEVICE, 200),
        # 4. others changed as well, or are not known
        (BEFORE, border(250, (7, 90, 7), (101, None, US)), None, None),
        (BEFORE, border(250, OTHER, (8, 1, 8), (101, None, US)), None, None),
        (Border(50, None), Border(250, None), None, None),
        (Border(None, ()), Border(None, ()), None, None),
    ],
)
def test_memory_is_that_of_our_group_else_of_the_new_entry_else_the_increase(
    before: Border, now: Border, source: MemorySource | None, bytes_: int | None
) -> None:
    wanted = None if source is None else Attributed(source, (bytes_,))
    assert attributed(before, [now], US) == wanted


def test_all_borders_have_the_memory_by_the_same_source() -> None:
    context, end = border(150, OTHER, (101, None, US)), border(350, OTHER, (101, 300, US))
    assert attributed(BEFORE, [context, end], US) == Attributed(MemorySource.PROCESS_GROUP, (None, 300))
    unknown = border(350, OTHER, (101, None, US))
    assert attributed(BEFORE, [context, unknown], US) == Attributed(MemorySource.DEVICE, (100, 300))


def test_others_are_all_that_are_not_ours() -> None:
    ours, host = (101, 200, US), (9001, 200, None)
    assert [each.pid for each in border(0, OTHER, ours).others(US, BEFORE)] == [7]
    assert [each.pid for each in border(0, OTHER, host).others(US, BEFORE)] == [7]  # ours by its being new
    assert [each.pid for each in border(0, OTHER, ours, host).others(US, BEFORE)] == [7, 9001]
    assert [each.pid for each in BEFORE.others(US, BEFORE)] == [7]


def test_a_look_finds_the_groups_of_processes(first: Any, found: Gpu) -> None:
    first.holds((os.getpid(), 5 * MB), (2**22 + 1, UNKNOWN))
    assert look(found) == Border(
        5 * MB, (Entry(os.getpid(), 5 * MB, os.getpgrp()), Entry(2**22 + 1, None, None))
    )
    first.fail(NO_PERMISSION, "processes")
    assert look(found) == Border(5 * MB, None)
    assert group_of(0) is None


def test_the_thread_reads_until_it_is_told_to_end(first: Any, found: Gpu) -> None:
    watcher, enough = Watcher(found, period=0.001), threading.Event()
    first.sm_clock = 1980
    watcher.begin()
    while len(watcher.readings) < 5:
        enough.wait(0.001)
    first.sm_clock = 1200
    watcher.end()
    asked = first.calls("memory")
    watcher.end()
    assert first.calls("memory") == asked == len(watcher.readings) >= 6  # a reading at each end as well
    assert (watcher.readings[0].sm_clock, watcher.readings[-1].sm_clock) == (1.98e9, 1.2e9)
    assert "microbench-gpu" not in [each.name for each in threading.enumerate()]
    assert watcher.cpu_seconds > 0
    assert first.calls("processes") == 0


def test_a_timeline_is_relative_to_its_first_reading(first: Any, found: Gpu) -> None:
    first.energy = 5_000
    readings = [found.reading()]
    first.energy, first.used = 6_500, MB
    readings.append(found.reading())
    timeline = timeline_of(readings)
    assert timeline.seconds[0] == 0
    assert timeline.seconds[1] > 0
    assert (timeline.energy, timeline.memory) == ([0, 1.5], [0, MB])
    assert timeline_of([]).seconds == []


def test_a_block_of_code_has_its_peak_above_the_level_before(first: Any, found: Gpu) -> None:
    first.holds((2**22 + 1, 100 * MB))
    with WatchedMemory(found, period=0.001) as memory:
        first.holds((2**22 + 1, 100 * MB), (os.getpid(), 300 * MB))
        while max(map(int, filter(None, memory.timeline.memory))) < 400 * MB:
            pass
        first.holds((2**22 + 1, 100 * MB), (os.getpid(), 200 * MB))
        assert memory.process_kb is None  # it is read at the ends alone
    assert (memory.peak_kb, memory.process_kb, memory.others) == (300 * 1024, 200 * 1024, 1)
    assert first.calls("processes") == 2 * 2  # the size of the list, and the list, at each end
