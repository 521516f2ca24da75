"""A headless Chromium that notes every request and every error of a page."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# Started before the page's own script, so that it sees what that does.
WATCH = """
window.errors = [];
window.addEventListener("error", (event) => window.errors.push(String(event.message)));
"""


@contextmanager
def browser(profile: Path) -> Iterator[Any]:
    """A browser; the test is skipped where none is installed."""
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    chromium = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs Chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    flags = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1200,1400"]
    # Chromium has no sandbox for the superuser, as in containers.
    flags += ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    for flag in (*flags, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    try:
        started.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
        # The page that a browser starts with asks for things of its own.
        started.get("about:blank")
        yield started
    finally:
        started.quit()


def open_page(driver: Any, path: Path) -> None:
    """Open a page, and forget what was noted of earlier ones."""
    for kind in ("performance", "browser"):
        driver.get_log(kind)
    driver.get(path.as_uri())


def requests_of(driver: Any) -> list[str]:
    """Addresses that were asked for since the last call; of the page too."""
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


def problems_of(driver: Any) -> list[str]:
    """Errors of scripts, and what the policy of the page has refused."""
    return driver.execute_script("return window.errors") + [entry["message"] for entry in driver.get_log("browser")]
