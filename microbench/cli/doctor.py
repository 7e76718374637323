"""`microbench doctor`: this machine's setup, the differences it can detect, and recommendations."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from microbench.errors import ExitCode, UserError
from microbench.options.compose import (
    DRY_RUN,
    MULTIRUN,
    RESUME,
    Plan,
    from_command_line,
    resumed_folder,
    split,
)
from microbench.records.peaks import Peaks
from microbench.records.record import DOCTOR, Outcome
from microbench.run.case import Case, command_of
from microbench.run.layers import stands_for_layers
from microbench.run.pool import Pool
from microbench.run.protocol import FindPeaks
from microbench.run.resume import arguments_of
from microbench.run.turns import Turns
from microbench.system import cpus

HELP = """\
[bold]microbench doctor[/bold]: what this machine can measure, and what would improve it

[bold]usage[/bold]  microbench doctor \\[option=value …]

It checks the machine's setup, measures the peaks of its arithmetic and memory, and measures one case twice
to find the smallest detectable difference. It takes about a minute, at most a minute and a half; with
measure.* options, as long as they require.

[bold]options[/bold]  as for measuring (microbench --help); by default model=resnet18 mode=infer batch_size=1

[bold]examples[/bold]
  microbench doctor
  microbench doctor model=vgg16 mode=train threads=1
  microbench doctor measure.rounds=20
  microbench doctor resume=outputs/RUN

[bold]exit codes[/bold]  0: everything was measured; 1: something failed; 2: the command line is invalid

What each line means: docs/doctor.md
"""

DEFAULTS = {"model": "resnet18", "mode": "infer", "batch_size": "1", "verify": "false"}


def main(arguments: Sequence[str]) -> int:
    """`microbench doctor [option=value …]`: measure, print the report, and return the exit code."""
    from microbench.api import new_run_id
    from microbench.cli.session import carry_out
    from microbench.tables import doctor, terminal

    if {"-h", "--help"} & set(arguments):
        terminal.console(width_in_pipe=110).print(HELP)
        return ExitCode.OK
    run_id = new_run_id()
    plan = plan_of(arguments, run_id)
    if plan is None:
        return ExitCode.OK
    found = find_peaks(plan.cases[0], refresh=not plan.completing)
    peaks = found if isinstance(found, Peaks) else None
    if isinstance(found, Outcome):
        print(f"microbench: the peaks could not be measured: {found.error}", file=sys.stderr)
    else:
        plan = replace(plan, cases=[replace(each, peaks=found) for each in plan.cases])
    return carry_out(plan, run_id, partial(doctor.show, peaks=peaks))


def plan_of(arguments: Sequence[str], run_id: str) -> Plan | None:
    """Return the plan to measure a case twice; None if the arguments only printed something.

    Raises:
        UserError: the arguments describe no case, several, or one that cannot be compared with itself.
    """
    check(arguments)
    folder = resumed_folder(arguments)
    if folder is not None and len(arguments) == 1:
        arguments = [*arguments_of(folder, DOCTOR), *arguments]
    plan = from_command_line(with_defaults(arguments, DEFAULTS), run_id)
    if plan is None:
        return None
    (case,) = plan.cases
    check_comparable(case)
    return replace(
        plan,
        cases=[replace(case, order=order) for order in (0, 1)],
        command=DOCTOR,
        command_line=command_of([DOCTOR, *(each for each in arguments if not each.startswith(RESUME))]),
    )


def check(arguments: Sequence[str]) -> None:
    """Reject arguments that are not options of one case.

    Raises:
        UserError: there is such an argument.
    """
    flags, overrides = split(arguments)
    if MULTIRUN & flags.keys():
        raise UserError("doctor looks at one case: leave out -m.")
    if DRY_RUN in flags:
        raise UserError(f"doctor has no {DRY_RUN}: it takes about a minute. See `microbench doctor -h`")
    if words := [each for each in overrides if "=" not in each and each[:1] not in ("~", "+")]:
        raise UserError(
            f"Cannot read {words[0]!r}: doctor takes options, such as model=vgg16. See `microbench doctor -h`"
        )


def check_comparable(case: Case) -> None:
    """Reject a case that cannot be compared with itself.

    Raises:
        UserError: it cannot.
    """
    if stands_for_layers(case):
        raise UserError(
            "doctor measures one case twice, and mode=layers measures many: give "
            f"mode={case.config.mode.each}, with model.part=NAME for one layer."
        )
    if not case.config.timing:
        raise UserError("doctor compares times, and timing=false measures none: leave it out.")
    if case.rounds < 2:
        given, remedy = "measure.rounds=1", "give measure.rounds=2 or more"
        if case.config.isolation == "inline":
            given, remedy = "isolation=inline", "leave it out"
        raise UserError(f"{given} has no second process to compare with the first: {remedy}.")


def with_defaults(arguments: Sequence[str], defaults: Mapping[str, str]) -> list[str]:
    """Return the arguments, preceded by the defaults whose keys they do not set."""
    given = {_key(each) for each in arguments}
    return [*(f"{key}={value}" for key, value in defaults.items() if key not in given), *arguments]


def _key(argument: str) -> str:
    return argument.lstrip("+~").partition("=")[0]


def find_peaks(case: Case, refresh: bool) -> Peaks | Outcome:
    """Return the device's peaks, measured as a case is; if that fails, its outcome.

    Raises:
        UserError: no worker can be started, or the device cannot be used here.
    """
    pool = Pool()
    try:
        engine = case.config.engine.name
        place = pool.find_place(case, (engine,)).of(engine)
        placed = case.at(place.device, cpus.physical_cores())
        with Turns(partial(print, file=sys.stderr)).on(place.machine.gpu_uuid):
            found: Peaks | Outcome = pool.find(placed, FindPeaks(placed.config, refresh))
        return found
    finally:
        pool.close()
