"""The command: what it writes for every question, whatever was run."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from priorbench.analysis.style import save
from priorbench.cli import main
from priorbench.config import parse_config
from priorbench.errors import PriorbenchError
from priorbench.registry import QUESTIONS, load
from tests.faults.stages import sketch
from tests.questions.simulate import (
    MASKING,
    Backbone,
    Simulation,
    Strategy,
    baselines,
    count_sentences,
    denoised,
    masked,
)
from tests.questions.simulate import Experiment as Written
from tests.test_config import changed

FILES = {"answer.json", "answer.md", "table.csv", "table.tex", "figure.pdf", "figure.png"}


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """An experiment with something for every question, one diverged run among it."""
    strategies = {
        **baselines((2.0,)),
        "mask": masked(0.8, "pretrained"),
        "denoise": denoised(0.9, "pretrained"),
        "classical": Strategy(0.7, "pretrained", {"name": "potential"}, labels="flexible_tip3p"),
        "mask-heavy": masked(0.9, element="heavy"),
        "mask-l1": masked(0.9, loss="l1"),
        "mask-0.9": masked(0.95, ratio=0.9),
        "mask-gradient": masked(0.95, readout="gradient"),
        "denoise-0.2": denoised(1.0, sigma=0.2),
        "mask-small": Strategy(0.85, "variant", MASKING, pretraining_dataset="small"),
        "rescaled": Strategy(0.95, "variant", settings={"rescale": "mask"}),
    }
    backbones = {
        "forcenet": Backbone("forcenet"),
        "forcenet-25": Backbone("forcenet", learning_rate=1e-2, settings={"target_rms": 74.0}, train_structures=25),
        "forcenet-released": Backbone("forcenet", protocol="released"),
    }
    root = tmp_path_factory.mktemp("everything")
    return Simulation(strategies, backbones, diverged=[("forcenet-25", "scratch", 1)]).write(root)


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_question_writes_its_answer(everything: Written, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []

    def kept(figure: Figure, stem: Path) -> None:
        drawn.append(figure)
        save(figure, stem)

    monkeypatch.setattr("priorbench.questions.answer.save", kept)
    found = everything.answer(name)
    output = everything.root / name
    texts = [(output / file).read_text() for file in ("answer.md", "table.tex")]
    texts.append(" ".join(text.get_text() for text in drawn[0].texts).replace("\n", " ").replace("\u00a0", " "))
    note = "Diverged, counted but without errors to draw: scratch (forcenet-25, water) 1 of"
    assert [note in text for text in texts] == [True] * 3
    assert {path.name for path in output.iterdir()} == FILES
    assert found["judgement"] in ("yes", "no", "undecided")
    assert count_sentences(found["verdict"]) == 2
    assert "[" in found["verdict"]
    assert {row["strategy"] if "strategy" in row else row["network"] for row in found["rows"]} >= {"trivial"}
    with (output / "table.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(found["rows"])
    text = (output / "answer.md").read_text()
    parts = [f"# {name}: {found['title']}", found["verdict"], "| trivial", "Share of the paper's recipe", found["rule"]]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert r"\toprule" in (output / "table.tex").read_text()
    pixels = imread(output / "figure.png")
    assert pixels.shape[1] in (680, 1400)  # one or two columns of a paper
    assert np.ptp(pixels[..., :3]) == 1


@pytest.fixture
def sketched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not drawn."""
    monkeypatch.setattr(Figure, "savefig", sketch)


@pytest.mark.usefixtures("sketched")
@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_about_what_was_not_run_still_gets_its_files(make, name: str) -> None:
    found = make(baselines()).answer(name)
    assert found["judgement"] == "not in this experiment"
    assert found["missing"]
    assert found["verdict"].startswith("Not in this experiment: ")
    assert count_sentences(found["verdict"]) == 2


@pytest.mark.usefixtures("sketched")
@pytest.mark.parametrize("evidence", [{"structure_steps": 10**6, "seeds": 3}, {"structure_steps": 1, "seeds": 6}])
def test_below_the_floor_the_verdict_is_a_smoke_test(everything: Written, evidence: dict[str, int]) -> None:
    found = everything.answer("q1", evidence)
    assert (found["verdict"], found["judgement"]) == ("smoke test, not evidence", None)
    text = (everything.root / "q1" / "answer.md").read_text()
    assert "**smoke test, not evidence**" in text
    assert "Yes" not in text.split("## Rule")[0]


def test_the_same_tables_give_the_same_files(everything: Written) -> None:
    written = []
    for _ in range(2):
        everything.answer("q10")
        written.append({path.name: path.read_bytes() for path in (everything.root / "q10").iterdir()})
    assert written[0] == written[1]


def test_energies_stand_beside_forces(everything: Written) -> None:
    loaded = everything.load()
    for name in set(QUESTIONS) - {"q8"}:
        keys = load("question", name)().answer(loaded).table.csv_columns
        forces = [key for key in keys if key.startswith(("force_", "delta_force"))]
        energies = [key.replace("force", "energy").replace("mev_per_angstrom", "mev_per_atom") for key in forces]
        assert forces
        assert set(energies) <= set(keys)


def test_an_unknown_question_is_one_line(
    everything: Written, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tables = [str(path) for path in everything.tables]
    arguments = ["--runs-csv", tables[0], "--curves-csv", tables[1], "--statistics", tables[2], "--evidence", "{}"]
    assert main(["answer", "--question", "q99", *arguments, "--output", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("priorbench answer: unknown question 'q99'; known are q1, q2")
    assert error.count("\n") == 1


def test_unequal_seeds_are_refused(make) -> None:
    experiment = make({**baselines(), "mask": masked(0.8, "pretrained"), "mask-0.9": masked(0.9, ratio=0.9)})
    runs = pd.read_csv(experiment.tables[0], dtype=str, keep_default_na=False)
    gone = (runs["strategy"] == "mask-0.9") & (runs["stage"] == "finetune") & (runs["seed"] == "4")
    runs[~gone].to_csv(experiment.tables[0], index=False)
    with pytest.raises(
        PriorbenchError, match=r"water/gns/mask-0\.9 against water/gns/\w+: seed 4 was run for only one"
    ):
        experiment.judge("q4")


def test_a_probe_table_of_another_form_is_one_line(everything: Written, tmp_path: Path) -> None:
    table = tmp_path / "probes.csv"
    with pytest.raises(PriorbenchError, match="no such file; run `priorbench probe`"):
        everything.judge("q8", table)
    table.write_text("dataset,backbone\nwater,gns\n")
    with pytest.raises(PriorbenchError, match="no column 'seed'"):
        everything.judge("q8", table)


def test_the_configuration_knows_the_questions() -> None:
    assert parse_config(changed(question="q4")).question == "q4"
    with pytest.raises(PriorbenchError, match=r"question: unknown question; known are q1, .*protocols"):
        parse_config(changed(question="q11"))


def test_every_rule_is_fixed_in_words() -> None:
    for name in QUESTIONS:
        question = load("question", name)()
        assert question.rule.startswith(("Yes ", "As claim C6", "Of every seed", "The best σ"))
        assert "undecided" in question.rule
        assert question.title.endswith("?")
        assert question.looks_at
        assert question.x
