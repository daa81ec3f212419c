"""The report as a reader meets it: opened from disk in a browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def page(browser: Any, page_file: Path) -> Iterator[Any]:
    """The open page; at its end nothing may have been asked of a network or said on the console."""
    opened = browser.new_page(viewport={"width": 1200, "height": 900})
    asked: list[str] = []
    said: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto(page_file.as_uri())
    yield opened
    opened.close()
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
    assert said == []


def column(page: Any, index: int) -> list[str]:
    cells = page.locator(f"#leaderboard tbody tr:not([hidden]) > :nth-child({index})")
    return [text.strip() for text in cells.all_inner_texts()]


def show(page: Any, name: str) -> Any:
    plot = page.locator(f"#plot-{name}")
    plot.scroll_into_view_if_needed()
    page.wait_for_selector(f"#plot-{name}[data-drawn] .main-svg")
    return plot


def test_a_head_sorts_up_and_down(page: Any) -> None:
    head = page.locator("#leaderboard thead th").nth(3)
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    up = [float(cell.split()[0]) for cell in (text.rstrip("†") for text in column(page, 4))]
    assert up == sorted(up)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert [float(cell.split()[0]) for cell in column(page, 4)] == up[::-1]


def test_rows_are_filtered_by_text_and_backbone(page: Any) -> None:
    page.fill("#filter-text", "mask")
    assert column(page, 3) == ["mask", "mask"]
    page.select_option("#filter-backbone", "gns")
    assert column(page, 2) == ["gns"]
    assert page.inner_text("#filter-count") == "1 of 12 rows"


def test_a_strategy_is_switched_off_and_on(page: Any) -> None:
    plot = show(page, "curves")

    def names() -> list[str]:
        return plot.evaluate("e => e.data.map(t => t.name)")

    button = page.locator("#curves-legend button", has_text="longer-steps")
    assert "longer-steps" in names()
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert "longer-steps" not in names()
    button.click()
    assert "longer-steps" in names()


def test_the_horizontal_axis_is_switched(page: Any) -> None:
    plot, last = show(page, "curves"), {}
    for unit, title in (
        ("step", "optimiser steps"),
        ("seconds", "training time / s"),
        ("flops", "FLOPs"),
        ("epoch", "epochs"),
    ):
        page.check(f"input[name=abscissa][value={unit}]", force=True)
        assert plot.evaluate("e => e.layout.xaxis.title.text") == title
        last[unit] = plot.evaluate("e => Math.max(...e.data.find(t => t.name === 'scratch').x)")
    assert len(set(last.values())) == 4
    assert last["epoch"] == 20


def test_dark_mode_reaches_the_plots(page: Any) -> None:
    plot = show(page, "curves")
    colour = "e => e.data.find(t => t.name === 'scratch').line.color.toLowerCase()"
    assert plot.evaluate(colour) == "#000000"
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(300)  # the page's policy forbids to evaluate what waiting for a condition would
    assert plot.evaluate("e => e.layout.font.color") == "#e6e6e3"
    assert plot.evaluate(colour) == "#f4f4f2"


def test_a_phone_does_not_scroll_sideways(page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    for name in ("curves", "forest", "parity", "breakdown"):
        show(page, name)
    page.wait_for_timeout(400)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_the_harmful_name_is_a_text(page: Any) -> None:
    show(page, "curves")
    assert page.locator("#curves-legend button", has_text="<script>alert(1)</script>").count() == 1
    assert page.locator("#plot-curves script").count() == 0
