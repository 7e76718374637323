"""The table of a run that is not measured: its cases, and how long they would take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from microbench.analysis.forecast import Basis, CaseForecast, Forecast
from microbench.schema import axes_of
from microbench.tables import units
from microbench.tables.escaping import escape
from microbench.tables.fitting import print_fitting
from microbench.tables.labels import count, planned

NAMES = {Basis.BUDGET: "measure.budget", Basis.LIMITS: "max_warmup and max_time of each round"}


def show_forecast(found: Forecast, out: Console) -> None:
    """Print a row for each case, and how long all would take."""
    out.print(heading(found))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("case")
    if found.budget is None:
        for name in ("rounds", "time"):
            table.add_column(name, justify="right")
        table.add_column("estimated from")
    for case in found.cases:
        cells = [rounds(case), time(case), source(case)] if found.budget is None else []
        batch = "max" if case.config.max_batch else None
        table.add_row(escape(planned(case.config, case.settings, batch)), *cells)
    print_fitting(out, table, less_wanted=("estimated from",))
    out.print(total(found))
    for note in notes(found):
        out.print(note, style="dim", soft_wrap=True)


def heading(found: Forecast) -> str:
    """Return how much there is to measure."""
    if found.budget is not None:
        parts = [f"a search: plain eager, and {count(len(found.cases) - 1, 'configuration')} to try"]
    elif found.seconds is None:
        parts = [f"{count(len(found.cases), 'case')}, each with one more for every layer"]
    else:
        parts = [count(len(found.cases), "case"), count(found.rounds, "round")]
    if found.measured:
        parts.append(f"{count(found.measured, 'round')} measured before")
    return f"{', '.join(parts)}; nothing is measured now"


def rounds(case: CaseForecast) -> str:
    """Return a case's number of rounds, and how many of them have been measured."""
    if case.stands_for_layers:
        return f"{case.rounds} each"
    return f"{case.rounds}, {case.measured} measured" if case.measured else str(case.rounds)


def time(case: CaseForecast) -> str:
    """Return how long the rounds to come would take."""
    if not case.seconds:
        return "none"
    text = f"about {units.duration(case.seconds)}" + (" each" if case.stands_for_layers else "")
    return text if case.basis is Basis.RECORDS else f"at most {text}"


def source(case: CaseForecast) -> str:
    """Return what a case's time was estimated from."""
    if case.known_from is None:
        return NAMES[case.basis]
    return f"{count(case.known, 'round')} of {case.known_from[:10]}"


def total(found: Forecast) -> str:
    """Return how long all cases would take, in a sentence."""
    if found.seconds is None:
        return "in all: not known, because a model has to be taken apart to count its layers"
    least, most = (units.duration(seconds) for seconds in found.seconds)
    if not found.seconds[1]:
        return "in all: everything has been measured"
    if found.budget is not None:
        return f"in all: about {most} at most (experiment.budget)"
    if not found.seconds[0]:
        return f"in all: at most about {most}"
    return f"in all: about {most}" if least == most else f"in all: about {least} to {most}"


def notes(found: Forecast) -> Iterator[str]:
    """Yield what the estimates leave out."""
    bases = {case.basis for case in found.cases if case.seconds}
    if Basis.BUDGET in bases:
        yield "a case whose step takes seconds exceeds its budget; one that is soon precise enough takes less"
    if Basis.LIMITS in bases:
        yield "measure.budget=null: starting, building and checking the answer come on top"


def rows(found: Forecast) -> list[dict[str, Any]]:
    """Return one row for each case, for other programs."""
    return [
        {
            "case_id": case.id,
            "command": case.command,
            **{f"cfg_{name}": value for name, value in axes_of(case.config).items()},
            "rounds": case.rounds,
            "rounds_measured": case.measured,
            "seconds": case.seconds,
            "estimated_from": case.basis.value,
        }
        for case in found.cases
    ]
