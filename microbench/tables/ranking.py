"""The end of a sweep: which way of doing the same work is fastest, and whether the others differ from it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from microbench.analysis.break_even import PayOff, first_answer
from microbench.analysis.ranking import Place, Ranking, rankings
from microbench.analysis.verdict import ONE_ROUND, Judgement, Verdict
from microbench.config import MARGIN
from microbench.records.cases import CaseResult
from microbench.records.record import Role
from microbench.tables import phases, units
from microbench.tables.compare import interval_text, ratio_text
from microbench.tables.fitting import print_fitting


def show_ranking(cases: Sequence[CaseResult], out: Console) -> None:
    """Print the alternatives of each work, the fastest first; nothing where there are none."""
    found = rankings(cases)
    if not found:
        return
    out.print("\n[bold]fastest first[/bold]")
    print_fitting(out, ranking_table(found), less_wanted=("break-even", "first answer", "95 % CI"))
    out.print(note(found), style="dim", soft_wrap=True)
    out.print()


def ranking_table(found: Sequence[Ranking]) -> Table:
    """Below each work a row a way: its place, its time, how many times the fastest's that is, the verdict."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    costs = ("first answer", "break-even") if _of_engines(found) else ()
    for name in ("time", "ratio", "95 % CI", *costs):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict")
    for ranking in found:
        table.add_row(escape(ranking.name), style="bold")
        for number, place in enumerate(ranking.places, 1):
            *numbers, verdict = _over_fastest(place, ranking)
            more = _costs(place, ranking) if costs else ()
            way = f"{number}  {escape(place.way)}"
            table.add_row(way, units.time(place.time or 0), *numbers, *more, verdict)
        for place in ranking.unmeasured:
            blank = ("", "", *("" for _ in costs))
            table.add_row(
                f"–  {escape(place.way)}", _discarded(place), *blank, place.case.standing, style="dim"
            )
    return table


def _of_engines(found: Sequence[Ranking]) -> bool:
    """Whether engines are compared, which differ in what they do before the first answer."""
    return any(len(ranking.engines) > 1 for ranking in found)


def _costs(place: Place, ranking: Ranking) -> tuple[str, str]:
    """The cells of the time until the first answer, and after how many calls that has paid off."""
    first = first_answer(place.case) if len(ranking.engines) > 1 else None
    return "" if first is None else units.time(first), pay_off_text(place.pay_off, ranking.phase)


def pay_off_text(found: PayOff | None, phase: str) -> str:
    """After how many calls, or steps of training, a way has made up for its preparation."""
    if found is None:
        return ""
    if found.is_told is False:
        return "not significant"
    if found.calls is None:
        return "never"
    about = "about " if found.is_told is None else ""
    noun = "call" if phase == "inference" else "step"
    return f"{about}{found.calls:,} {noun}{'' if found.calls == 1 else 's'}"


def _discarded(place: Place) -> str:
    """The time of one that computes something else than eager fp32."""
    found = [each for each in place.case.discarded.values() if each.role is Role.WHOLE]
    return phases.struck(units.time(found[0].median)) if found else ""


def _over_fastest(place: Place, ranking: Ranking) -> tuple[str, str, str]:
    """The cells of the ratio, its interval, and the verdict."""
    if place.ratio is None or place.judgement is None:
        judgements = [each.judgement for each in ranking.places if each.judgement]
        is_told = all(each.verdict is Verdict.SLOWER for each in judgements)
        return "", "", "fastest" if is_told else ""
    numbers = place.ratio.value, *(place.ratio.interval or (None, None))
    return ratio_text(*numbers), interval_text(*numbers), verdict_text(place.judgement)


def verdict_text(judgement: Judgement) -> str:
    """What is said of one that is not the fastest."""
    if judgement.verdict is not Verdict.INCONCLUSIVE:
        return judgement.verdict
    reason = "one round each" if judgement.reason == ONE_ROUND else judgement.reason
    return f"not significantly slower than the fastest: {reason}"


def note(found: Sequence[Ranking]) -> str:
    """How to read the table."""
    reasons = {place.judgement.reason for ranking in found for place in ranking.places if place.judgement}
    text = f"ratio: over the fastest, round by round; above 1 is slower; same: within ±{units.share(MARGIN)}"
    if _of_engines(found):
        text += (
            "; first answer: prepare and first_call; break-even: number of calls, including the "
            "first, after which the total time is no longer than that of the most similar engine=eager case"
        )
    if ONE_ROUND not in reasons:
        return text
    one = ONE_ROUND[0].upper() + ONE_ROUND[1:]
    return one if reasons == {ONE_ROUND} and not _of_engines(found) else f"{text}. {one}"
