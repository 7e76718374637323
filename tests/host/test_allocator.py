from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from microbench.config import ALLOCATORS
from microbench.errors import SkippedError
from microbench.host import allocator
from microbench.host.allocator import LIBRARIES, PACKAGES, find, tune, variables

GLIBC = platform.libc_ver()[0] == "glibc"


@pytest.fixture(autouse=True)
def _nothing_preloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LD_PRELOAD", raising=False)


@pytest.fixture
def _fresh_find() -> Iterator[None]:
    """Forget which libraries were found, before and after."""
    find.cache_clear()
    yield
    find.cache_clear()


@pytest.mark.parametrize("name", sorted(set(ALLOCATORS) - set(LIBRARIES)))
def test_the_c_librarys_own_allocator_needs_no_variable(name: str) -> None:
    assert variables(name) == {}


@pytest.mark.parametrize("name", LIBRARIES)
def test_another_allocator_is_loaded_before_the_c_library(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "find", lambda name: f"/lib/lib{name}.so.2")
    assert variables(name) == {"LD_PRELOAD": f"/lib/lib{name}.so.2"}


@pytest.mark.parametrize(
    ("before", "loaded"),
    [
        ("", "libjemalloc.so.2"),
        ("/lib/libmine.so", "libjemalloc.so.2:/lib/libmine.so"),
        ("/lib/a.so:/lib/b.so", "libjemalloc.so.2:/lib/a.so:/lib/b.so"),
        ("/lib/a.so  /lib/b.so", "libjemalloc.so.2:/lib/a.so:/lib/b.so"),  # both are separators: ld.so(8)
        # Of two allocators, the records could not tell which one served.
        ("/lib/libtcmalloc_minimal.so.4:/lib/libmine.so", "libjemalloc.so.2:/lib/libmine.so"),
        ("/opt/libjemalloc.so.1", "libjemalloc.so.2"),
    ],
)
def test_what_was_to_be_loaded_before_is_loaded_behind_it(
    before: str, loaded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allocator, "find", lambda name: f"lib{name}.so.2")
    monkeypatch.setenv("LD_PRELOAD", before)
    assert variables("jemalloc") == {"LD_PRELOAD": loaded}


@pytest.mark.parametrize("name", LIBRARIES)
def test_one_that_is_not_installed_is_skipped_with_what_installs_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allocator, "find", lambda name: None)
    with pytest.raises(SkippedError) as caught:
        variables(name)
    message = str(caught.value)
    assert message.startswith(f"allocator={name} needs lib{name}")
    assert all(package in message for package in PACKAGES[name])
    assert "\n" not in message


def test_every_allocator_that_is_loaded_has_packages() -> None:
    assert set(LIBRARIES) == set(PACKAGES) < set(ALLOCATORS)


@pytest.mark.usefixtures("_fresh_find")
class TestFind:
    @pytest.fixture(autouse=True)
    def _an_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An environment whose folder of libraries is empty, on a system that has none."""
        (tmp_path / "lib").mkdir()
        monkeypatch.setattr(sys, "prefix", str(tmp_path))
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setattr(allocator, "find_library", lambda name: None)

    def test_none_is_found_where_there_is_none(self) -> None:
        assert find("jemalloc") is None

    def test_the_environments_own_library_counts_before_the_systems(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(allocator, "find_library", lambda name: f"lib{name}.so.9")
        assert find("jemalloc") == "libjemalloc.so.9"
        find.cache_clear()
        own = tmp_path / "lib" / "libjemalloc.so.2"
        own.touch()
        assert find("jemalloc") == str(own)

    def test_the_smaller_of_two_libraries_of_an_allocator_is_preferred(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        there = {"tcmalloc": "libtcmalloc.so.4", "tcmalloc_minimal": "libtcmalloc_minimal.so.4"}
        monkeypatch.setattr(allocator, "find_library", there.get)
        assert find("tcmalloc") == "libtcmalloc_minimal.so.4"
        find.cache_clear()
        del there["tcmalloc_minimal"]
        assert find("tcmalloc") == "libtcmalloc.so.4"

    def test_other_systems_do_not_preload_libraries(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(allocator, "find_library", lambda name: f"lib{name}.dylib")
        monkeypatch.setattr(sys, "platform", "darwin")
        assert find("jemalloc") is None


FAULTS = """
import json, resource, sys
from microbench.host.allocator import tune

def faults(times=10, size=64 * 2**20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        block = bytearray(size)
        block[::4096] = bytes(len(range(0, size, 4096)))
        del block
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

found = [(faults(), faults())[1]]
tune()
found.append((faults(), faults())[1])
print(json.dumps(found))
"""


@pytest.mark.skipif(not GLIBC, reason="tunes glibc")
def test_a_tuned_allocator_keeps_memory_so_that_it_faults_no_more() -> None:
    """Ten times 64 MiB."""
    said = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True).stdout
    before, tuned = json.loads(said)
    assert before >= 10 * 32  # where the kernel gives huge pages of 2 MiB; else 163,840
    assert tuned <= before / 10


def test_no_other_c_library_is_tuned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("musl", "1.2"))
    with pytest.raises(SkippedError, match=r"^allocator=tuned needs glibc"):
        tune()


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_process_that_is_started_with_the_variables_is_served_by_the_allocator(name: str) -> None:
    if find(name) is None:
        pytest.skip(f"{name} is not installed")
    script = "from microbench.system import machine; print(machine.allocator())"
    env = os.environ | variables(name)
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == name
