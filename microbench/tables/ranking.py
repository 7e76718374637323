"""The ranking at the end of a sweep: the fastest configuration of each work, and the others' ratios to it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from microbench.analysis.ranking import BreakEven, Place, Ranking
from microbench.analysis.verdict import ONE_ROUND, SEPARATE_RUNS, Judgement, Verdict
from microbench.config import MARGIN
from microbench.tables import labels, units
from microbench.tables.compare import NOT_OF_TIMES, PAIRINGS, interval_text, ratio_text
from microbench.tables.escaping import escape
from microbench.tables.fitting import print_fitting
from microbench.tables.labels import DISTURBED

LESS_WANTED = ("break-even", "first answer", "disturbed", "95 % CI")
"""The columns left out on a narrow terminal, in this order."""


def show_rankings(rankings: Sequence[Ranking], out: Console) -> None:
    """Print the alternatives of each work, the fastest first."""
    out.print("\n[bold]fastest first[/bold]")
    print_fitting(out, ranking_table(rankings), less_wanted=LESS_WANTED)
    out.print(note(rankings), style="dim", soft_wrap=True)
    out.print()


def ranking_table(rankings: Sequence[Ranking]) -> Table:
    """Return one row per configuration below each work: its time, its ratio to the fastest, the verdict."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    has_costs = any(each.has_engines for each in rankings)
    extra = ["first answer", "break-even"] if has_costs else []
    if has_disturbed := _has_disturbed(rankings):
        extra.append("disturbed")
    for name in ("time", "ratio", "95 % CI", *extra):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict")
    for ranking in rankings:
        table.add_row(escape(ranking.name), style="bold")
        for number, place in enumerate(ranking.places, 1):
            *numbers, verdict = _over_fastest(place, ranking)
            costs = [_time(place.first_answer), break_even_text(place.break_even, ranking.phase)]
            name = f"{number}  {escape(place.configuration)}"
            time = "" if place.time is None else units.median(place.time)
            shown = [*(costs if has_costs else ()), *([labels.disturbed(place.disturbed)] * has_disturbed)]
            table.add_row(name, time, *numbers, *shown, verdict)
        for place in ranking.unmeasured:
            time = "" if place.discarded is None else units.valid(_time(place.discarded), is_valid=False)
            blank = [""] * (2 + len(extra))
            table.add_row(f"–  {escape(place.configuration)}", time, *blank, place.standing, style="dim")
    return table


def _has_disturbed(rankings: Sequence[Ranking]) -> bool:
    return any(place.disturbed for ranking in rankings for place in ranking.places)


def _time(seconds: float | None) -> str:
    return "" if seconds is None else units.time(seconds)


def break_even_text(found: BreakEven | None, phase: str) -> str:
    """Return after how many calls, or training steps, a configuration has made up for its preparation."""
    if found is None:
        return ""
    if found.is_told is False:
        return "not significant"
    if found.calls is None:
        return "never"
    about = "about " if found.is_told is None else ""
    noun = "call" if phase == "inference" else "step"
    return f"{about}{found.calls:,} {noun}{'' if found.calls == 1 else 's'}"


def _over_fastest(place: Place, ranking: Ranking) -> tuple[str, str, str]:
    """Return the cells of the ratio, its interval, and the verdict."""
    if place.ratio is None or place.judgement is None:
        return "", "", "fastest" if ranking.is_decided else ""
    numbers = place.ratio.value, *(place.ratio.interval or (None, None))
    return ratio_text(*numbers), interval_text(*numbers), verdict_text(place.judgement, place.rounds)


def verdict_text(judgement: Judgement, rounds: int | None = None) -> str:
    """Return the verdict on a configuration that is not the fastest, and the rounds after which it ended."""
    if judgement.verdict is not Verdict.INCONCLUSIVE:
        return f"{judgement.verdict} ({rounds} rounds)" if rounds else judgement.verdict
    if judgement.reason == SEPARATE_RUNS:
        return SEPARATE_RUNS
    reason = "one round each" if judgement.reason == ONE_ROUND else judgement.reason
    return f"not significantly slower than the fastest: {reason}"


def note(rankings: Sequence[Ranking]) -> str:
    """Return how to read the table."""
    reasons = {place.judgement.reason for ranking in rankings for place in ranking.places if place.judgement}
    text = (
        f"ratio: over the fastest, {PAIRINGS[True]}, {NOT_OF_TIMES}; above 1 is slower; "
        f"same: within ±{units.share(MARGIN)}"
    )
    has_costs = any(each.has_engines for each in rankings)
    if has_costs:
        text += (
            "; first answer: prepare and first_call; break-even: number of calls, including the "
            "first, after which the total time is no longer than that of the most similar engine=eager case"
        )
    if _has_disturbed(rankings):
        text += f"; disturbed: {DISTURBED}"
    if ONE_ROUND not in reasons:
        return text
    one = ONE_ROUND[0].upper() + ONE_ROUND[1:]
    return one if reasons == {ONE_ROUND} and not has_costs else f"{text}. {one}"
