"""Shared by these tests: made-up copies of the kernel's small files."""

from __future__ import annotations

from pathlib import Path


class Groups:
    """A made-up tree of control groups, and this process's place in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.told: dict[Path, str] = {}

    def are(self, *lines: str) -> None:
        """Let /proc/self/cgroup say this."""
        self.told[Path("/proc/self/cgroup")] = "\n".join(lines)

    def write(self, file: str, text: str) -> None:
        """Let a file below the root of all groups say this."""
        (self.root / file).parent.mkdir(parents=True, exist_ok=True)
        (self.root / file).write_text(text + "\n")


class Files:
    """A made-up tree of the kernel's small files."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, file: str, text: object) -> None:
        """Let a file say this."""
        (self.root / file).parent.mkdir(parents=True, exist_ok=True)
        (self.root / file).write_text(f"{text}\n")
