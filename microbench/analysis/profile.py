"""A model's profile: its calls, and the views that sum them, as rows of plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from msgspec.structs import asdict, replace

from microbench.analysis.calls import Row, interquartile_mean, merged, rows_of
from microbench.analysis.case import Facts, facts_of
from microbench.analysis.columns import available, chosen, names_of
from microbench.analysis.energy import estimate
from microbench.analysis.roofline import Limits, limits
from microbench.config import OPTIONS, EnergyConfig
from microbench.records.cases import CaseResult
from microbench.records.naming import PART, differences
from microbench.records.peaks import Peaks
from microbench.records.record import Kind, Role

if TYPE_CHECKING:
    import pandas as pd

IN_TITLE = {PART, "batch_size", "precision", "layout", "device"}  # settings that a report always names
COUNTED = ("flops", "macc", "mem_r", "mem_w", "backward", "unknown")
DISAGREEMENT = 0.05  # of the model's time, by which the sum of its calls may exceed it

Group = tuple[Row, Sequence[Row]]
"""What a row of a view describes, and the calls that it represents: none is within another."""


@dataclass(frozen=True)
class ViewRow:
    """A row of a view.

    Attributes:
        kind: what it describes.
        label: its name in tables: in the tree, without its caller's.
        level: how many rows of the tree it is within; 0 in other views.
        values: its value by column; None if unknown.
    """

    kind: Kind
    label: str
    level: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Shares:
    """The parts of the uninstrumented run's time, as shares of it.

    Attributes:
        modules: the leaf modules.
        operators: the operators outside them; None if they are not shown.
        containers: the own time of modules that call others; None except in the tree.
        overhead: the rest. It is below 0 if calls take longer alone than among the others.
        excess: why the calls add up to more than the run: the operators' times are too long, or the passes
            disagree; None if they do not.
    """

    modules: float
    operators: float | None
    containers: float | None
    overhead: float
    excess: Literal["operators", "passes"] | None


@dataclass(frozen=True)
class View:
    """A view of a profile: everything that tables, files and data frames show of it.

    Attributes:
        name: one of `VIEWS`.
        columns: the columns to show, in order.
        rows: its rows.
        overhead: the time of the uninstrumented run that is in none of the rows; None if nothing was timed,
            and in the view `root`.
        total: the whole model; None in the view `root`.
        shares: the parts of the uninstrumented run; None if nothing was timed.
        uncounted: by type, the calls in which no rule counts an operator.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[ViewRow]
    overhead: ViewRow | None
    total: ViewRow | None
    shares: Shares | None
    uncounted: Mapping[str, int]


@dataclass(frozen=True)
class Profile:
    """A model's calls and their costs.

    Attributes:
        rows: every call, in the order in which they begin.
        name: the model's name.
        batch_size: items in a batch; None if unknown.
        training: whether the calls are those of a training step's forward pass.
        seconds: the time of the uninstrumented run; None if nothing was timed.
        peaks: the machine's peaks; None if they were not measured.
        energy: the assumed energy of operations and accesses.
        joules: measured energy per call of the model; None if it cannot be read.
        functions: whether calls of torch's operators are rows too.
        warnings: what disturbed the measurement, if it is not in a record.
    """

    rows: Sequence[Row] = field(repr=False)
    name: str = ""
    batch_size: int | None = None
    training: bool = False
    seconds: float | None = None
    peaks: Peaks | None = None
    energy: EnergyConfig = field(default_factory=EnergyConfig)
    joules: float | None = None
    functions: bool = True
    warnings: Sequence[str] = ()

    def __str__(self) -> str:
        return f"{self.name} profile\n{self.to_frame(columns=()).to_string()}"

    @property
    def calls(self) -> list[Row]:
        """The calls that have a cost of their own, in order: none is within another."""
        return [row for row in self.rows if self.shows(row)]

    def shows(self, row: Row) -> bool:
        """Return whether a row is one of `calls`."""
        return row.kind is Kind.MODULE or (row.kind is Kind.FUNCTION and self.functions)

    @property
    def timed(self) -> bool:
        """Whether the calls were timed."""
        return self.seconds is not None

    @property
    def total(self) -> Row:
        """The whole model: the sums of its calls, its own parameters, and its uninstrumented time."""
        sums = _sums(self.calls, COUNTED)
        return replace(self.rows[0], index=None, lat=self.seconds, net_lat=self.seconds, **sums)

    def to_frame(
        self, view: str | None = None, columns: Sequence[str] = ("all",), depth: int | None = None
    ) -> pd.DataFrame:
        """Return a view as a pandas data frame, with the units of docs/profile.md.

        Args:
            view: calls, leaves, tree, types or root; by default calls.
            columns: the columns; empty for those that tables show of this view.
            depth: the depth of the tree; None for all of it.

        Raises:
            UserError: there is no such view or column.
        """
        import pandas as pd

        found = self.view("calls" if view is None else view, columns, depth)
        return pd.DataFrame([row.values for row in found.rows], columns=list(found.columns))

    def view(self, name: str, columns: Sequence[str] = (), depth: int | None = None) -> View:
        """Return everything that is shown of a view; see `to_frame`.

        Raises:
            UserError: there is no such view or column.
        """
        OPTIONS["view"].check(name)
        OPTIONS["depth"].check(depth)
        filled = available(self.timed, self.rows[0].mem_alloc is not None, self.training)
        shown = chosen(name, names_of(columns), filled)
        is_tree = name == "tree"
        groups = VIEWS[name](self)
        if is_tree and depth is not None:
            groups = [group for group in groups if group[0].depth <= depth]
        labels = _within_callers(row for row, _ in groups) if is_tree else [row.name for row, _ in groups]
        rows = [
            ViewRow(
                row.kind,
                label if name == "types" else label or self.name,
                row.depth if is_tree else 0,
                self._values(row, calls, shown),
            )
            for (row, calls), label in zip(groups, labels, strict=True)
        ]
        whole, calls = self.total, self.calls
        overhead = total = None
        if name != "root":
            total = ViewRow(whole.kind, "total", 0, self._values(whole, calls, shown))
            if self.seconds is not None:
                rest = _rest(self._overhead(self.seconds, is_tree))
                overhead = ViewRow(rest.kind, rest.name, 0, self._values(rest, (), shown))
        uncounted = Counter(row.type for row in calls if row.unknown)
        return View(name, shown, rows, overhead, total, self._shares(is_tree), uncounted)

    def _values(self, row: Row, calls: Sequence[Row], columns: Sequence[str]) -> dict[str, Any]:
        """Return the values of a row that represents some calls, by column."""
        energies = [
            estimate(call.macc, size, call.dtype, self.energy)
            for call in calls
            if call.macc is not None and (size := call.mem_rw) is not None
        ]
        seconds = max(row.lat or 0.0, 0.0)
        found = {
            **asdict(row),
            **vars(limits(calls, self.peaks) if self.timed else Limits()),
            "kind": row.kind.value,
            "calls": len(calls),
            "unknown": row.unknown or 0,
            "mem_rw": row.mem_rw,
            "share": _ratio(row.lat, self.seconds),
            "flop_rate": _ratio(row.flops or None, seconds),
            "byte_rate": _ratio(row.mem_rw or None, seconds),
            "energy": sum(energies) if energies else None,
            "intensity": _ratio(row.flops, row.mem_rw),
        }
        return {name: found[name] for name in columns}

    def _overhead(self, seconds: float, is_tree: bool) -> float:
        """Return the seconds of the uninstrumented run that are in none of a view's rows.

        In the tree, modules' own time belongs to their rows.
        """
        return seconds - (self.rows[0].lat or 0.0 if is_tree else _own_time(self.calls))

    def _shares(self, is_tree: bool) -> Shares | None:
        whole, calls = self.seconds, self.calls
        if not whole:
            return None
        modules, operators = (
            _own_time(row for row in calls if row.kind is kind) for kind in (Kind.MODULE, Kind.FUNCTION)
        )
        between, overhead = (self._overhead(whole, tree) / whole for tree in (False, is_tree))
        excess: Literal["operators", "passes"] | None = None
        if between < -DISAGREEMENT:  # the pass over the modules shows whether it is these
            are_modules_right = modules <= (self.rows[0].lat or 0.0) <= (1 + DISAGREEMENT) * whole
            excess = "operators" if are_modules_right else "passes"
        return Shares(
            modules / whole,
            operators / whole if self.functions else None,
            between - overhead if is_tree else None,
            overhead,
            excess,
        )


def _within_callers(rows: Iterable[Row]) -> Iterator[str]:
    """Return the names of the tree's rows without those of their callers."""
    callers: list[str] = []
    for row in rows:
        del callers[row.depth :]
        yield row.name.removeprefix(f"{callers[-1]}.") if callers and callers[-1] else row.name
        callers.append(row.name)


def _rest(seconds: float) -> Row:
    """Return the row of what is in none of the calls: a time, without counts."""
    what = Row(name="overhead", index=None, order=0, depth=0, kind=Kind.OVERHEAD, type="")
    return replace(what, params=0, flops=0, macc=0, mem_r=0, mem_w=0, lat=seconds, net_lat=seconds)


def _own_time(rows: Iterable[Row]) -> float:
    return sum(row.net_lat or 0.0 for row in rows)


def _ratio(amount: float | None, base: float | None) -> float | None:
    return None if amount is None or not base else amount / base


def _types(profile: Profile) -> list[Group]:
    """Return the calls by type, the slowest type first; in a dry run, the one with the most arithmetic."""
    groups = _grouped(profile.calls, lambda row: (row.kind, row.type))
    unnamed = [(replace(row, name=""), calls) for row, calls in groups]
    return sorted(unnamed, key=lambda group: (-(group[0].lat or 0), -(group[0].flops or 0)))


def _tree(profile: Profile) -> list[Group]:
    """Return every module with the sums of all that it calls; parameters, times and memory are its own."""
    groups, around = list[tuple[Row, list[Row]]](), list[list[Row]]()
    for row in profile.rows:
        is_call = profile.shows(row)
        if is_call or row.kind is Kind.CONTAINER:
            del around[row.depth :]
            around.append([])
            groups.append((row, around[-1]))
        if is_call:
            for calls in around:
                calls.append(row)
    return [(replace(row, **_sums(calls, COUNTED)), calls) for row, calls in groups]


VIEWS: dict[str, Callable[[Profile], list[Group]]] = {
    "calls": lambda profile: [(row, [row]) for row in profile.calls],
    "leaves": lambda profile: _grouped(profile.calls, lambda row: (row.kind, row.name)),
    "tree": _tree,
    "types": _types,
    "root": lambda profile: [(profile.total, profile.calls)],
}
"""The views of a profile: each call in its order; each module's calls together; every module with what it
calls; all calls of one type together; the whole model."""


def _grouped(rows: Iterable[Row], key: Callable[[Row], object]) -> list[Group]:
    groups: dict[object, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return [(_together(each) if len(each) > 1 else each[0], each) for each in groups.values()]


def _together(rows: Sequence[Row]) -> Row:
    """Merge several calls: sums, the largest peak, the level at the end, a module's parameters once.

    The result has the shapes and the number format that all have in common.
    """
    peaks = [row.mem_peak for row in rows if row.mem_peak is not None]
    by_module = {(row.name, row.type): row for row in rows}
    shared = {name: {getattr(row, name) for row in rows} for name in ("in_shape", "out_shape", "dtype")}
    return replace(
        rows[0],
        index=None,
        mem_peak=max(peaks, default=None),
        mem_total=rows[-1].mem_total,
        **{name: found.pop() if len(found) == 1 else "" for name, found in shared.items()},
        **_sums(by_module.values(), ("params",)),
        **_sums(rows, (*COUNTED, "lat", "net_lat", "mem_alloc")),
    )


def _sums(rows: Iterable[Row], names: Iterable[str]) -> dict[str, Any]:
    """Return, by name, the sums of the rows' known values; None if none is known."""
    known = {name: [value for row in rows if (value := getattr(row, name)) is not None] for name in names}
    return {name: sum(values) if values else None for name, values in known.items()}


@dataclass(frozen=True)
class ProfileReport:
    """What a report shows of a case that was profiled.

    Attributes:
        profile: its profile.
        view: the view that its configuration requests.
        may_hide: whether a narrow terminal may hide columns: they were not requested by name.
        settings: how it was run, and what distinguishes it from the report's other profiles.
        facts: how it was measured; None for a dry run.
        trace: the file with a trace of one call; None if none was written.
    """

    profile: Profile
    view: View
    may_hide: bool
    settings: Sequence[str]
    facts: Facts | None
    trace: str | None


def profile_reports(cases: Sequence[CaseResult]) -> list[ProfileReport]:
    """Return what a report shows of cases that were profiled, except those that failed."""
    telling = differences(cases, but=IN_TITLE)
    return [
        _report(case, profile, each)
        for case, each in zip(cases, telling, strict=True)
        if (profile := profile_of(case)) is not None
    ]


def _report(case: CaseResult, profile: Profile, telling: str) -> ProfileReport:
    config = case.config
    settings = [config.precision.name, config.layout, config.device.label, *([telling] if telling else [])]
    return ProfileReport(
        profile,
        profile.view(config.view, config.columns, config.depth),
        not config.columns,
        settings,
        facts_of(case) if profile.timed else None,
        case.first.outcome.trace,
    )


def profile_of(case: CaseResult) -> Profile | None:
    """Return the profile that a case measured; None if it has none, or failed before."""
    records = [record for record in case.counted.values() if record.calls]
    if not records:
        return None
    timed = merged([record.calls for record in records])
    calls = [replace(call, times=of.times) for call, of in zip(case.first.calls, timed, strict=True)]
    config = case.config
    series = [each for record in records for each in record.series if each.role is Role.WHOLE]
    samples = [sample for each in series for sample in each.samples]
    return Profile(
        rows_of(calls),
        name=case.name,
        batch_size=config.batch_size,
        training=config.mode.training,
        seconds=interquartile_mean(samples) if samples else None,
        peaks=case.first.outcome.peaks,
        energy=config.energy,
        joules=case.first.outcome.joules,
        functions=config.functions,
    )
