"""Do a profile's times add up? Its calls compared with the uninstrumented run in the same process.

    python benchmarks/profile_sums.py
    python benchmarks/profile_sums.py --rounds 5 mobilenet_v2 lstm

For each model and round, it prints the shares of the uninstrumented run's time that leaf modules, operators
and the rest take.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from statistics import median
from tempfile import TemporaryDirectory

import microbench
from microbench import Result
from microbench.analysis.profile import Profile

MODELS = ("resnet50", "vit_b_16", "lstm", "mobilenet_v2")


def profiles(model: str, rounds: int, seconds: float) -> list[Profile]:
    """Return one profile per round."""
    with TemporaryDirectory() as folder:
        result = microbench.run(
            folder=folder,
            model=model,
            mode="profile",
            batch_size=1,
            memory=False,
            measure={"rounds": rounds, "max_time": seconds, "rel_ci": 1e-6},
        )
    return [Result([record], result.path).profile() for record in result.records]


def shares(profile: Profile) -> tuple[float, float, float]:
    """Return the shares of the uninstrumented run's time that modules, operators and the rest take."""
    found = profile.view("calls").shares
    assert found is not None
    return found.modules, found.operators or 0.0, found.overhead


def main() -> None:
    """Measure each model and print its rounds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of sampling per round")
    given = parser.parse_args()
    for model in given.models:
        found = profiles(model, given.rounds, given.seconds)
        modules, functions, rest = zip(*map(shares, found), strict=True)
        print(
            f"{model:14} {median(each.seconds or 0.0 for each in found) * 1e3:8.2f} ms:"
            f" modules {_texts(modules)}, functions {_texts(functions)}, rest {_texts(rest)}",
            flush=True,
        )


def _texts(shares: Iterable[float]) -> str:
    return " ".join(f"{share:.1%}" for share in shares)


if __name__ == "__main__":
    main()
