"""Warnings on what disturbed a case while it was sampled, each with a remedy. The codes: docs/warnings.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from microbench.records.record import BenchmarkWarning, Readings, WarningCode

FAULTS_SHARE = 0.2  # of the CPU time


@dataclass(frozen=True)
class Surroundings:
    """The environment that a case ran in.

    Attributes:
        threads: threads per operation.
        cpus: number of CPUs that the process may use.
        quota: CPU time that its control groups grant it, in CPUs; None without a limit.
        allocator: the memory allocator's name, followed by `, tuned` if it keeps freed memory.
        governors: the frequency governors of these CPUs; empty if unknown.
        boosts: whether the clock rate may rise above the nominal one; None if unknown.
        on_battery: whether a battery is discharging; None if unknown.
    """

    threads: int
    cpus: int
    quota: float | None
    allocator: str
    governors: Sequence[str]
    boosts: bool | None
    on_battery: bool | None


def disturbances(
    readings: Readings, around: Surroundings, of_host: bool = True
) -> Iterator[BenchmarkWarning]:
    """Yield the warnings on what disturbed a case: at most one of each code.

    Warnings on the machine alone have the same text in each round, so that a report shows them once.

    Args:
        readings: the sensors' readings.
        around: the environment.
        of_host: whether the host's speed is in the times, which those of a busy GPU do not contain.
    """
    yield from _oversubscribed(around)
    yield from _foreign_load(readings, around)
    yield from _throttled(readings, around)
    yield from _stolen(readings)
    if of_host:
        yield from _page_faults(readings, around)
        yield from _frequency_scaling(around)
    yield from _thermal(readings)
    if around.on_battery:
        yield BenchmarkWarning(
            WarningCode.ON_BATTERY,
            "on battery, processors are slowed down to save it; plug in the power supply",
        )


def _foreign_load(readings: Readings, around: Surroundings) -> Iterator[BenchmarkWarning]:
    waited, foreign = readings.run_delay, readings.foreign_cpus
    if readings.had_foreign_load and waited is not None and foreign is not None:
        yield BenchmarkWarning(
            WarningCode.FOREIGN_LOAD,
            f"others kept {foreign:.2f} of {_count(around.cpus, 'CPU')} busy, and the case's threads waited "
            f"{waited:.2f} s per second for one: its times are not its own; end other processes (see `top`), "
            "or lower threads",
        )


def _oversubscribed(around: Surroundings) -> Iterator[BenchmarkWarning]:
    threads = _count(around.threads, "thread")
    if around.threads > around.cpus:
        yield BenchmarkWarning(
            WarningCode.OVERSUBSCRIBED,
            f"{threads} on the {_count(around.cpus, 'CPU')} that the process may use (its affinity) wait for "
            f"each other; use threads={around.cpus}, or let it use more CPUs",
        )
    elif around.quota is not None and around.threads > around.quota:
        whole = int(around.quota)
        yield BenchmarkWarning(
            WarningCode.OVERSUBSCRIBED,
            f"{threads}, but the control group grants the time of {around.quota:g} CPUs (its quota), and "
            f"stops them all when it is used up; {f'use threads={whole}, or ' * (whole > 0)}raise the quota",
        )


def _throttled(readings: Readings, around: Surroundings) -> Iterator[BenchmarkWarning]:
    stopped, seconds = readings.throttled, readings.sampling_seconds
    if readings.was_throttled and stopped is not None:
        quota = "" if around.quota is None else f" of {around.quota:g} CPUs"
        yield BenchmarkWarning(
            WarningCode.THROTTLED,
            f"the control group's quota{quota} stopped its processes for {stopped:.2g} s (of all CPUs "
            f"together) in {seconds:.2g} s of sampling; raise the quota, or lower threads",
        )


def _stolen(readings: Readings) -> Iterator[BenchmarkWarning]:
    share = readings.steal
    if readings.was_stolen and share is not None:
        yield BenchmarkWarning(
            WarningCode.STOLEN,
            f"the hypervisor ran something else in {share * 100:.0f} % of the time in which the CPUs had "
            "work; measure when the host is quieter, or on a machine of your own",
        )


def _page_faults(readings: Readings, around: Surroundings) -> Iterator[BenchmarkWarning]:
    share = readings.page_fault_share
    if share is not None and share >= FAULTS_SHARE:
        yield BenchmarkWarning(
            WarningCode.PAGE_FAULTS,
            f"{readings.page_faults_per_call:.0f} page faults per call explain about {share * 100:.0f} % of "
            f"the time: the allocator ({around.allocator}) gives memory back to the kernel after each call; "
            + _how_to_keep(around.allocator),
        )


def _how_to_keep(allocator: str) -> str:
    """Return what keeps released memory, or makes its pages larger, where the allocator is this."""
    if allocator.startswith("glibc") and not allocator.endswith(", tuned"):
        return "try allocator=tuned"
    if allocator.startswith("jemalloc"):
        return "try MALLOC_CONF=dirty_decay_ms:-1,muzzy_decay_ms:-1, which keeps it, or allocator=tuned"
    return "let torch ask for huge pages (THP_MEM_ALLOC_ENABLE=1), or lower batch_size"


def _frequency_scaling(around: Surroundings) -> Iterator[BenchmarkWarning]:
    free = [governor for governor in around.governors if governor != "performance"]
    causes = [f"the governor is {' and '.join(free)}"] if free else []
    remedies = ["hold it (`cpupower frequency-set -g performance`)"] if free else []
    if around.boosts:
        causes.append("turbo is on")
        remedies.append("switch turbo off for steadier, slower times")
    if causes:
        yield BenchmarkWarning(
            WarningCode.FREQUENCY_SCALING,
            f"the CPUs' clock rate is not fixed, for {' and '.join(causes)}; {', and '.join(remedies)}; see "
            "`microbench doctor`",
        )


def _thermal(readings: Readings) -> Iterator[BenchmarkWarning]:
    if readings.thermal_throttles:
        yield BenchmarkWarning(
            WarningCode.THERMAL,
            f"heat slowed the CPUs {_count(readings.thermal_throttles, 'time')} meanwhile; cool the machine, "
            "or hold a clock rate that it can keep (`cpupower frequency-set -u`)",
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
