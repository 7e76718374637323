"""A run's result: its records, with views of them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from microbench.errors import UserError
from microbench.results import store
from microbench.results.cases import CaseResult, cases_of
from microbench.results.record import SEARCH, Record, Status

if TYPE_CHECKING:
    import pandas as pd

    from microbench.results.profile import Profile
    from microbench.results.search import Found

NAME = "microbench"
NEEDED = frozenset(
    ("run_id", "case_id", "order", "round", "started_at", "status", "phase", "median", "config")
)
"""The fields that every record has, whatever it is of."""

IDENTITY = (
    *("run_id", "invocation", "host_id", "case_id", "order", "round", "started_at"),  # of a round
    *("phase", "metric", "layer_order"),  # of a series in it
)


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
        """Whether something was measured, and nothing failed; what this machine cannot run is no failure.

        A search has to have measured plain eager: a way that fails is only not the fastest.
        """
        cases = self.cases()[: 1 if self.is_search else None]
        run = [case for case in cases if case.status != Status.SKIPPED]
        return bool(run) and all(case.ok for case in run)

    @property
    def is_search(self) -> bool:
        """Whether it is the result of a search for the fastest way."""
        return bool(self.records) and self.records[0].get("schedule") == SEARCH

    @property
    def command(self) -> str:
        """The command that measured it, such as `doctor`; empty for `microbench model=…` and from Python."""
        words = shlex.split((self.records[-1].get("run_command") if self.records else None) or "")
        found = words[words.index(NAME) + 1 :] if NAME in words else []
        return found[0] if found and re.fullmatch("[a-z]+", found[0]) else ""

    def runs(self) -> list[Result]:
        """The same records, a result a run, in the order of their first records."""
        found: dict[str, list[Record]] = {}
        for record in self.records:
            found.setdefault(record["run_id"], []).append(record)
        return [Result(records, self.path) for records in found.values()]

    def search(self) -> Found | None:
        """What a search for the fastest way found; None for another run, and where plain eager failed."""
        from microbench.results.search import found  # brings scipy

        return found(self.cases()) if self.is_search else None

    def cases(self) -> list[CaseResult]:
        """The cases, each with its rounds, in the order of the runs and of their places in these."""
        return cases_of(self.records)

    def median(self, phase: str) -> float:
        """The median of a phase over its rounds in seconds, for a result of one case.

        Raises:
            KeyError: the result has not exactly one case, or that phase could not be measured, or the case
                computes something else than eager fp32 does.
        """
        cases = self.cases()
        if len(cases) != 1:
            raise KeyError(f"{len(cases)} cases: pick one of result.cases() and ask it for its estimates")
        estimates = cases[0].estimates
        if phase not in estimates:
            why = cases[0].first["error"] or f"measured phases: {', '.join(sorted(estimates))}"
            what = "has no median that counts" if phase in cases[0].discarded else "was not measured"
            raise KeyError(f"phase {phase!r} {what}: {why}")
        return estimates[phase].median

    def profile(self, place: int | None = None) -> Profile:
        """The profile of a case with mode=profile.

        Args:
            place: the case's place among `cases()`, from 0; not needed where there is one case.

        Raises:
            UserError: the result is of something else, or the case failed, or there are several.
        """
        from microbench.results.profile import profile_of

        cases = self.cases()
        if place is None and len(cases) != 1:
            raise UserError(f"There is no one profile: pick one of {len(cases)} cases by its place, from 0.")
        if place is not None and place not in range(len(cases)):
            raise UserError(f"There is no case {place}: give a place from 0 to {len(cases) - 1}.")
        case = cases[place or 0]
        found = profile_of(case)
        if found is None:
            raise UserError(f"There is no profile: {case.first['error'] or 'the case has another mode'}.")
        return found

    def to_frame(self) -> pd.DataFrame:
        """The records as a pandas data frame: a row a series, a column a field."""
        import pandas as pd

        return pd.DataFrame(self.records)

    def summary(self) -> pd.DataFrame:
        """What the rounds say together: a row a case and phase, times in seconds a call.

        Its columns are run_id, case_id, status, the `cfg_*` fields, phase, median, ci_low, ci_high,
        confidence, spread (standard deviation between rounds over the median), rounds, samples, throughput
        (items a second, of a whole step), peak_memory (bytes), answer, error_abs, error_rel, top1_agreement,
        gradient_error, the codes of the case's warnings, host_id, and the `env_*` fields that say what it ran
        on. Cases that failed, or compute something else than eager fp32 does, have no rows.
        """
        import pandas as pd

        return pd.DataFrame([row for case in self.cases() for row in case.rows()])

    def published(self, name: str) -> pd.DataFrame:
        """The figures of a published table beside those measured: a row a case, quantity and machine.

        Its columns are model, batch_size, variant (as the table calls it), case_id, status, quantity,
        measured, measured_ratio, and device, software, published, published_ratio, which are missing where
        nothing was published. Figures are in seconds, in 1/s or in bytes; ratios are over the table's
        baseline on the same machine.

        Args:
            name: the table, such as `poros`; all there are: `microbench/reference/`.

        Raises:
            UserError: there is no such table.
        """
        import pandas as pd

        from microbench.results import reference

        rows = reference.rows(self.cases(), reference.load(name))
        return pd.DataFrame([each for row in rows for each in reference.flat(row)])


def load(paths: Iterable[Path | str] | Path | str) -> Result:
    """The result in one or several record files or run folders, concatenated.

    A record that is there several times, as in the same file given twice, counts once.

    Raises:
        UserError: a file cannot be read, or holds something else than records.
    """
    chosen = [paths] if isinstance(paths, (str, Path)) else list(paths)
    records = {_identity(record): record for path in chosen for record in _whole(Path(path))}
    return Result(list(records.values()), store.file_of(Path(chosen[0])) if chosen else Path())


def _identity(record: Record) -> tuple[object, ...]:
    """What tells a record from every other one that was ever measured."""
    return tuple(record.get(field) for field in IDENTITY)


def _whole(path: Path) -> list[Record]:
    """The records of a file, each with what tells its case."""
    records = store.read(path)
    for missing in (NEEDED - record.keys() for record in records):
        if missing:
            raise UserError(f"Cannot read {store.file_of(path)}: a record of it has no {min(missing)!r}.")
    return records
