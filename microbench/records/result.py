"""A run's result: its records, with views of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from microbench.records import frame, store
from microbench.records.cases import CaseResult, cases_of
from microbench.records.record import SEARCH, RoundRecord, Status

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Result:
    """What one run, or several, measured.

    Attributes:
        records: one a round, in the order they were written.
        path: the file they lie in; the first one, where they come from several.
    """

    records: Sequence[RoundRecord] = field(repr=False)
    path: Path

    @property
    def ok(self) -> bool:
        """Whether something was measured, and nothing failed; what this machine cannot run is no failure.

        A search has to have measured plain eager: a configuration that fails is only not the fastest.
        """
        cases = self.cases()[: 1 if self.is_search else None]
        run = [case for case in cases if case.status is not Status.SKIPPED]
        return bool(run) and all(case.ok for case in run)

    @property
    def is_search(self) -> bool:
        """Whether it is the result of a search for the fastest configuration."""
        return bool(self.records) and self.records[0].run.schedule == SEARCH

    @property
    def command(self) -> str:
        """The command that measured it, such as `doctor`; empty for `microbench model=…` and from Python."""
        return self.records[-1].run.command if self.records else ""

    def runs(self) -> list[Result]:
        """The same records, a result a run, in the order of their first records."""
        found: dict[str, list[RoundRecord]] = {}
        for record in self.records:
            found.setdefault(record.run.id, []).append(record)
        return [Result(records, self.path) for records in found.values()]

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
            why = cases[0].first.outcome.error or f"measured phases: {', '.join(sorted(estimates))}"
            what = "has no median that counts" if phase in cases[0].discarded else "was not measured"
            raise KeyError(f"phase {phase!r} {what}: {why}")
        return estimates[phase].median

    def to_frame(self) -> pd.DataFrame:
        """The records as a flat pandas data frame: a row a series, and a row a figure of a profile's call."""
        import pandas as pd

        return pd.DataFrame([row for record in self.records for row in frame.rows(record)])

    def summary(self) -> pd.DataFrame:
        """What the rounds say together: a row a case and phase, times in seconds a call.

        Its columns are run_id, case_id, status, the `cfg_*` fields, phase, median (of the rounds' medians),
        ci_low, ci_high, confidence, spread (standard deviation between rounds, over the median), rounds,
        samples, throughput (items a second, of a whole step), peak_memory (bytes), answer, error_abs,
        error_rel, top1_agreement, gradient_error, the codes of the case's warnings, host_id, and the `env_*`
        fields that say what it ran on. Cases that failed, or compute something else than eager fp32 does,
        have no rows.
        """
        import pandas as pd

        return pd.DataFrame([row for case in self.cases() for row in case.rows()])


def load(paths: Iterable[Path | str] | Path | str) -> Result:
    """The result in one or several record files or run folders, concatenated.

    A round that is there several times, as in the same file given twice, counts once.

    Raises:
        UserError: a file cannot be read, or holds something else than records.
    """
    chosen = [paths] if isinstance(paths, (str, Path)) else list(paths)
    records = {record.identity: record for path in chosen for record in store.read(Path(path))}
    return Result(list(records.values()), store.file_of(Path(chosen[0])) if chosen else Path())
