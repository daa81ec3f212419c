"""Every guard bites: a result that is swapped, dropped, edited or mixed up is one clear line and reaches no table."""

import json
import shutil

import pandas as pd
import pytest

from priorbench.analysis.statistics import statistics
from priorbench.analysis.trials import choose
from priorbench.errors import PriorbenchError
from priorbench.io import sha256_file


def refused(experiment, match: str) -> None:
    """Collecting ends in one line and writes no table."""
    for table in experiment.root.glob("*.csv"):
        table.unlink()
    with pytest.raises(PriorbenchError, match=match) as caught:
        experiment.collect()
    assert len(str(caught.value).splitlines()) == 1
    assert not experiment.runs_csv.exists()


def signed(experiment, sim) -> None:
    """Write the hash of its test into every record, as training does."""
    for folder in experiment.runs:
        if (folder / "test.json").exists():
            sim.edit(folder / "run.json", test_hash=sha256_file(folder / "test.json"))


def swap(first, second) -> None:
    spare = first.with_name("spare")
    first.rename(spare)
    second.rename(first)
    spare.rename(second)


def test_swapped_tests_of_two_strategies_are_noticed(make, sim) -> None:
    experiment = make(groups=4)
    signed(experiment, sim)
    experiment.collect()
    swap(*(experiment.run("gns", name, 1) / "test.json" for name in ("mask", "scratch")))
    refused(experiment, r"test\.json: not what tip3p/gns/(mask|scratch)/seed1 .* wrote")


def test_swapped_folders_of_two_strategies_are_noticed(make) -> None:
    experiment = make()
    swap(experiment.run("gns", "mask", 1), experiment.run("gns", "scratch", 1))
    refused(experiment, "holds the run tip3p/gns/(mask|scratch)/seed1; it was moved or copied")


def test_a_folder_copied_over_another_is_noticed(make) -> None:
    experiment = make()
    shutil.rmtree(experiment.run("gns", "mask", 1))
    shutil.copytree(experiment.run("gns", "mask", 2), experiment.run("gns", "mask", 1))
    refused(experiment, "seed1: holds the run tip3p/gns/mask/seed2")


def test_a_run_counted_twice_is_noticed(make) -> None:
    experiment = make()
    experiment.runs.append(experiment.runs[-1])
    refused(experiment, "given 2 times")


@pytest.mark.parametrize("lost", [(), (("gns", "mask", 1),)], ids=["completed", "diverged"])
def test_a_dropped_seed_is_noticed_diverged_or_not(make, lost) -> None:
    experiment = make(diverged=lost)
    experiment.runs.remove(experiment.run("gns", "mask", 1))
    refused(experiment, "gns/mask: no run for seed 1")


def test_a_number_edited_in_a_test_is_noticed(make, sim) -> None:
    experiment = make(groups=4)
    signed(experiment, sim)
    sim.edit(experiment.run("gns", "mask", 1) / "test.json", force_rmse=1.0)
    refused(experiment, "not what tip3p/gns/mask/seed1 .* wrote")


@pytest.mark.parametrize("quantity", ["force_rmse", "energy_rmse"])
def test_totals_are_those_of_the_structures_in_older_records_too(make, sim, quantity: str) -> None:
    experiment = make(groups=4)
    sim.edit(experiment.run("gns", "mask", 1) / "test.json", **{quantity: 1.0})
    refused(experiment, rf"{quantity} is 1\.0, but that of its structures is")


def test_swapped_columns_of_energies_and_forces_are_noticed(make, sim) -> None:
    experiment = make(groups=4)
    path = experiment.run("gns", "mask", 1) / "test.json"
    test = json.loads(path.read_text())
    sim.edit(path, force_rmse=test["energy_rmse"], energy_rmse=test["force_rmse"])
    refused(experiment, "but that of its structures is")


@pytest.mark.parametrize("name", ["mask", "pretrain-mask"])
def test_the_metrics_of_another_run_are_noticed(make, name: str) -> None:
    experiment = make()
    shutil.copy(experiment.run("gns", name, 2) / "metrics.csv", experiment.run("gns", name, 1) / "metrics.csv")
    refused(experiment, r"metrics\.csv: val_(loss|force_rmse) of epoch \d+ is .* it was edited or is another run's")


def test_metrics_that_end_before_the_kept_epoch_are_noticed(make) -> None:
    experiment = make()
    metrics = experiment.run("gns", "mask", 1) / "metrics.csv"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:-1]))
    refused(experiment, "not one row for each of the epochs 0 to 20")


def test_a_split_of_another_time_is_noticed(make, sim) -> None:
    experiment = make()
    sim.edit(experiment.run("gns", "mask", 1) / "run.json", split_hash="stale")
    refused(experiment, "were split differently")


def test_scratch_weights_taken_for_pretrained_ones_are_noticed(make, sim) -> None:
    experiment = make()
    record = experiment.run("gns", "mask", 1) / "run.json"
    sim.edit(record, start_checksum=json.loads(record.read_text())["initial_checksum"])
    refused(experiment, "gns/mask/seed1 .*starts from weights")


@pytest.mark.parametrize("key", ["seed", "strategy"])
def test_weights_of_another_pretraining_are_noticed(make, sim, key: str) -> None:
    experiment = make()
    other = experiment.run("gns", "pretrain-mask" if key == "seed" else "pretrain-denoise", 2 if key == "seed" else 1)
    final = json.loads((other / "run.json").read_text())["final_checksum"]
    sim.edit(experiment.run("gns", "mask", 1) / "run.json", start_checksum=final, parent_checksum=final)
    refused(experiment, "gns/mask/seed1 .*starts from weights")


def test_runs_of_several_experiments_are_noticed(make, sim) -> None:
    experiment = make()
    sim.edit(experiment.run("gns", "mask", 1) / "run.json", experiment="another")
    refused(experiment, "runs of several experiments")


def test_runs_of_different_code_are_noticed_and_of_another_version_alone_are_not(make, sim) -> None:
    experiment = make()
    for folder in experiment.runs:
        sim.edit(folder / "run.json", code="a" * 64)
    sim.edit(experiment.run("gns", "mask", 1) / "run.json", version="0.2.0")
    experiment.collect()
    sim.edit(experiment.run("gns", "mask", 1) / "run.json", code="b" * 64)
    refused(experiment, "were run by different code")
    sim.edit(experiment.run("gns", "mask", 1) / "run.json", code=None)
    refused(experiment, "were run by different versions")


def test_the_choice_of_a_trial_has_no_test_error_to_look_at(make, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr("priorbench.analysis.collect.choose", lambda runs: seen.extend(runs) or choose(runs))
    make(trials=2).collect()
    assert seen
    assert not {key for run in seen for key in run if key.startswith(("test_force", "test_energy", "trivial_force"))}


@pytest.mark.parametrize("table", ["curves", "structures"])
def test_tables_of_two_experiments_are_noticed(make, table: str) -> None:
    own, other = make("own", groups=4).collect(), make("other", groups=4, noise=0.05).collect()
    shutil.copy(other.root / f"{table}.csv", own.root / f"{table}.csv")
    with pytest.raises(PriorbenchError, match=rf"in runs\.csv, but .* by {table}\.csv; the tables are not of one"):
        statistics(own.runs_csv, own.curves_csv, own.statistics_json, own.structures_csv)
    assert not own.statistics_json.exists()


@pytest.mark.parametrize("column", ["test_force_rmse", "test_energy_rmse"])
def test_errors_of_two_strategies_swapped_in_the_table_are_noticed(make, column: str) -> None:
    experiment = make(groups=4).collect()
    runs = pd.read_csv(experiment.runs_csv)
    rows = [
        runs.index[(runs["strategy"] == name) & (runs["stage"] == "finetune") & (runs["seed"] == 1)][0]
        for name in ("mask", "scratch")
    ]
    runs.loc[rows, column] = runs.loc[rows[::-1], column].to_numpy()
    runs.to_csv(experiment.runs_csv, index=False)
    with pytest.raises(PriorbenchError, match=rf"{column} is .* in runs\.csv, but .* by structures\.csv"):
        statistics(experiment.runs_csv, experiment.curves_csv, experiment.statistics_json, experiment.structures_csv)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("energy_error", "1e300", "but inf by structures"),
        ("energy_error", "-5.25" + "x" * 100_000, "not readable"),
        ("atoms", "0", "but nan by structures"),
    ],
)
def test_what_is_no_number_of_this_world_is_refused_in_one_short_line(make, column: str, value: str, said: str) -> None:
    """The square of an error was a traceback, as were structures of no atoms, and a line was as long as the value."""
    experiment = make(groups=4).collect()
    structures = pd.read_csv(experiment.structures_csv, dtype=str)
    structures.loc[structures["strategy"] == "mask", column] = value
    structures.to_csv(experiment.structures_csv, index=False)
    with pytest.raises(PriorbenchError, match=said) as refused:
        statistics(experiment.runs_csv, experiment.curves_csv, experiment.statistics_json, experiment.structures_csv)
    assert len(str(refused.value)) < 1000
