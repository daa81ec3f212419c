"""What a report of 200 runs may cost: 60 s to build, 15 MB, 2 s to open."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from priorbench.report.page import LIMIT, report


@pytest.mark.slow
def test_a_report_of_200_runs(large: Path, browser: Any, record_property: Callable[[str, object], None]) -> None:
    started = time.perf_counter()
    report(large, large / "report.html")
    built, size = time.perf_counter() - started, (large / "report.html").stat().st_size
    page = browser.new_page()
    page.goto((large / "report.html").as_uri())
    opened = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd") / 1000
    started = time.perf_counter()
    page.locator("#plot-curves").scroll_into_view_if_needed()
    page.wait_for_selector("#plot-curves[data-drawn] .main-svg")
    drawn = time.perf_counter() - started
    page.close()
    record_property("report", f"{built:.1f} s, {size / 1e6:.1f} MB, loads in {opened:.2f} s, curves in {drawn:.2f} s")
    assert built <= 60
    assert size <= LIMIT
    assert opened <= 2
