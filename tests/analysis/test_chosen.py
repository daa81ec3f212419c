"""``trials.csv``: one trial of every run is chosen, and a table that says anything else is refused."""

from pathlib import Path

import pytest

from priorbench.analysis.chosen import Trial, load_chosen
from priorbench.errors import PriorbenchError

HEAD = "dataset,backbone,strategy,seed,trial,chosen"
ROWS = ["water,gns,mask,0,1,0", "water,gns,mask,0,2,1", "water,gns,mask,1,1,1", "water,gns,mask,1,2,0"]


def written(folder: Path, *rows: str, head: str = HEAD) -> Path:
    path = folder / "trials.csv"
    path.write_text("".join(f"{line}\n" for line in (head, *rows)))
    return path


def test_the_chosen_trial_of_every_run(tmp_path: Path) -> None:
    expected = {Trial("water", "gns", "mask", 0, 2), Trial("water", "gns", "mask", 1, 1)}
    assert load_chosen(written(tmp_path, *ROWS)) == expected


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([*ROWS, ROWS[0]], "row 5 is of the same trial as another"),
        ([*ROWS, "water,gns,mask,0,3,1"], "not one trial of every run is chosen"),
        (ROWS[:1], "not one trial of every run is chosen"),
        ([*ROWS[2:], ROWS[0]], "not one trial of every run is chosen"),
        (["water,gns,mask,0,1,yes"], "row 1: seed, trial or chosen is no such number"),
        (["water,gns,mask,0.0,1,1"], "row 1: seed, trial or chosen is no such number"),
        (["water,gns,mask,0,-1,1"], "row 1: seed, trial or chosen is no such number"),
        ([f"water,gns,mask,{'9' * 5000},1,1"], "row 1: seed, trial or chosen is no such number"),
    ],
)
def test_a_table_that_makes_no_choice_is_refused(rows: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(PriorbenchError, match=said) as refused:
        load_chosen(written(tmp_path, *rows))
    assert str(refused.value).endswith("run `priorbench collect` again")


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(PriorbenchError, match="no column 'chosen'"):
        load_chosen(written(tmp_path, "0,1", head="dataset,backbone"))
