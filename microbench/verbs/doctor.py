"""`microbench doctor`: what this machine is, how small a difference it tells apart, how to do better."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from microbench.compose import MULTIRUN, Plan, from_command_line, split
from microbench.errors import ExitCode, UserError
from microbench.metrics import cgroups, cpus, machine
from microbench.schedule.asking import find_place
from microbench.schedule.cases import Case, command_of
from microbench.schedule.layers import stands_for_layers
from microbench.schedule.pool import Pool
from microbench.schedule.resume import arguments_of, folder_of

VERB = "doctor"
HELP = """\
[bold]microbench doctor[/bold]: what this machine can measure, and how to do better

[bold]usage[/bold]  microbench doctor \\[option=value …]

It looks at how the machine is set up, measures one case twice to see how small a difference it can tell
apart, and measures the peak of matrix multiplication and of memory. It takes about two minutes.

[bold]options[/bold]  as for measuring (microbench --help); by default model=resnet18 mode=infer batch_size=1

[bold]examples[/bold]
  microbench doctor
  microbench doctor model=vgg16 mode=train threads=1
  microbench doctor measure.rounds=20
  microbench doctor resume=outputs/RUN

[bold]exit codes[/bold]  0: all was measured; 1: something failed; 2: the command line cannot be followed

What each line means: docs/doctor.md
"""

DEFAULTS = {"model": "resnet18", "mode": "infer", "batch_size": "1"}
OF_PEAKS_TOO = (
    "device",
    "threads",
    "interop_threads",
    "affinity",
    "env_set",
    "flush_denormal",
    "seed",
    "isolation",
    "timeout",
    "schedule",
    "schedule_seed",
    "resume",
    "measure",
    "hydra",
)
"""The options that peaks are measured with as well: those that do not say what the work is."""

FLOAT_BYTES = 4
SIDES, OTHER_SIDE = {"cpu": 2048}, 8192  # rows of a matrix: a product takes long against what begins it
LEAST_BUFFER = 128 * 2**20  # bytes
CACHES = 2  # a buffer is as large as so many last levels of cache, and a copy has two buffers
MOST_OF_MEMORY = 1 / 8  # of what there is, for one buffer


def main(arguments: Sequence[str]) -> int:
    """`microbench doctor [option=value …]`: measure, print the report, and return the exit code."""
    from microbench.api import new_run_id
    from microbench.cli import carry_out
    from microbench.reports import doctor, terminal

    if {"-h", "--help"} & set(arguments):
        terminal.console(width_in_pipe=110).print(HELP)
        return ExitCode.OK
    run_id = new_run_id()
    plan = plan_of(arguments, run_id)
    return ExitCode.OK if plan is None else carry_out(plan, run_id, doctor.show, VERB)


def plan_of(arguments: Sequence[str], run_id: str) -> Plan | None:
    """What to measure: a case twice, and the peaks; None where the arguments only had something printed.

    Raises:
        UserError: the arguments describe no case, or several, or one that cannot be compared with itself.
    """
    check(arguments)
    if len(arguments) == 1 and arguments[0].startswith("resume="):
        arguments = [*arguments_of(folder_of(arguments[0].removeprefix("resume=")), VERB), *arguments]
    plan = from_command_line(with_defaults(arguments, DEFAULTS), run_id)
    if plan is None:
        return None
    (case,) = plan.cases
    check_comparable(case)
    place = find_device(case)
    peaks = [_case(each, arguments, run_id) for each in peaks_on(place)]
    cases = [replace(each, order=order) for order, each in enumerate([case, case, *peaks])]
    began = [each for each in arguments if not each.startswith("resume=")]
    return replace(plan, cases=cases, command=command_of([VERB, *began]))


def check(arguments: Sequence[str]) -> None:
    """Refuse what is no option of one case.

    Raises:
        UserError: there is such an argument.
    """
    flags, overrides = split(arguments)
    if MULTIRUN & flags.keys():
        raise UserError("doctor looks at one case: leave out -m.")
    if words := [each for each in overrides if "=" not in each and each[:1] not in ("~", "+")]:
        raise UserError(
            f"Cannot read {words[0]!r}: doctor takes options, such as model=vgg16. See `microbench doctor -h`"
        )


def check_comparable(case: Case) -> None:
    """Refuse a case that cannot be compared with itself.

    Raises:
        UserError: it is one.
    """
    if stands_for_layers(case):
        raise UserError(
            "doctor measures one case twice, and mode=layers stands for many: give "
            f"mode={case.config.mode.each}, with model.part=NAME for one layer."
        )
    if case.config.on_paper:
        raise UserError("doctor compares times, and timing=false takes none: leave it out.")
    if case.rounds < 2:
        raise UserError(
            "measure.rounds=1 has no second process to compare with the first: give measure.rounds=2 or more."
        )


def with_defaults(arguments: Sequence[str], defaults: Mapping[str, str]) -> list[str]:
    """The arguments behind those defaults whose keys they do not give."""
    given = {_key(each) for each in arguments}
    return [*(f"{key}={value}" for key, value in defaults.items() if key not in given), *arguments]


def _key(argument: str) -> str:
    return argument.lstrip("+~").partition("=")[0]


def find_device(case: Case) -> str:
    """The device that a case will run on, `auto` resolved.

    Raises:
        UserError: it cannot be used here.
    """
    if case.config.device.name != "auto":
        return case.config.device.name
    pool = Pool()
    try:
        return find_place(case, pool).device
    finally:
        pool.close()


def peaks_on(device: str) -> Iterator[dict[str, str]]:
    """The options of each peak on a device: products in both number formats, and a copy."""
    side = SIDES.get(device, OTHER_SIDE)
    for dtype in ("float32", "bfloat16"):
        yield {
            "model": "matmul",
            "model.input_shape": f"[{side},{side}]",
            "model.input_dtype": dtype,
        }
    yield {"model": "copy", "model.input_shape": f"[{buffer_bytes() // FLOAT_BYTES}]"}


def buffer_bytes() -> int:
    """How large each of a copy's two buffers is: too large for the caches, small enough for the memory."""
    wanted = max(LEAST_BUFFER, CACHES * (cpus.last_level_cache() or 0))
    limits = [size for size in (machine.memory(), cgroups.memory_limit()) if size]
    return min(wanted, int(min(limits, default=8 * wanted) * MOST_OF_MEMORY))


def _case(peak: Mapping[str, str], arguments: Sequence[str], run_id: str) -> Case:
    """The case of a peak, measured in the way the arguments ask for.

    Freed memory is kept where the C library can, so that no page fault is timed.
    """
    flags, overrides = split(arguments)
    kept = [f"{flag}={value}" for flag, value in flags.items()]
    kept += [each for each in overrides if _key(each).partition(".")[0] in OF_PEAKS_TOO]
    shorter = {"measure.max_time": "1", "measure.max_warmup": "1"}
    tuned = {"allocator": "tuned"} if platform.libc_ver()[0] == "glibc" else {}
    options = {**peak, "mode": "infer", "batch_size": "1", **tuned}
    plan = from_command_line(
        [*(f"{key}={value}" for key, value in options.items()), *with_defaults(kept, shorter)], run_id
    )
    assert plan is not None  # flags that print have printed before
    (case,) = plan.cases
    return case
