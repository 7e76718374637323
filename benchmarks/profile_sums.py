"""Whether a profile's times add up: its calls, and the untouched model beside them in the same process.

    python benchmarks/profile_sums.py
    python benchmarks/profile_sums.py --rounds 5 mobilenet_v2 lstm

For each model the shares of the untouched model's time that its innermost modules, its functions and what is
between them take, each the median of a round's samples, round by round.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from statistics import median
from tempfile import TemporaryDirectory

import microbench
from microbench.results.layers import Kind

MODELS = ("resnet50", "vit_b_16", "lstm", "mobilenet_v2")


def shares(model: str, rounds: int, seconds: float) -> list[tuple[float, float, float]]:
    """Of each round: the milliseconds of the untouched model, and the shares of modules and of functions."""
    with TemporaryDirectory() as folder:
        result = microbench.run(
            folder=folder,
            model=model,
            mode="profile",
            batch_size=1,
            memory=False,
            measure={"rounds": rounds, "max_time": seconds, "rel_ci": 1e-6},
        )
    found = []
    for number in range(rounds):
        of_round = [record for record in result.records if record["round"] == number]
        (whole,) = [each for each in of_round if (each["phase"], each["metric"]) == ("inference", "time")]
        lat = [each for each in of_round if each["metric"] == "lat"]
        parts = [
            sum(each["median"] for each in lat if each["layer_kind"] == kind)
            for kind in (Kind.MODULE, Kind.FUNCTION)
        ]
        found.append((whole["median"], parts[0] / whole["median"], parts[1] / whole["median"]))
    return found


def main() -> None:
    """Measure each model and print its rounds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of sampling in a round")
    given = parser.parse_args()
    for model in given.models:
        rounds = shares(model, given.rounds, given.seconds)
        rest = [1 - modules - functions for _, modules, functions in rounds]
        print(
            f"{model:14} {median(each[0] for each in rounds) * 1e3:8.2f} ms:"
            f" modules {_texts(each[1] for each in rounds)},"
            f" functions {_texts(each[2] for each in rounds)}, rest {_texts(rest)}",
            flush=True,
        )


def _texts(shares: Iterable[float]) -> str:
    return " ".join(f"{share:.1%}" for share in shares)


if __name__ == "__main__":
    main()
