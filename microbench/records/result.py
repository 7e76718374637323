"""A run's result: its records, and views of them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, overload

from microbench.records import store
from microbench.records.cache import Journal
from microbench.records.cases import CaseResult, cases_of
from microbench.records.record import SEARCH, RoundRecord, Status, encode

if TYPE_CHECKING:
    import pandas as pd

    from microbench.records.journal import Tables


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

    def to_frame(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return a flat pandas data frame: one row per series, and per figure of a profile's call.

        Texts are categories, numbers have Arrow's types, and what has no fixed type (config, warnings,
        env_peaks and some of the GPU's readings) is JSON. Of loaded results it is made from the cache.

        Args:
            columns: the columns to return, which takes less time and memory; by default all.

        Raises:
            UserError: there is no such column.
        """
        from microbench.records.dataframe import data_frame

        return data_frame(self.tables(), columns)

    def tables(self) -> Tables:
        """Return the records as Arrow tables, each round once.

        Raises:
            UserError: a file cannot be read any more.
        """
        from microbench.records.journal import Builder

        if isinstance(self.records, Loaded):
            return self.records.tables()
        builder = Builder()
        for record in self.records:
            builder.add(encode(record))
        return builder.taken()

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


class Loaded(Sequence[RoundRecord]):
    """The records of files, each round once, which are decoded when one is needed.

    They are those of the files as these are now: what a run appends later is not among them.

    Args:
        files: the files.

    Raises:
        UserError: there is no such file.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._journals = {file: Journal.of(file) for file in files}

    @cached_property
    def _records(self) -> list[RoundRecord]:
        found: dict[Hashable, RoundRecord] = {}
        for file, journal in self._journals.items():
            for each in store.read(file, journal.size):
                found.setdefault(each.identity, each)
        return list(found.values())

    @overload
    def __getitem__(self, place: int) -> RoundRecord: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[RoundRecord]: ...

    def __getitem__(self, place: int | slice) -> RoundRecord | Sequence[RoundRecord]:
        return self._records[place]

    def __len__(self) -> int:
        return len(self._records)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._records == list(other)

    __hash__ = None  # type: ignore[assignment]

    def tables(self) -> Tables:
        """Return the tables of the records, from the cache if they are there.

        Raises:
            UserError: a file cannot be read, or has no record, or records of another version of the schema.
        """
        from microbench.records.cache import tables_of
        from microbench.records.journal import once

        tables, skipped = tables_of(list(self._journals.values()))
        store.tell_skipped(skipped)
        return once(tables)


def load(paths: Iterable[Path | str] | Path | str) -> Result:
    """Load files of records or folders with them, concatenated.

    A path may be a file, a run's folder, any folder above such, or a pattern such as `outputs/**`. A round
    that occurs several times, as in the same file given twice, counts once. A file below a folder or of a
    pattern that cannot be read is left out, and standard error says so.

    Raises:
        UserError: a file that is named cannot be read or contains something other than records, or there is
            no other.
    """
    chosen = [paths] if isinstance(paths, (str, Path)) else list(paths)
    files = store.readable(chosen)
    return Result(Loaded(files), files[0] if files else Path())
