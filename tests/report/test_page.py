"""The report as a file: what is in it, and what must not be."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from priorbench.analysis.summary import summary
from priorbench.analysis.text import with_interval
from priorbench.errors import PriorbenchError
from priorbench.report import breakdown, page
from priorbench.report.dynamics import heading
from priorbench.report.markdown import to_html
from priorbench.report.parts import load_parts

KEPT = Path(__file__).parents[2] / "results/reference"


def payload(text: str) -> dict:
    return json.loads(re.search(r'id="payload">(.*?)</script>', text, re.DOTALL).group(1))


def test_a_name_cannot_become_a_script(page_text: str):
    assert "<script>alert" not in page_text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;" in page_text
    names = [line["name"] for line in payload(page_text)["curves"][0]["series"]]
    assert "<script>alert(1)</script>\"'" in names


def test_every_strategy_has_its_row_with_the_numbers_of_the_statistics(simulated: Path, page_text: str):
    for result in load_parts(simulated)[0].statistics.strategies:
        assert with_interval(result.errors["force_rmse"]) in page_text


def test_diverged_runs_are_shown(page_text: str):
    assert re.search(r'class="number warning"[^>]*>1 \(1\)<', page_text)
    lost = [line["lost"] for place in payload(page_text)["curves"] for line in place["series"] if line["lost"]]
    assert [run["seed"] for run in lost[0]] == [1]
    missing = [s["missing"] for place in payload(page_text)["parity"] for s in place["series"] if s["missing"]]
    assert missing == [[1]]
    lines = [line for p in payload(page_text)["breakdown"] for kind in p["kinds"] for line in kind["series"]]
    assert {line["name"] for line in lines if all("1 of 3 diverged" in text for text in line["text"])} == {"mask"}
    assert not any("diverged" in text for line in lines for text in line["text"] if line["name"] == "scratch")


def test_a_strategy_that_diverged_for_every_seed_still_has_its_row(simulated: Path):
    part = load_parts(simulated)[0]
    result = part.statistics.strategies[0]
    lost, nothing = replace(result, diverged=result.seeds), pd.DataFrame({"kind": [], "key": []})
    (row,) = breakdown._rows(part, lost, nothing)
    assert [cell.text for cell in row.cells][1:] == ["–", "–", result.strategy, "–", "–", "–", "0 of 3"]
    assert breakdown._rows(part, result, nothing) == []


def test_curves_start_where_their_pretraining_ended(page_text: str):
    line = next(s for s in payload(page_text)["curves"][0]["series"] if s["name"] == "mask")
    assert line["x"]["epoch"][0] == 6
    assert {len(values) for values in line["x"].values()} == {len(line["mean"])}


def test_a_missing_section_names_its_command(tmp_path: Path, simulated: Path):
    for name in ("runs.csv", "curves.csv", "statistics.json"):
        (tmp_path / name).write_bytes((simulated / name).read_bytes())
    page.report(tmp_path, tmp_path / "report.html", config="my.yaml")
    text = (tmp_path / "report.html").read_text()
    assert "snakemake collect_details --cores all --configfile my.yaml" in text
    assert 'id="plot-parity"' not in text


def test_an_answer_comes_first_with_its_figure_and_rule(tmp_path: Path):
    page.report(KEPT / "questions/artefact", tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "Is part of masking&#39;s gain a head that starts larger?</h1>" in text
    assert "data:image/png;base64," in text
    assert 'id="questions"' in text


def test_no_runs_no_report(tmp_path: Path):
    with pytest.raises(PriorbenchError, match=r"no runs\.csv"):
        page.report(tmp_path, tmp_path / "report.html")


@pytest.mark.parametrize("shown", [summary, load_parts])
@pytest.mark.parametrize("file", ["claims.json", "answer/answer.json"])
@pytest.mark.parametrize(
    ("content", "said"),
    [("{}", "no field '"), ('{"evidence": {}}', "no field '"), ("[]", "object is expected, found list")],
)
def test_damaged_verdicts_are_said_in_one_line(
    shown, file: str, content: str, said: str, simulated: Path, tmp_path: Path
):
    for name in ("runs.csv", "curves.csv", "statistics.json"):
        (tmp_path / name).write_bytes((simulated / name).read_bytes())
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/rmse.md").write_text("")
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(content)
    with pytest.raises(PriorbenchError, match=rf"{file}: .*{said}.* again"):
        shown(tmp_path)


def test_too_large_a_page_is_refused(simulated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(page, "LIMIT", 1_000_000)
    with pytest.raises(PriorbenchError, match="MB, more than 1"):
        page.report(simulated, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_markdown_is_escaped_and_keeps_its_tables():
    found = to_html("# T\n\n| a | b |\n| --- | ---: |\n| <i> | `x*y*` |\n\n**bold** and *soft* & <b>", 2)
    assert "<h2>T</h2>" in found
    assert '<td class="number"><code>x*y*</code></td>' in found
    assert "&lt;i&gt;" in found
    assert "<strong>bold</strong> and <em>soft</em> &amp; &lt;b&gt;" in found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("drift_mev_per_atom_per_ps", "drift / (meV/atom/ps)"),
        ("stability_ps", "stability / ps"),
        ("rdf_error_oo", "rdf error oo"),
    ],
)
def test_units_of_dynamics_come_from_the_names(name: str, expected: str):
    assert heading(name) == expected
