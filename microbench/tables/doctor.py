"""The report of `microbench doctor`: machine, detectable difference, peaks, recommendations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from microbench.analysis.resolution import Resolution, resolution_of
from microbench.analysis.warnings import failures
from microbench.records.cases import CaseResult
from microbench.records.peaks import Peaks
from microbench.records.result import Result
from microbench.tables import units
from microbench.tables.escaping import escape
from microbench.tables.fitting import print_fitting
from microbench.tables.labels import count, label, machine, relative
from microbench.tables.machine_checks import (
    Advice,
    Finding,
    findings,
    other_warnings,
    seen,
    useful_first,
)
from microbench.tables.warnings import show_failures

SAME = (0, 1)  # the places of the case that is measured twice; in older runs peaks follow
ROUNDS = (6, 10, 20, 50)
WANTED = 0.01  # the difference for which the number of rounds is given
MOST_TOLD = 10.0  # larger differences are not printed in digits
FEW_SAMPLES = 0.5  # of the variance: if more of it is from within processes, longer rounds help


def show(result: Result, out: Console, peaks: Peaks | None = None) -> None:
    """Print everything that a doctor's run has found so far.

    Args:
        result: its records.
        out: where to print.
        peaks: the machine's peaks, if the records have none.
    """
    cases = {case.spec.order: case for case in result.cases()}
    same = [cases[order] for order in SAME if order in cases]
    if not same:
        return
    out.print(escape(machine(same)), style="dim")
    resolution = _resolution(same)
    found = findings(seen(same))
    advised = useful_first([*found, *rounds_advice(resolution)])
    advised += other_warnings(same, advised)
    _show_findings(found, advised, out)
    _show_resolution(same[0], resolution, out)
    kept = (record.outcome.peaks for record in result.records)
    peaks = next((each for each in kept if each is not None), peaks)
    if peaks is not None:
        _show_peaks(peaks, same[0].config.threads or 0, out)
    show_failures(failures(same), out)
    _show_advice(advised, out)
    path, rounds = escape(relative(result.path)), count(len(result.records), "round")
    out.print(f"\nrecords: {path} ({rounds})", style="dim", soft_wrap=True)


def _resolution(same: Sequence[CaseResult]) -> Resolution | None:
    if len(same) < 2:
        return None
    whole = same[0].whole
    return resolution_of(same[0], same[1], whole.phase) if whole else None


def _show_findings(found: Sequence[Finding], advised: Sequence[Finding], out: Console) -> None:
    """Print one row per finding: its value, and the number of its advice."""
    number = {each.name: place for place, each in enumerate(advised, 1)}
    grid = _grid("finding", "value")
    grid.add_column("advice", no_wrap=True)
    for each in found:
        value = "[dim]not available here[/dim]" if each.value is None else escape(each.value)
        fine = "" if each.value is None else "[green]fine[/green]"
        verdict = f"[yellow]advice {number[each.name]}[/yellow]" if each.advice else fine
        grid.add_row(f"  {each.name}", value, verdict)
    out.print("\n[bold]machine[/bold]")
    print_fitting(out, grid)


def _show_resolution(case: CaseResult, resolution: Resolution | None, out: Console) -> None:
    """Print the result of the A/A test in one sentence, and its basis."""
    out.print(f"\n[bold]A/A test[/bold]: {escape(label(case))}")
    if resolution is None:
        out.print(_indented("too few rounds succeeded: at least two of each are needed"))
        return
    out.print(_indented(f"[bold]{sentence(resolution)}[/bold]"))
    for line in facts(resolution):
        out.print(_indented(line))
    print_fitting(out, rounds_table(resolution))


def sentence(resolution: Resolution) -> str:
    """Return the detectable difference, and how many rounds it takes to detect 1 %."""
    smallest = resolution.smallest(resolution.rounds)
    rounds = count(resolution.rounds, "round")
    text = f"With {rounds}, differences of {difference(smallest)} or more are detectable"
    if smallest <= WANTED:
        return f"{text}."
    needed = resolution.rounds_for(WANTED)
    number = f"about {_rounded(needed):,}" if needed else "more than a million"
    return f"{text}; {WANTED * 100:.0f} % would take {number} rounds."


def _rounded(number: int) -> int:
    """Round to two digits: the spread that the number depends on is not known more precisely."""
    return int(float(f"{number:.2g}"))


def difference(share: float) -> str:
    """Return a difference between two times as a share of the smaller."""
    return units.share(share) if share <= MOST_TOLD else f"more than {MOST_TOLD * 100:,.0f} %"


def facts(resolution: Resolution) -> Iterator[str]:
    """Yield the basis of the sentence: the ratio, its uncertainty, and the spread of the times."""
    ends = resolution.ratio.interval
    if ends is not None:
        verdict = (
            "as expected"
            if resolution.holds
            else "by chance, as in one of 20 such tests, or because of a disturbance: repeat it"
        )
        holds = "contains" if resolution.holds else "does not contain"
        interval = f"95 % CI {ends[0]:.3f} – {ends[1]:.3f}"
        yield f"ratio of the two {resolution.ratio.value:.3f}, {interval}: {holds} 1, {verdict}"
    low, high = resolution.uncertainty
    yield (
        f"from the spread of {count(resolution.rounds, 'round')}: "
        f"the detectable difference is between {difference(low)} and {difference(high)} (95 % CI)"
    )
    within = "" if resolution.within is None else f", {units.share(resolution.within)} within one"
    yield f"standard deviation {units.share(resolution.between)} between processes{within}"


def rounds_table(resolution: Resolution) -> Table:
    """Return the detectable difference by number of rounds."""
    numbers = sorted({*ROUNDS, resolution.rounds})
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
    table.add_column("  rounds")
    for number in numbers:
        table.add_column(str(number), justify="right")
    table.add_row("  detectable difference", *(difference(resolution.smallest(number)) for number in numbers))
    return table


def rounds_advice(resolution: Resolution | None) -> list[Finding]:
    """Return the advice on longer rounds, or on more of them."""
    if resolution is None or resolution.smallest(resolution.rounds) <= WANTED:
        return []
    if resolution.from_within is not None and resolution.from_within > FEW_SAMPLES:
        share = units.share(resolution.from_within)
        text = f"{share} of the spread is because rounds are short: make them longer"
        return [
            Finding("rounds", None, Advice(text, "microbench … measure.max_time=20 measure.rel_ci=0.005"))
        ]
    more = next((number for number in ROUNDS if number > resolution.rounds), 2 * resolution.rounds)
    smallest = difference(resolution.smallest(more))
    text = f"processes differ, however long each is measured: with {more} rounds, {smallest} is detectable"
    return [Finding("rounds", None, Advice(text, f"microbench … measure.rounds={more}"))]


def _show_peaks(peaks: Peaks, threads: int, out: Console) -> None:
    """Print one row per peak, with what reached it."""
    grid = _grid("peak")
    grid.add_column("rate", no_wrap=True)
    grid.add_column("how")
    for name, value, how in peak_rows(peaks):
        grid.add_row(f"  {name}", value, how)
    warning = "; other load disturbed them: they are too low" if peaks.disturbed else ""
    out.print(f"\n[bold]peaks[/bold] of {count(threads, 'thread')}, the fastest of many calls{warning}")
    print_fitting(out, grid, less_wanted=("how",))
    if note := balance(peaks):
        out.print(_indented(note), style="dim")


def peak_rows(peaks: Peaks) -> Iterator[tuple[str, str, str]]:
    """Yield each peak's name, value and source; an emulated format has no peak."""
    for name, rate, by in peaks.products:
        if rate is not None:
            yield name, units.scaled(rate, "FLOP/s"), by
    for dtype, rate in peaks.emulated:
        speed = units.scaled(rate, "FLOP/s")
        yield units.format_name(dtype), "emulated", f"in fp32: {speed} in small products"
    if peaks.bandwidths:
        size, rate = peaks.bandwidths[-1]
        yield "memory", units.scaled(rate, "B/s"), f"{units.memory(size)} read and written"
        yield (
            "caches",
            units.scaled(max(each for _, each in peaks.bandwidths), "B/s"),
            "smaller tensors, at best",
        )
    yield "call", units.time(peaks.call_seconds), "of a module that does nothing"


def balance(peaks: Peaks) -> str | None:
    """Return the arithmetic per byte below which memory limits a layer, in a sentence; None without peaks."""
    if peaks.fp32 is None or not peaks.bandwidths:
        return None
    flop = peaks.fp32 / peaks.bandwidths[-1][1]
    return f"an fp32 layer with fewer than {flop:.0f} FLOP per byte moved is limited by memory"


def _show_advice(advised: Sequence[Finding], out: Console) -> None:
    """Print what to do, the most useful first."""
    if not advised:
        out.print("\n[bold]recommendations[/bold]: none")
        return
    out.print("\n[bold]recommendations[/bold], most useful first")
    for place, each in enumerate(advised, 1):
        if each.advice:
            grid = Table.grid(padding=(0, 1))
            grid.add_row(f"  {place}.", f"{escape(each.name)}: {escape(each.advice.text)}")
            out.print(grid)
            if each.advice.command:  # not wrapped, so that it can be copied
                out.print(f"     [cyan]{escape(each.advice.command)}[/cyan]", soft_wrap=True)


def _grid(*texts: str) -> Table:
    """Return a table without headers, whose columns still have names, to say which are hidden."""
    grid = Table.grid(padding=(0, 2))
    for name in texts:
        grid.add_column(name)
    return grid


def _indented(text: str) -> Padding:
    return Padding(text, (0, 0, 0, 2), expand=False)
