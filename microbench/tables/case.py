"""The table of one case: one row per phase."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.table import Table

from microbench.analysis.case import CaseReport, Facts, OnGpu
from microbench.config import reference_name
from microbench.records.cases import CaseResult, Estimate
from microbench.records.record import Check, Correctness, Role, StopReason
from microbench.tables import units
from microbench.tables.escaping import escape
from microbench.tables.fitting import print_fitting
from microbench.tables.labels import count, label
from microbench.tables.sweep import rate

LESS_WANTED = ("samples",)
"""The columns left out first on a narrow terminal."""

STOP_TEXTS = {
    StopReason.REL_CI: "interval narrow enough (measure.rel_ci)",
    StopReason.MAX_TIME: "time limit reached (measure.max_time)",
    StopReason.MAX_SAMPLES: "sample limit reached (measure.max_samples)",
    StopReason.SETUP: "another round tells more than further samples",
    StopReason.BUDGET: "budget used (measure.budget)",
}


def show_case(report: CaseReport, out: Console) -> None:
    """Print the case's heading, its phases, and what else is known about it."""
    out.print(f"[bold]{escape(label(report.case))}[/bold]{_input(report.case)}")
    if report.phases:
        print_fitting(out, case_table(report), less_wanted=LESS_WANTED)
    if text := facts_text(report.facts):
        out.print(text, style="dim")
    if text := gpu_text(report.facts.gpu):
        out.print(escape(text), style="dim", soft_wrap=True)
    if report.phases and (text := " · ".join(filter(None, _answer_facts(report)))):
        out.print(escape(text), style="dim", soft_wrap=True)


def _input(case: CaseResult) -> str:
    """Return a case's input; nothing if no option describes it and the case failed before it was built."""
    model, shape = case.config.model, case.first.outcome.inputs
    of = "" if model.part is None or not model.input_shape else "model "  # a part's own inputs are recorded
    if model.input_shape:
        shape = "x".join(map(str, (case.config.batch_size, *model.input_shape)))
    dtype = "" if model.input_dtype == "float32" else f" {model.input_dtype}"
    return "" if shape is None else f", {of}input {shape}{dtype}"


def case_table(report: CaseReport) -> Table:
    """Return one row per phase: median, interval, relative half-width, spread between rounds, rate, samples.

    Medians of a case that computes something other than eager fp32 are struck out, and it has no rate.
    """
    several = any(each.estimate.rounds > 1 for each in report.phases)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("phase", no_wrap=True)
    extra = ["between rounds"] if several else []
    interval = _interval_name(report.phases[-1].estimate)
    for name in ("median", interval, "±", *extra, f"{report.items}/s", "samples"):
        table.add_column(name, justify="right")
    for each in report.phases:
        estimate = each.estimate
        share, spread = estimate.relative_half_width, estimate.spread
        table.add_row(
            estimate.phase,
            units.valid(units.median(estimate), each.is_valid),
            units.interval(estimate.low, estimate.high, estimate.median)
            if estimate.low is not None and estimate.high is not None
            else "too few samples",
            units.share(share) if share is not None else "",
            *([units.share(spread) if spread is not None else ""] if several else []),
            rate(each),
            str(estimate.samples),
            style="bold" if estimate.role is Role.WHOLE else None,
        )
    return table


def _interval_name(estimate: Estimate) -> str:
    """Return an interval's name, with its confidence: over rounds, or within one process."""
    return f"{units.level(estimate.confidence)} {'CI (one process)' if estimate.rounds == 1 else 'CI'}"


def facts_text(found: Facts) -> str:
    """Return what the times are, rounds, memory, why sampling stopped, and one-off phases, on one line."""
    took = "" if found.seconds is None else f" in {units.time(found.seconds)}"
    short = "" if found.short_of is None else f", as measure.budget={found.short_of:g} allows"
    parts = [] if found.figure is None else [found.figure]
    if found.idle is not None:
        parts.append(launch_bound(found.idle))
    if found.rounds:
        parts.append(f"{count(found.rounds, 'round')}{took}{short}")
    if found.left_out:
        of, what = found.rounds + found.left_out, "repeated" if found.repeated else "left out"
        parts.append(f"{found.left_out} of {count(of, 'round')} disturbed and {what}")
    if found.memory:
        parts.append(f"peak memory {units.memory(found.memory)}")
    if found.calls_per_sample > 1:
        parts.append(f"{found.calls_per_sample} calls per sample")
    if found.stops:
        parts += [f"stopped: {_stops(found.stops)}", f"warm-up {count(found.warmup, 'step')}"]
    if found.context is not None:
        parts.append(f"context {units.time(found.context)}")
    if found.prepare is not None:
        parts.append(f"prepare {units.time(found.prepare)}")
    if found.first_call is not None:
        parts.append(f"first call {units.time(found.first_call)}")
    return " · ".join(parts)


def launch_bound(idle: float) -> str:
    """Return that the host is what takes the time, and the share of it in which the GPU is idle."""
    return f"launch-bound: GPU idle {idle * 100:.0f} %"


def gpu_text(found: OnGpu | None) -> str:
    """Return memory, clock, power, temperature and energy on one line; nothing of what is unknown."""
    if found is None:
        return ""
    parts = []
    if found.process:
        context = "" if found.context is None else f", {units.memory(found.context)} of it CUDA's context"
        parts.append(f"process {units.memory(found.process)}{context}")
    if found.clock:
        parts.append(f"{found.clock / 1e6:.0f} MHz")
    if found.power is not None:
        parts.append(f"{found.power:.0f} W")
    if found.temperature is not None:
        parts.append(f"{found.temperature:.0f} °C")
    if found.joules is not None:
        idle = "" if found.idle is None else f" (idle {found.idle:.0f} W)"
        parts.append(f"energy {units.scaled(found.joules, 'J')} per call{idle}")
    if found.missing is not None:
        parts.append(f"energy not measured: {found.missing}")
    return f"GPU: {' · '.join(parts)}" if parts else ""


def _stops(reasons: Mapping[StopReason, int]) -> str:
    if len(reasons) == 1:
        return STOP_TEXTS[next(iter(reasons))]
    common = sorted(reasons.items(), key=lambda each: each[1], reverse=True)
    return ", ".join(f"{STOP_TEXTS[reason]} in {number}" for reason, number in common)


def _answer_facts(report: CaseReport) -> Iterator[str]:
    """Yield whether the answer is the reference answer, and what computed it; nothing for the latter itself.

    It yields nothing about an answer that has a warning or an error, either.
    """
    check, wanted = report.check, reference_name(report.case.config.model)
    if check.answer is Correctness.OFF:
        yield "answer: not checked (verify=false)"
    elif check.answer is Correctness.SAME and not report.error:
        yield f"answer: equal to {wanted}'s"
    elif check.answer is Correctness.SAME:
        yield f"answer: same as {wanted}'s, {', '.join(_errors(check, report.has_loss))}"
    if report.conversions is not None:
        yield f"{count(report.conversions, 'layout conversion')} per call"
    if report.arithmetic:
        yield f"arithmetic {report.arithmetic}"


def _errors(check: Check, has_loss: bool) -> Iterator[str]:
    """Yield the errors of the compared values."""
    name, of = ("loss", "its value") if has_loss else ("output", "its largest value")
    parts = [
        (name, check.error_rel, of, check.tolerance),
        ("gradients", check.gradient_error, "their norm", check.gradient_tolerance),
    ]
    for what, error, whole, allowed in parts:
        if error is not None and allowed is not None:
            yield f"{what} within {units.error(error)} of {whole} (allowed {allowed:.2g})"
    if (share := check.top1_agreement) is not None:
        yield f"top-1 agrees in {share * 100:.3g} %"
