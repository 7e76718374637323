"""A headless Chromium for tests of pages, and what it has logged; skipped where there is none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # which root cannot have
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP, PHONE = (1280, 900), (390, 844)


@contextmanager
def browser(profile: Path) -> Iterator[Chrome]:
    """Start Chromium with an empty profile, and with logs of its console and its network."""
    found = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if missing := [name for name, path in found.items() if path is None]:
        pytest.skip(f"needs {' and '.join(missing)}: apt-get install chromium chromium-driver")
    selenium = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install selenium")
    options = selenium.ChromeOptions()
    options.binary_location = found["chromium"]
    for each in (*OPTIONS, f"--user-data-dir={profile}"):
        options.add_argument(each)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = selenium.Chrome(options=options, service=selenium.ChromeService(found["chromedriver"]))
    try:
        resize(driver, DESKTOP)
        driver.get("about:blank")
        driver.get_log("performance")  # what the browser's own first page requests
        yield driver
    finally:
        driver.quit()


def resize(driver: Chrome, size: tuple[int, int]) -> None:
    """Show the page as on a screen of this width and height in CSS pixels."""
    width, height = size
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE},
    )


def errors(driver: Chrome) -> list[str]:
    """Return the console's errors and warnings since it was last asked."""
    return [each["message"] for each in driver.get_log("browser") if each["level"] in ("SEVERE", "WARNING")]


def requested(driver: Chrome) -> set[str]:
    """Return the addresses that were requested since it was last asked; data in the page itself is none."""
    messages: list[dict[str, Any]] = [
        json.loads(each["message"])["message"] for each in driver.get_log("performance")
    ]
    urls = {
        each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"
    }
    return {url for url in urls if not url.startswith(("data:", "about:"))}
