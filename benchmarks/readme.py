"""Make the tables and pictures of README and docs again from a run, by the commands that stand beside them.

    python benchmarks/readme.py outputs/sweep
    python benchmarks/readme.py outputs/sweep --check

In a page of `PAGES`, what stands between `<!-- made by: COMMAND -->` and `<!-- end -->` is what that command
prints, or a picture for both of GitHub's themes if the command draws one. COMMAND reads `outputs/sweep`,
which is replaced by the given run.

With --check nothing is written. It exits with 1 and says what is stale: a command that no longer runs, a
picture that is missing, a table whose columns are named otherwise than the code names them now. Numbers and
rows may differ: they are another run's.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from microbench.cli import report
from microbench.errors import UserError

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "published.md")
RUN = "outputs/sweep"
MARKED = re.compile(r"<!-- made by: (.+?) -->\n(.*?)<!-- end -->", re.DOTALL)
PICTURE = """\
<picture>
  <source media="(prefers-color-scheme: dark)" srcset="{dark}">
  <img src="{light}" alt="{alt}" width="740">
</picture>
"""


@dataclass(frozen=True)
class Part:
    """A part of a page that a command makes.

    Attributes:
        command: the command as it is written there.
        text: what it made.
    """

    command: str
    text: str

    @property
    def picture(self) -> str | None:
        """The file that the command draws, relative to the page; None if it prints a table."""
        found = re.search(r"--(?:svg|png) (\S+)", self.command)
        return found[1] if found else None

    def arguments(self, run: Path) -> list[str]:
        """Return the command's arguments for another run than the one it names."""
        _, command, *rest = shlex.split(self.command)
        if command != "report":
            raise UserError(f"{self.command} is not `microbench report`.")
        return [str(run) if word == RUN else word for word in rest]

    def made(self, run: Path, folder: Path) -> str:
        """Return its text from a run, with pictures in a folder.

        Raises:
            UserError: the command does not run.
        """
        arguments = self.arguments(run)
        if self.picture is None:
            with redirect_stdout(StringIO()) as printed:
                report.main(arguments)
            return f"\n{printed.getvalue()}\n"
        light, dark = self.picture, dark_of(self.picture)
        for file, more in ((light, []), (dark, ["--dark"])):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            report.main([str(folder / file) if word == light else word for word in arguments] + more)
        chart = re.search(r"--chart (\w+)", self.command)
        return "\n" + PICTURE.format(light=light, dark=dark, alt=chart[1] if chart else "chart") + "\n"

    def stale(self, run: Path, page: Path) -> Iterator[str]:
        """Yield what no longer is as the code makes it."""
        with TemporaryDirectory() as folder:
            try:
                made = self.made(run, Path(folder))
            except UserError as error:
                yield f"{self.command}: {error}"
                return
        if self.picture is not None:
            files = (self.picture, dark_of(self.picture))
            yield from (f"{file} is missing" for file in files if not (page.parent / file).exists())
            if made != self.text:
                yield f"{self.picture} is shown otherwise"
        elif columns(made) != columns(self.text):
            there, now = (" and ".join(columns(text)) or "no table" for text in (self.text, made))
            yield f"{self.command}: has {there}; the code makes {now}"


def dark_of(file: str) -> str:
    """Return the name of the picture for a dark background."""
    path = Path(file)
    return str(path.with_stem(f"{path.stem}-dark"))


def columns(text: str) -> list[str]:
    """Return the header of each table in a text."""
    lines = text.splitlines()
    return [line for line, following in pairwise(lines) if following.startswith("| ---")]


def parts(page: Path) -> list[Part]:
    """Return the parts of a page that commands make."""
    return [Part(*found) for found in MARKED.findall(page.read_text(encoding="utf-8"))]


def remake(page: Path, run: Path) -> None:
    """Write a page's tables and pictures again."""

    def made(found: re.Match[str]) -> str:
        part = Part(*found.groups())
        return f"<!-- made by: {part.command} -->\n{part.made(run, page.parent)}<!-- end -->"

    page.write_text(MARKED.sub(made, page.read_text(encoding="utf-8")), encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Make the parts again, or check them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="the folder of the run")
    parser.add_argument("--check", action="store_true", help="write nothing; say what is stale")
    parser.add_argument("--page", type=Path, action="append", help="instead of those of README and docs")
    given = parser.parse_args(arguments)
    pages = given.page or PAGES
    try:
        if not given.check:
            for page in pages:
                remake(page, given.run)
            return 0
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    stale = [text for page in pages for part in parts(page) for text in part.stale(given.run, page)]
    for text in stale:
        print(f"stale: {text}", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
