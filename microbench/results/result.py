"""A run's result: its records, with views of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microbench.results import store

if TYPE_CHECKING:
    import pandas as pd

Record = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """What one run measured.

    Attributes:
        records: one mapping a series, in the order they were written; the fields are those of the file.
        path: the file they lie in; the first one, where they come from several.
    """

    records: list[Record] = field(repr=False)
    path: Path

    @property
    def ok(self) -> bool:
        """Whether there is a record and every case ended well."""
        return bool(self.records) and all(record["status"] == "ok" for record in self.records)

    def cases(self) -> list[list[Record]]:
        """The records grouped by case and round, in the order the cases ran."""
        key = ("run_id", "order", "round")
        return [list(group) for _, group in groupby(self.records, lambda record: [record[k] for k in key])]

    def median(self, phase: str) -> float:
        """The median of a phase in seconds, for a result of one case.

        Raises:
            KeyError: the result has not exactly one series of that phase, or it could not be measured.
        """
        found = [record for record in self.records if record["phase"] == phase]
        if errors := [record["error"] for record in found or self.records if record["error"]]:
            raise KeyError(f"phase {phase!r} was not measured: {errors[0]}")
        if len(found) != 1 or found[0]["median"] is None:
            measured = sorted({record["phase"] for record in self.records if record["median"] is not None})
            raise KeyError(f"{len(found)} series of phase {phase!r}; measured phases: {', '.join(measured)}")
        return float(found[0]["median"])

    def to_frame(self) -> pd.DataFrame:
        """The records as a pandas data frame: a row a series, a column a field."""
        import pandas as pd

        return pd.DataFrame(self.records)


def load(paths: Iterable[Path | str] | Path | str) -> Result:
    """The result in one or several record files or run folders, concatenated.

    Raises:
        UserError: a file cannot be read.
    """
    chosen = [paths] if isinstance(paths, (str, Path)) else list(paths)
    records = [record for path in chosen for record in store.read(Path(path))]
    return Result(records, store.file_of(Path(chosen[0])) if chosen else Path())
