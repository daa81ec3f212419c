from pathlib import Path

from matplotlib.image import imread

from priorbench.bench.figure import draw
from priorbench.bench.report import as_markdown, as_text
from tests.bench.conftest import report, row


def test_the_table_is_complete_and_fits_a_terminal() -> None:
    text = as_text(report())
    assert max(map(len, text.splitlines())) <= 120
    assert text.count("textbook") == 18 + 2
    for name in ("egnn", "gns", "forcenet", "masking", "denoising", "potential", "192", "774", "300 GFLOP/s"):
        assert name in text
    assert "commit 0123456789ab+" in text
    assert "compilation s" in text


def test_the_page_has_every_table_and_the_figure() -> None:
    page = as_markdown(report(), "machine")
    assert page.startswith("# machine\n")
    assert "](machine.png)" in page
    assert page.count("\n| backbone") == 3
    assert "![" not in as_markdown(report([]), "machine")


def test_without_a_textbook_its_columns_are_empty() -> None:
    text = as_text(report([row("new", "masking", 192, textbook=False)]))
    times, work = text.split("What a step does")
    assert times.count("priorbench  ") == 1
    assert "textbook" not in times
    assert work.count("–") == 2


def test_figures_are_written_and_always_the_same(tmp_path: Path) -> None:
    alone = report([row("new", "other", 24, textbook=False)])
    for name, content in (("a", report()), ("b", report()), ("alone", alone)):
        draw(content, tmp_path / name)
    for suffix in (".png", ".pdf"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert imread(tmp_path / "alone.png").shape[0] > 300
