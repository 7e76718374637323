"""A model's profile: its calls, and the views that sum them up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from microbench.analysis import columns as known
from microbench.analysis.calls import (
    MEMORY,
    OVERHEAD,
    PAPER,
    TIMED,
    Costs,
    Entry,
    Layer,
    Row,
    merged,
    rows_of,
)
from microbench.analysis.energy import estimate
from microbench.analysis.limits import Limits, limits
from microbench.analysis.typical import interquartile_mean
from microbench.config import OPTIONS, EnergyConfig
from microbench.records.cases import CaseResult
from microbench.records.peaks import Peaks
from microbench.records.record import Kind, Role, RoundRecord

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Profile:
    """What a model's calls are and cost.

    Attributes:
        rows: every call, in the order in which they begin.
        name: the model's name.
        batch_size: items in a batch; None where it is not known.
        training: the calls are those of a training step's forward pass.
        seconds: what the uninstrumented run takes; None where nothing was timed.
        peaks: what the machine reaches at best; None where it was not measured.
        energy: what operations and accesses are taken to cost.
        joules: measured energy of a call of the model; None where it cannot be read.
        functions: calls of torch's operators are rows too.
        warnings: what disturbed the measurement, where no record says so.
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
        """The calls that cost something by themselves, in their order: none lies within another."""
        return [row for row in self.rows if self.shows(row)]

    def shows(self, row: Row) -> bool:
        """Whether a row is one of `calls`."""
        return row.layer.kind is Kind.MODULE or (row.layer.kind is Kind.FUNCTION and self.functions)

    @property
    def timed(self) -> bool:
        """Whether the calls were timed."""
        return self.seconds is not None

    @property
    def overhead(self) -> float | None:
        """Seconds of the uninstrumented run that are in none of the calls; None where nothing was timed.

        It falls below 0 where a call by itself takes longer than among the others.
        """
        if self.seconds is None:
            return None
        return self.seconds - sum(row.costs.net_lat or 0.0 for row in self.calls)

    @property
    def outside(self) -> float | None:
        """Seconds of the uninstrumented run beyond its watched call; None where nothing was timed."""
        return None if self.seconds is None else self.seconds - (self.rows[0].costs.lat or 0.0)

    def limits(self, entry: Entry) -> Limits:
        """How near an entry's calls come to what the machine's peaks allow."""
        return limits(entry.parts, self.peaks) if self.timed else Limits()

    def energy_of(self, entry: Entry) -> float | None:
        """An estimate of the energy that an entry's calls take, in pJ; None where they were not counted."""
        known = [pj for row in entry.parts if (pj := _energy(row, self.energy)) is not None]
        return sum(known) if known else None

    def view(self, name: str, depth: int | None = None) -> list[Entry]:
        """The entries of a view, one of `VIEWS`; what lies deeper than `depth` is left out of the tree."""
        return [
            entry
            for entry in VIEWS[name](self)
            if name != "tree" or depth is None or entry.layer.depth <= depth
        ]

    def to_frame(
        self, view: str | None = None, columns: Sequence[str] = ("all",), depth: int | None = None
    ) -> pd.DataFrame:
        """A view as a pandas data frame: a row an entry, figures in the units of docs/profile.md.

        Args:
            view: calls, leaves, tree, types or root; by default calls.
            columns: which; empty for those that tables show of this view.
            depth: how deep the tree goes; None for all of it.

        Raises:
            UserError: there is no such view or column.
        """
        import pandas as pd

        view = "calls" if view is None else view
        OPTIONS["view"].check(view)
        if depth is not None:
            OPTIONS["depth"].check(depth)
        shown = known.chosen(self, view, known.names_of(columns))
        entries = self.view(view, depth)
        return pd.DataFrame([known.values(each, self, shown) for each in entries], columns=shown)

    def rest(self, view: str = "calls") -> Entry | None:
        """The time of the uninstrumented run that none of a view's entries has; None where there is no such.

        In the tree, what modules take by themselves is theirs.
        """
        seconds = self.outside if view == "tree" else self.overhead
        if seconds is None or view == "root":
            return None
        layer = Layer(OVERHEAD, None, len(self.rows), 1, Kind.OVERHEAD, "")
        nothing = dict.fromkeys(PAPER, 0)
        return Entry(layer, Costs(**nothing, lat=seconds, net_lat=seconds), ())

    @property
    def total(self) -> Entry:
        """The whole model: the sums of its calls, its parameters counted once, and its untouched time."""
        root, calls = self.rows[0], self.calls
        costs = replace(_of_its_own(summed(calls), root.costs), lat=self.seconds, net_lat=self.seconds)
        return Entry(replace(root.layer, index=None), costs, calls)


def _calls(profile: Profile) -> list[Entry]:
    return [Entry(row.layer, row.costs, (row,)) for row in profile.calls]


def _leaves(profile: Profile) -> list[Entry]:
    return _grouped(profile.calls, lambda row: (row.layer.kind, row.layer.name))


def _types(profile: Profile) -> list[Entry]:
    """By type, the one that takes the longest first; on paper, the one with the most arithmetic."""
    groups = _grouped(profile.calls, lambda row: (row.layer.kind, row.layer.type))
    entries = [replace(each, layer=replace(each.layer, name="")) for each in groups]
    return sorted(entries, key=lambda entry: (-(entry.costs.lat or 0), -(entry.costs.flops or 0)))


def _tree(profile: Profile) -> list[Entry]:
    """Every module with the sums of all that it calls."""
    found = []
    for place, row in enumerate(profile.rows):
        if row.layer.kind is Kind.CONTAINER:
            parts = [each for each in _within(profile.rows, place) if profile.shows(each)]
            found.append(Entry(row.layer, _of_its_own(summed(parts), row.costs), parts))
        elif profile.shows(row):
            found.append(Entry(row.layer, row.costs, (row,)))
    return found


def _of_its_own(sums: Costs, costs: Costs) -> Costs:
    """What is within a module, with what is known of the module itself: a parameter is counted once."""
    own = {name: getattr(costs, name) for name in ("params", *TIMED, *MEMORY)}
    return replace(sums, **own)


def _within(rows: Sequence[Row], place: int) -> Iterator[Row]:
    """The calls within the one at a place."""
    for row in rows[place + 1 :]:
        if row.layer.depth <= rows[place].layer.depth:
            return
        yield row


def _root(profile: Profile) -> list[Entry]:
    return [profile.total]


VIEWS: dict[str, Callable[[Profile], list[Entry]]] = {
    "calls": _calls,
    "leaves": _leaves,
    "tree": _tree,
    "types": _types,
    "root": _root,
}
"""Ways to look at a profile: each call in its order; each module's calls together; every module with what it
calls; all calls of one type together; the whole model."""


def _grouped(rows: Iterable[Row], key: Callable[[Row], object]) -> list[Entry]:
    groups: dict[object, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return [Entry(_in_common([row.layer for row in rows]), summed(rows), rows) for rows in groups.values()]


def _in_common(layers: Sequence[Layer]) -> Layer:
    """The first of several calls, without the shapes and the number format that others have not."""
    first = layers[0]
    if len(layers) == 1:
        return first
    return replace(
        first,
        index=None,
        in_shape=_shared(each.in_shape for each in layers),
        out_shape=_shared(each.out_shape for each in layers),
        dtype=_shared(each.dtype for each in layers),
    )


def _shared(texts: Iterable[str]) -> str:
    """What all texts are; empty where they differ."""
    found = set(texts)
    return found.pop() if len(found) == 1 else ""


def _energy(row: Row, model: EnergyConfig) -> float | None:
    """The pJ of a call; None where it was not counted."""
    macc, size = row.costs.macc, row.costs.mem_rw
    return None if macc is None or size is None else estimate(macc, size, row.layer.dtype, model)


def summed(rows: Sequence[Row]) -> Costs:
    """What calls cost together: sums, the largest peak, the level at the end, a module's parameters once."""
    by_name = {(row.layer.name, row.layer.type): row for row in rows}
    sums = {
        item.name: _sum(getattr(row.costs, item.name) for row in rows)
        for item in fields(Costs)
        if item.name not in ("params", *MEMORY)
    }
    peaks = [row.costs.mem_peak for row in rows if row.costs.mem_peak is not None]
    return Costs(
        **sums,
        params=_sum(row.costs.params for row in by_name.values()),
        mem_alloc=_sum(row.costs.mem_alloc for row in rows),
        mem_peak=max(peaks, default=None),
        mem_total=rows[-1].costs.mem_total if rows else None,
    )


def _sum(values: Iterable[Any]) -> Any:
    """The sum of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def profile_of(case: CaseResult) -> Profile | None:
    """The profile that a case measured; None where it is none, or failed before it was one."""
    records = [record for record in case.rounds.values() if record.ok and record.calls]
    if not records:
        return None
    config = case.config
    return Profile(
        rows_of(merged([record.calls for record in records])),
        name=case.name,
        batch_size=config.batch_size,
        training=config.mode.training,
        seconds=_seconds(records),
        peaks=case.first.outcome.peaks,
        energy=config.energy,
        joules=case.first.outcome.joules,
        functions=config.functions,
    )


def _seconds(records: Iterable[RoundRecord]) -> float | None:
    """What the uninstrumented module takes in all rounds; None where it was not timed."""
    series = [each for record in records for each in record.series if each.role is Role.WHOLE]
    samples = [sample for each in series for sample in each.samples]
    return interquartile_mean(samples) if samples else None
