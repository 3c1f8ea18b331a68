# A real browser without a window: Debian's Chromium, driven by ChromeDriver, with nothing that looks for a network.
from __future__ import annotations

import contextlib
import shutil
import tempfile
from typing import TYPE_CHECKING

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)


class NoBrowser(RuntimeError):
    """The machine has no browser; the text says what to install."""


@contextlib.contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """Yield a fresh browser that ends with the context."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not driver:
        raise NoBrowser("no chromium or chromedriver: apt-get install chromium chromium-driver")
    with tempfile.TemporaryDirectory(prefix="primus-browser-") as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = program
        for flag in (*_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        browser = webdriver.Chrome(options, Service(driver))
        try:
            yield browser
        finally:
            browser.quit()
