"""Formatted numbers: with a suitable unit, and no more digits than the interval supports."""

from __future__ import annotations

import math

from microbench.records.cases import Estimate

TIME_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
PREFIXES = (
    (1e15, "P"),
    (1e12, "T"),
    (1e9, "G"),
    (1e6, "M"),
    (1e3, "k"),
    (1.0, ""),
    (1e-3, "m"),
    (1e-6, "µ"),
    (1e-9, "n"),
    (1e-12, "p"),
)


def time_unit(seconds: float) -> tuple[float, str]:
    """Return the largest unit of which `seconds` is at least one, to three digits: its seconds and name."""
    return next((unit for unit in TIME_UNITS if abs(seconds) >= 0.9995 * unit[0]), TIME_UNITS[-1])


def decimals(value: float, half_width: float | None) -> int:
    """Return how many decimals to show.

    The interval's half-width decides: its first digit is the last one shown, or its second one if the first
    is a 1. Without an interval, or with one of no width, three significant digits are shown.
    """
    if value == 0 or not math.isfinite(value):
        return 0
    significant = 2 - math.floor(math.log10(float(f"{abs(value):.3g}")))
    if not half_width or not math.isfinite(half_width):
        return max(0, significant)
    exponent = math.floor(math.log10(half_width))
    supported = -exponent + (1 if half_width / 10**exponent < 2 else 0)
    return max(0, min(supported, significant + 2))


def time(seconds: float, half_width: float | None = None, around: float | None = None) -> str:
    """Format a time, such as `20.6 ms`.

    Args:
        seconds: the time.
        half_width: the half-width of its interval, in seconds.
        around: the time whose unit and digits to use, if not its own (for an interval's ends); one that these
            would round to 0 is shown with its first significant digit.
    """
    reference = seconds if around is None else around
    factor, name = time_unit(reference)
    number, digits = seconds / factor, decimals(reference / factor, half_width and half_width / factor)
    if number and not round(number, digits):
        digits = -math.floor(math.log10(abs(number)))
    return f"{number:.{digits}f} {name}"


def duration(seconds: float) -> str:
    """Format how long something takes, such as `8 s`, `90 s`, `2.5 min` or `12 h`; at least `1 s`."""
    if seconds < 99.5:
        return f"{max(1.0, seconds):.0f} s"
    number, name = (seconds / 60, "min") if seconds < 99.5 * 60 else (seconds / 3600, "h")
    return f"{number:.{1 if number < 9.95 else 0}f}".removesuffix(".0") + f" {name}"


def median(estimate: Estimate) -> str:
    """Format the median, with the digits that its interval supports."""
    return time(estimate.median, estimate.half_width)


def median_and_interval(estimate: Estimate) -> str:
    """Format the median and the relative half-width of its interval."""
    width = estimate.relative_half_width
    return median(estimate) + ("" if width is None else f" ±{share(width)}")


def valid(text: str, is_valid: bool) -> str:
    """Format a figure with markup: one that does not count is struck out, and enclosed in tildes."""
    return text if is_valid else f"[strike]~{text}~[/strike]"


def level(confidence: float) -> str:
    """Format a confidence level, such as `95 %`."""
    return f"{confidence:.0%}".replace("%", " %")


def error(value: float) -> str:
    """Format an error as a share, such as `3.1e-03`."""
    return f"{value:.1e}"


def interval(low: float, high: float, around: float) -> str:
    """Format an interval, such as `20.3 – 20.9 ms`, in the unit and digits of its median."""
    half_width = (high - low) / 2
    start = time(low, half_width, around).partition(" ")[0]
    return f"{start} – {time(high, half_width, around)}"


def share(value: float) -> str:
    """Format a share, such as `0.90 %`, `1.5 %` or `25 %`: the larger, the fewer decimals."""
    percent = value * 100
    if percent >= 1000:
        return ">999 %"
    digits = 1 if abs(percent) >= 1 else 2
    return f"{percent:.{digits}f} %" if abs(percent) < 10 else f"{percent:.0f} %"


def rate(value: float, relative_half_width: float | None = None) -> str:
    """Format a rate, such as `388` or `58,904`, with the digits that its interval supports."""
    half_width = value * relative_half_width if relative_half_width else None
    return f"{value:,.{decimals(value, half_width)}f}"


def memory(size: float) -> str:
    """Format bytes in a binary unit, such as `88.0 MiB` or `2.10 GiB`."""
    for name in ("B", "KiB", "MiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {name}" if name == "B" or size >= 100 else f"{size:.1f} {name}"
        size /= 1024
    return f"{size:.2f} GiB"


def scaled(value: float, unit: str) -> str:
    """Format a number with a unit to three digits with a decimal prefix, such as `21.3 MFLOP` or `4.5 µJ`."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}".rstrip()
    factor, prefix = next((each for each in PREFIXES if abs(value) >= 0.9995 * each[0]), PREFIXES[-1])
    number = value / factor
    digits = 0 if isinstance(value, int) and factor == 1 else decimals(number, None)
    return f"{number:.{digits}f} {prefix}{unit}".rstrip()


def format_name(dtype: str) -> str:
    """Return a number format's name in the options, such as `bf16` for `bfloat16`."""
    return dtype.replace("bfloat", "bf").replace("float", "fp")
