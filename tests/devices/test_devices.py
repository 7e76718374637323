from __future__ import annotations

import pytest

from microbench import devices
from microbench.devices import cpu, cuda, fake
from microbench.errors import UserError


def test_auto_is_the_first_device_that_is_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda.Device, "unusable", lambda self: None)
    assert isinstance(devices.open_device("auto"), cuda.Device)
    monkeypatch.setattr(cuda.Device, "unusable", lambda self: "no GPU")
    assert isinstance(devices.open_device("auto"), cpu.Device)


def test_a_device_that_cannot_be_used_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda.Device, "unusable", lambda self: "no GPU; use device=cpu")
    with pytest.raises(UserError, match=r"^device=cuda cannot be used here: no GPU; use device=cpu\.$"):
        devices.open_device("cuda")


def test_the_clocks_tell_seconds_after_the_first_mark() -> None:
    assert cpu.HostClock().seconds([1_000_000_000, 1_500_000_000, 3_000_000_000]) == [0.0, 0.5, 2.0]
    clock = fake.FakeClock()
    clock.advance(1.0)
    marks = [clock.mark()]
    clock.advance(0.5)
    marks.append(clock.mark())
    assert clock.seconds(marks) == [0.0, 0.5]
    assert clock.now() == 1.5


def test_the_hosts_clock_moves_forward_in_nanoseconds() -> None:
    clock = cpu.HostClock()
    first, second = clock.mark(), clock.mark()
    assert isinstance(first, int)
    assert second >= first
    assert clock.seconds([first, second])[0] == 0
