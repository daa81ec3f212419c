from pathlib import Path

import pytest
from matplotlib.image import imread

from priorbench.bench import packed, scale, scale_figure
from priorbench.bench.figure import draw
from priorbench.bench.report import as_markdown, as_text
from tests.bench.conftest import packed_row, report, row, scale_rows


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
    more = report()
    more["suites"]["scale"] = scale_rows()
    for name in ("machine", "machine-scale"):
        assert "](machine-scale.png)" in as_markdown(more, name)
    assert "![" not in as_markdown(report([]), "machine")


def test_without_a_textbook_its_columns_are_empty() -> None:
    text = as_text(report([row("new", "masking", 192, textbook=False)]))
    times, work = text.split("What a step does")
    assert times.count("priorbench  ") == 1
    assert "textbook" not in times
    assert work.count("–") == 2


def test_what_did_not_fit_is_said_in_the_table() -> None:
    (table,) = scale.SUITE.tables(scale_rows())
    egnn, gns = (next(line for line in table.rows if line[:2] == [name, "24576"]) for name in ("egnn", "gns"))
    assert egnn[3:] == ["22.0", "1.10", "1.00", "–", "–", "(31)"]
    assert gns[6:] == ["22.0", "1.10", "1.00"]
    assert max(map(len, table.aligned().splitlines())) <= 120


def test_which_way_to_run_several_is_said_for_each_backbone() -> None:
    ratios = {("egnn", "masking"): 1.2, ("egnn", "potential"): 1.1, ("gns", "masking"): 0.9}
    rows = [packed_row(*cell, ratio) for cell, ratio in ratios.items()]
    (table,) = packed.SUITE.tables([*rows, packed_row("forcenet", "masking", 1.01)])
    assert table.caption.endswith("egnn at once (1.15); gns in a row (0.90); forcenet no difference (1.01).")


@pytest.mark.parametrize("rows", [scale_rows(), [r for r in scale_rows() if r["kind"] == "inference"]])
def test_the_figure_of_sizes_is_always_the_same(tmp_path: Path, rows: list[dict]) -> None:
    content = {**report(), "suites": {"scale": rows}}
    for name in ("a", "b"):
        scale_figure.draw(content, tmp_path / name)
    for suffix in (".png", ".pdf"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_figures_are_written_and_always_the_same(tmp_path: Path) -> None:
    alone = report([row("new", "other", 24, textbook=False)])
    for name, content in (("a", report()), ("b", report()), ("alone", alone)):
        draw(content, tmp_path / name)
    for suffix in (".png", ".pdf"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert imread(tmp_path / "alone.png").shape[0] > 300
