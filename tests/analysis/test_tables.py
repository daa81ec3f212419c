import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from priorbench.analysis.intervals import Estimate
from priorbench.analysis.summary import summary
from priorbench.analysis.text import latex, latex_table, markdown_table, number, percent, with_interval
from priorbench.errors import PriorbenchError


def test_numbers_as_text() -> None:
    assert [number(x) for x in (1234.5, 123.4, 1.234, 0.01234, 0.0, None)] == [
        "1234", "123", "1.23", "0.0123", "0.00", "–",
    ]  # fmt: skip
    assert [percent(x) for x in (-0.1234, 0.5, 1.5, None)] == ["−12.3", "+50.0", "+150", "–"]


def test_markdown_is_aligned() -> None:
    lines = markdown_table(["name", "x"], [["a", "1.5"], ["longer", "10"]], "lr").splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1].endswith(":|") or lines[1].endswith(": |")


def test_table_has_every_strategy_and_the_trivial_predictor(analysed) -> None:
    table = pd.read_csv(analysed.root / "tables" / "rmse.csv")
    expected = ["trivial", "scratch", "longer-steps", "longer-compute", "denoise", "mask"]
    for backbone in ("egnn", "gns"):
        assert list(table.loc[table["backbone"] == backbone, "strategy"]) == expected
    assert table.columns[-1] == "total_seconds"
    assert table.loc[table["strategy"] == "trivial", "force_rmse_mev_per_angstrom"].tolist() == pytest.approx(
        [2000] * 2
    )
    caption = (analysed.root / "tables" / "rmse.md").read_text().splitlines()[-1]
    assert "6 + 20 (paper: 25 + 300)" in caption
    assert "2,000 structure-steps of finetuning, 0.083 %" in caption


def without_seconds(claims_json: Path) -> Any:
    """All verdicts with their cases, but for C5 in seconds, which decides nothing."""
    content = json.loads(claims_json.read_text())
    for claim in content["claims"]:
        claim["cases"] = [case for case in claim["cases"] if not case["part"].endswith("seconds")]
    return content


def test_tables_are_the_same_on_another_clock(make) -> None:
    first, second = (make(name, time_scale=scale).analyse() for name, scale in (("a", 1.0), ("b", 7.0)))
    a, b = (pd.read_csv(e.root / "tables" / "rmse.csv").iloc[:, :-1] for e in (first, second))
    pd.testing.assert_frame_equal(a, b, check_exact=True)
    assert without_seconds(first.root / "claims.json") == without_seconds(second.root / "claims.json")


def test_the_same_runs_give_the_same_bytes(make) -> None:
    experiment = make().analyse()
    names = ("statistics.json", "tables/rmse.csv", "tables/rmse.md", "tables/rmse.tex", "claims.md")
    before = [(experiment.root / name).read_bytes() for name in names]
    experiment.analyse()
    assert [(experiment.root / name).read_bytes() for name in names] == before


def test_latex_escapes() -> None:
    assert latex("50 % of a_b & Å") == r"50 \% of a\_b \& \AA{}"
    assert latex("\\{}") == r"\textbackslash{}\{\}"


def test_latex_table_is_balanced(analysed) -> None:
    text = (analysed.root / "tables" / "rmse.tex").read_text()
    body = text[text.index("\\midrule") : text.index("\\bottomrule")].splitlines()[1:]
    assert len(body) == 12
    assert all(line.count(" & ") == 14 and line.endswith("\\\\") for line in body)
    assert text.count("{") == text.count("}")
    assert text.isascii()


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(analysed, tmp_path: Path) -> None:
    odd = latex_table(["a_b", "c %"], [["[x]", "1 & 2 ~ ^ # $ \\ {"]], "Δ × − – † ≥ σ Å", "lr")
    table = (analysed.root / "tables" / "rmse.tex").read_text()
    head = "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}\n"
    (tmp_path / "page.tex").write_text(f"{head}{table}\n{odd}\n\\end{{document}}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0


def test_summary_says_what_was_found(analysed) -> None:
    text = summary(analysed.root)
    for part in ("force RMSE meV/Å", "C1", "half-width", "mask against longer-steps", "→", "floor", "tables/rmse.md"):
        assert part in text, part
    assert "1 diverged" in text


def test_summary_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PriorbenchError, match="run the experiment to its end first"):
        summary(tmp_path)


def test_numbers_have_a_true_minus() -> None:
    assert number(-0.1812) == "−0.181"
    assert with_interval(Estimate(-0.05, -0.12, 0.02, None, [])) == "−0.0500 [−0.1200, 0.0200]"
