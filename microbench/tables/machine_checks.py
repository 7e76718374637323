"""The effects of a machine's setup on times, and what to do about them, from the records of a run there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from microbench.config import Config
from microbench.records.cases import CaseResult
from microbench.records.record import Machine, Process, WarningCode
from microbench.tables import units
from microbench.tables.labels import count

CPU_FILES = "/sys/devices/system/cpu"
CLOCK_SOURCE = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
HUGE_PAGES = "/sys/kernel/mm/transparent_hugepage/enabled"
INTEL_DRIVERS = ("intel_pstate", "intel_cpufreq")
BUSY = 0.1  # CPUs that other processes keep busy: advice is given above it
LOADED = 0.5  # the same for the load average at the start, before a run adds to it
CLOCK_SHARE = 0.002  # of the shortest sample that a reading of the clock may take


@dataclass(frozen=True)
class Advice:
    """What can be done: a sentence, and the command that does it, if there is one."""

    text: str
    command: str | None = None


@dataclass(frozen=True)
class Finding:
    """One fact about a machine.

    Attributes:
        name: its name.
        value: its value here, with its unit; None if it cannot be read.
        advice: what to do about it; None if it is fine, or unknown.
    """

    name: str
    value: str | None
    advice: Advice | None = None


@dataclass(frozen=True)
class Seen:
    """The records' facts on the machine of a case.

    Attributes:
        machine: the machine.
        process: the actual settings of the case's process.
        config: the case's configuration.
        readings: the mean over rounds of the sensors' readings, by the name of the record's field.
        warned: the codes of the workers' warnings: what they judged is not judged again.
    """

    machine: Machine
    process: Process
    config: Config
    readings: Mapping[str, float]
    warned: Collection[WarningCode] = ()


READINGS = ("foreign_cpus", "steal", "throttled", "page_faults_per_call")


def seen(cases: Sequence[CaseResult]) -> Seen:
    """Return the facts on the machine from the records of at least one case."""
    readings = [
        each
        for case in cases
        for record in case.rounds.values()
        if (each := record.outcome.readings) is not None
    ]
    told = {
        name: [value for each in readings if (value := getattr(each, name)) is not None] for name in READINGS
    }
    return Seen(
        cases[0].machine,
        cases[0].first.outcome.process,
        cases[0].config,
        {name: fmean(values) for name, values in told.items() if values},
        {code for case in cases for code in case.warnings},
    )


def processor(this: Seen) -> Finding:
    """Return the processor's name."""
    return Finding("processor", this.machine.cpu)


def cores(this: Seen) -> Finding:
    """Return the numbers of usable cores and CPUs."""
    cores, usable = this.machine.physical_cores, this.machine.usable_cpus
    if cores is None or usable is None:
        return Finding("cores", None)
    return Finding("cores", f"{count(cores, 'core')}, {count(usable, 'CPU')} usable")


def hyper_threads(this: Seen) -> Finding:
    """Return whether two CPUs may share a core."""
    smt = this.machine.smt
    if smt is None:
        return Finding("hyper-threads", None)
    advice = Advice(
        "two threads may share a core: bind each to a core of its own", "microbench … affinity=compact"
    )
    bound = this.config.affinity != "none"
    return Finding("hyper-threads", "on" if smt else "off", advice if smt and not bound else None)


def nodes(this: Seen) -> Finding:
    """Return the numbers of sockets and NUMA nodes: some memory may be slower to access."""
    sockets, numa = this.machine.sockets, this.machine.numa_nodes
    told = [count(number, noun) for number, noun in ((sockets, "socket"), (numa, "NUMA node")) if number]
    several = max(sockets or 1, numa or 1) > 1
    advice = Advice(
        "another node's memory is slower to access, and a tensor may be in either: use one node only",
        "numactl --cpunodebind=0 --membind=0 microbench …",
    )
    return Finding("memory nodes", ", ".join(told) or None, advice if several else None)


def quota(this: Seen) -> Finding:
    """Return the CPU time that the control group grants before it stops the process."""
    granted, throttled = this.machine.cpu_quota, this.readings.get("throttled", 0.0)
    if granted is None:
        return Finding("CPU quota", "none" if this.machine.cgroup_version else None)
    threads = this.process.threads or 1
    advice = Advice(
        "the control group stops every thread for the rest of a period (0.1 s) once its time is used up: "
        "grant whole CPUs instead of time, or lower threads",
        "docker run --cpuset-cpus=0-1 …   # instead of --cpus=2",
    )
    return Finding("CPU quota", f"{granted:g} CPUs", advice if throttled > 0 or threads > granted else None)


def memory(this: Seen) -> Finding:
    """Return the memory's size, and the control group's limit."""
    there, limit = this.machine.memory, this.machine.memory_limit
    parts = [units.memory(there)] if there else []
    if limit:
        parts.append(f"limited to {units.memory(limit)} by the control group")
    return Finding("memory", ", ".join(parts) or None)


def governor(this: Seen) -> Finding:
    """Return the governor, which chooses the clock rate."""
    name = this.machine.governor
    advice = Advice(
        "the clock rate follows the load, and so do the times: set it to its maximum",
        "sudo cpupower frequency-set -g performance",
    )
    return Finding("governor", name, None if name in (None, "performance") else advice)


def turbo(this: Seen) -> Finding:
    """Return whether turbo is on: the clock rate then depends on heat and on how many cores are busy."""
    on = this.machine.turbo
    if on is None:
        return Finding("turbo", None)
    intel = this.machine.frequency_driver in INTEL_DRIVERS
    command = (
        f"echo 1 | sudo tee {CPU_FILES}/intel_pstate/no_turbo"
        if intel
        else f"echo 0 | sudo tee {CPU_FILES}/cpufreq/boost"
    )
    advice = Advice(
        "the clock rate depends on heat and on how many cores are busy: without turbo it is lower but steady",
        command,
    )
    return Finding("turbo", "on" if on else "off", advice if on else None)


def clock_rate(this: Seen) -> Finding:
    """Return the range of the clock rate, and the driver that sets it."""
    low, high = this.machine.frequency_min, this.machine.frequency_max
    ends = [f"{low / 1e9:.2f} – {high / 1e9:.2f} GHz"] if low and high else []
    driver = [f"set by {name}"] if (name := this.machine.frequency_driver) else []
    return Finding("clock rate", ", ".join([*ends, *driver]) or None)


def power(this: Seen) -> Finding:
    """Return whether a battery is discharging."""
    battery = this.machine.on_battery
    if battery is None:
        return Finding("power", None)
    advice = Advice("on battery, processors are slowed down to save power: plug in the power supply")
    return Finding("power", "battery" if battery else "not on battery", advice if battery else None)


def other_load(this: Seen) -> Finding:
    """Return the load of other processes: when the run began, and while it measured."""
    average, foreign = this.machine.load_average, this.readings.get("foreign_cpus")
    parts = [] if average is None else [f"load average {average:.2f} at the start"]
    if foreign is not None:
        parts.append(f"other processes used {foreign:.2f} CPUs")
    busy = foreign > BUSY if foreign is not None else (average or 0.0) > LOADED
    advice = Advice("other processes use the CPUs: find and end them, and run the doctor again", "top")
    return Finding("other load", "; ".join(parts) or None, advice if busy else None)


def transparent_huge_pages(this: Seen) -> Finding:
    """Return whether large tensors can use large pages."""
    mode = this.machine.thp
    advice = Advice(
        "large tensors use pages of 4 KiB, with one page fault each: let programs request larger ones, and "
        "let torch do so",
        f"echo madvise | sudo tee {HUGE_PAGES}; THP_MEM_ALLOC_ENABLE=1 microbench …",
    )
    return Finding("transparent huge pages", mode, advice if mode == "never" else None)


def static_huge_pages(this: Seen) -> Finding:
    """Return the memory reserved for programs that request large pages explicitly, unlike torch."""
    pages, size = this.machine.huge_pages, this.machine.huge_page_size
    if pages is None or size is None:
        return Finding("static huge pages", None)
    return Finding("static huge pages", f"{pages:,} of {units.memory(size)}" if pages else "none")


def allocator(this: Seen) -> Finding:
    """Return the allocator, and the page faults per call: whether memory is requested again in each call."""
    name, faults = this.process.allocator, this.readings.get("page_faults_per_call")
    told = "" if faults is None else f", {faults:,.0f} page faults per call"
    advice = Advice(
        "memory of large tensors is returned to the kernel and requested again, with one page fault per "
        "4 KiB: keep freed memory",
        "microbench … allocator=tuned",
    )
    is_plain = this.config.allocator == "system" and str(name).startswith("glibc")
    matters = is_plain and WarningCode.PAGE_FAULTS in this.warned
    return Finding("memory allocator", f"{name}{told}" if name else None, advice if matters else None)


def clock_source(this: Seen) -> Finding:
    """Return the kernel's clock source."""
    source, available = this.machine.clock_source, this.machine.clock_sources or ""
    better = source is not None and source != "tsc" and "tsc" in available.split() and _slow_clock(this)
    advice = Advice(
        f"{source} is slow to read: use the processor's own counter", f"echo tsc | sudo tee {CLOCK_SOURCE}"
    )
    return Finding("clock source", source, advice if better else None)


def clock(this: Seen) -> Finding:
    """Return the clock's resolution, and the cost of a reading."""
    step, cost = this.machine.clock_step, this.machine.clock_cost
    if step is None or cost is None:
        return Finding("clock", None)
    longer = max(step, cost) / CLOCK_SHARE
    advice = Advice(
        "the clock is too coarse or too slow for such short samples: make them longer",
        f"microbench … measure.min_sample={longer:.1g}",
    )
    value = f"steps of {units.time(step)}, {units.time(cost)} per reading"
    return Finding("clock", value, advice if _slow_clock(this) else None)


def _slow_clock(this: Seen) -> bool:
    worst = max(this.machine.clock_step or 0.0, this.machine.clock_cost or 0.0)
    return bool(worst > CLOCK_SHARE * this.config.measure.min_sample)


def virtualization(this: Seen) -> Finding:
    """Return whether the machine is virtual: shared with guests that are invisible."""
    name, steal = this.machine.hypervisor, this.readings.get("steal", 0.0)
    if name in (None, "none"):
        return Finding("virtualization", name)
    told = f"virtual machine ({name})" if name != "unnamed" else "virtual machine"
    stolen = WarningCode.STOLEN in this.warned
    reason = (
        f"the hypervisor ran other guests for {units.share(steal)} of the time in which the CPUs had work"
        if stolen
        else "other guests of the host are invisible, and so is what sets the clock rate"
    )
    advice = Advice(f"{reason}: compare only cases of one run, or use a machine of your own")
    return Finding("virtualization", told, advice)


RULES: tuple[Callable[[Seen], Finding], ...] = (
    processor,
    cores,
    hyper_threads,
    nodes,
    quota,
    governor,
    turbo,
    clock_rate,
    power,
    virtualization,
    other_load,
    memory,
    allocator,
    transparent_huge_pages,
    static_huge_pages,
    clock_source,
    clock,
)
"""The rules, in display order."""

USEFUL_FIRST = (
    "power",
    "other load",
    "CPU quota",
    "governor",
    "memory allocator",
    "rounds",
    "turbo",
    "memory nodes",
    "hyper-threads",
    "clock source",
    "clock",
    "transparent huge pages",
    "virtualization",
)
"""The findings that can have advice, sorted by how much it usually helps."""

SAID_BY: Mapping[WarningCode, tuple[str, ...]] = {
    WarningCode.FOREIGN_LOAD: ("other load",),
    WarningCode.THROTTLED: ("CPU quota",),
    WarningCode.STOLEN: ("virtualization",),
    WarningCode.PAGE_FAULTS: ("memory allocator",),
    WarningCode.FREQUENCY_SCALING: ("governor", "turbo"),
    WarningCode.ON_BATTERY: ("power",),
    WarningCode.WIDE_INTERVAL: ("rounds",),
}
"""The findings whose advice covers a warning."""


def findings(this: Seen) -> list[Finding]:
    """Return everything about a machine, in display order."""
    return [rule(this) for rule in RULES]


def useful_first(found: Sequence[Finding]) -> list[Finding]:
    """Return the findings that have advice, the most useful first."""
    return sorted((each for each in found if each.advice), key=lambda each: USEFUL_FIRST.index(each.name))


def other_warnings(cases: Sequence[CaseResult], found: Sequence[Finding]) -> list[Finding]:
    """Return the warnings that no finding's advice covers, each once, with how many rounds have it."""
    said = {each.name for each in found if each.advice}
    messages: dict[WarningCode, list[str]] = {}
    for case in cases:
        for code, texts in case.warnings.items():
            if said.isdisjoint(SAID_BY.get(code, ())):
                messages.setdefault(code, []).extend(texts)
    rounds = sum(record.ok for case in cases for record in case.rounds.values())
    return [
        Finding(code, None, Advice(f"{texts[0]} (in {len(texts)} of {count(rounds, 'round')})"))
        for code, texts in messages.items()
    ]
