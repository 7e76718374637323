"""A run's result: its records, and views of them."""

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
    """The result of one run or several.

    Attributes:
        records: one per round, in the order they were written.
        path: their file; the first one, if they come from several.
    """

    records: Sequence[RoundRecord] = field(repr=False)
    path: Path

    @property
    def ok(self) -> bool:
        """Whether something was measured and nothing failed; a skipped case is not a failure.

        A search must have measured plain eager; another configuration that fails is just not the fastest.
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
        """Return one result per run, in the order of their first records."""
        found: dict[str, list[RoundRecord]] = {}
        for record in self.records:
            found.setdefault(record.run.id, []).append(record)
        return [Result(records, self.path) for records in found.values()]

    def cases(self) -> list[CaseResult]:
        """Return the cases, each with its rounds, in the order of the runs and their places in these."""
        return cases_of(self.records)

    def median(self, phase: str) -> float:
        """Return the median of a phase over its rounds in seconds, for a result of one case.

        Raises:
            KeyError: the result does not have exactly one case, or that phase was not measured, or the case
                computes something other than eager fp32.
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
        """Return a flat pandas data frame: one row per series, and per figure of a profile's call."""
        import pandas as pd

        return pd.DataFrame([row for record in self.records for row in frame.rows(record)])

    def summary(self) -> pd.DataFrame:
        """Return the estimates over rounds: one row per case and phase, times in seconds per call.

        Its columns are run_id, case_id, status, the `cfg_*` fields, phase, median (of the rounds' medians),
        ci_low, ci_high, confidence, spread (standard deviation between rounds, over the median), rounds,
        samples, calls_per_sample, the percentiles over the calls of all rounds with their intervals (p99,
        p99_ci_low, p99_ci_high, and so for p50, p90, p95 and p99_9), throughput (items per second, of a whole
        step), item (what they are), peak_memory (bytes), answer, error_abs, error_rel, top1_agreement,
        gradient_error, the codes of the case's warnings, host_id, and the `env_*` fields that say what it ran
        on. Cases that failed, or compute something other than eager fp32, have no rows.
        """
        import pandas as pd

        return pd.DataFrame([row for case in self.cases() for row in case.rows()])


def load(paths: Iterable[Path | str] | Path | str) -> Result:
    """Load one or several record files or run folders, concatenated.

    A round that occurs several times, as in the same file given twice, counts once.

    Raises:
        UserError: a file cannot be read, or contains something other than records.
    """
    chosen = [paths] if isinstance(paths, (str, Path)) else list(paths)
    records = {record.identity: record for path in chosen for record in store.read(Path(path))}
    return Result(list(records.values()), store.file_of(Path(chosen[0])) if chosen else Path())
