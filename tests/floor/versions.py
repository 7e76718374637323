"""Print the oldest versions of torch and torchvision that pyproject.toml allows, as constraints for pip."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
PACKAGES = ("torch", "torchvision")


def constraints(text: str) -> list[str]:
    """Return a constraint for each package, such as `torch==2.11.*`."""
    needed = tomllib.loads(text)["project"]["dependencies"]
    found = [match for each in needed if (match := re.fullmatch(r"([\w-]+)>=([\d.]+)", each))]
    return [f"{match[1]}=={match[2]}.*" for match in found if match[1] in PACKAGES]


if __name__ == "__main__":
    print("\n".join(constraints(PROJECT.read_text("utf-8"))))
