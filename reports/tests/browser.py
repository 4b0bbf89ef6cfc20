"""Debian's Chromium, driven by its own driver, for tests of the page."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

# Nothing here may look for a network; a test machine's root cannot have Chromium's sandbox.
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--window-size=1280,1400")


def started(*flags: str) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS, *flags):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
    driver.set_script_timeout(30)
    try:
        yield driver
    finally:
        driver.quit()


@dataclass(frozen=True)
class Opening:
    """What it took to open a page, in milliseconds from the navigation's start; of the page's process also its work."""

    usable: float  # all of it is there, and its script has run
    drawn: float  # and on the screen
    processor: float


def opening(driver: Any, path: Path) -> Opening:
    driver.get("about:blank")
    driver.execute_cdp_cmd("Performance.enable", {})
    driver.get(path.resolve().as_uri())
    drawn, usable = driver.execute_async_script("""const done = arguments[0];
        requestAnimationFrame(() => setTimeout(() => done([performance.now(), performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd]), 0))""")
    metrics = {metric["name"]: metric["value"] for metric in driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]}
    return Opening(usable, drawn, metrics["TaskDuration"] * 1000)


class Page:
    """A report that is open."""

    def __init__(self, driver: Any, path: Path) -> None:
        self.driver = driver
        driver.get("about:blank")
        driver.get(path.resolve().as_uri())
        assert self.js("return document.documentElement.dataset.ready") == "yes"

    def js(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def complaints(self) -> list[str]:
        """What the browser's console holds: an error of the script, or something that the page's policy refused."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def open_case(self, anchor: str) -> Any:
        """The case's element, its details drawn."""
        return self.driver.execute_async_script("""
            const [id, done] = arguments, element = document.getElementById(id);
            element.open = true;
            (function wait() { element.querySelector(".repro") ? done(element) : setTimeout(wait, 5); })();""", anchor)

    def text(self, element: Any, selector: str) -> str:
        return "\n".join(self.js("return Array.from(arguments[0].querySelectorAll(arguments[1]), e => e.textContent)", element, selector))

    def shown(self) -> list[str]:
        return self.js("return Array.from(document.querySelectorAll('details.case')).filter(e => !e.hidden).map(e => e.id)")
