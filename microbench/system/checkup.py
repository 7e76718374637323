"""How this machine is set up, as far as it matters for times: what `microbench doctor` looks at."""

from __future__ import annotations

from microbench.system import cgroups, clock, cpus, frequency, power, system

Field = str | int | float | None


def checkup() -> dict[str, Field]:
    """The records' `env_*` fields on it, without that prefix; None is what the system does not tell.

    Frequencies are in Hz, memory in bytes, the clock's step and cost in seconds. Reading it all takes some
    milliseconds.
    """
    usable = cpus.usable()
    slowest, fastest = system.frequency_range()
    pages, page_size = system.static_huge_pages()
    return {
        "smt": system.hyper_threads(usable),
        "sockets": system.sockets(usable),
        "numa_nodes": system.numa_nodes(usable),
        "governor": ", ".join(frequency.governors(usable)) or None,
        "turbo": frequency.boosts(),
        "frequency_driver": system.frequency_driver(),
        "frequency_min": slowest,
        "frequency_max": fastest,
        "cgroup_version": cgroups.version(),
        "memory_limit": cgroups.memory_limit(),
        "thp": system.transparent_huge_pages(),
        "huge_pages": pages,
        "huge_page_size": page_size,
        "load_average": system.load_average(),
        "clock_source": system.clock_source(),
        "clock_sources": system.clock_sources(),
        "clock_step": clock.step(),
        "clock_cost": clock.cost(),
        "hypervisor": system.virtualization(),
        "on_battery": _on_battery(),
    }


def _on_battery() -> bool | None:
    """Whether a battery is being used up; without one it is not, where the system would tell of one."""
    told = power.on_battery()
    return False if told is None and power.SUPPLIES.is_dir() else told
