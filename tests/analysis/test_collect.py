import shutil

import pandas as pd
import pytest

from priorbench.analysis.collect import load_curves, load_runs
from priorbench.analysis.records import (
    DEFAULTS,
    RUN_COLUMNS,
    RUN_KEY,
    RUN_TIMES,
    STRUCTURE_COLUMNS,
    load_structures,
)
from priorbench.errors import PriorbenchError


def test_rows_totals_and_types(make) -> None:
    runs = load_runs(make().collect().runs_csv)
    assert len(runs) == 2 * 3 * (2 + 5)
    assert list(runs.columns) == list(RUN_COLUMNS)
    mask = runs[(runs["strategy"] == "mask") & (runs["stage"] == "finetune")].iloc[0]
    pretrain = runs[(runs["strategy"] == "mask") & (runs["stage"] == "pretrain")].iloc[0]
    assert mask["pretrain_epochs"] == pretrain["epochs"] == 6
    assert mask["total_flops"] == mask["flops"] + pretrain["flops"]
    assert mask["total_seconds"] == pytest.approx(mask["seconds"] + pretrain["seconds"])
    scratch = runs[runs["strategy"] == "scratch"].iloc[0]
    assert (scratch["pretrain_flops"], scratch["pretraining"], scratch["parent"]) == (0, None, None)


def test_numbers_survive_the_tables_exactly(make, sim) -> None:
    experiment = make()
    sim.edit(experiment.run("gns", "mask", 0) / "test.json", force_rmse=0.1 + 0.2)
    runs = load_runs(experiment.collect().runs_csv)
    assert 0.1 + 0.2 in list(runs["test_force_rmse"])


def test_a_checksum_of_digits_stays_text(make, sim) -> None:
    experiment = make()
    sim.edit(experiment.run("gns", "mask", 0) / "run.json", config_hash="0123456789")
    assert "0123456789" in list(load_runs(experiment.collect().runs_csv)["config_hash"])


def test_order_of_directories_does_not_matter(make) -> None:
    experiment = make().collect()
    before = experiment.runs_csv.read_bytes(), experiment.curves_csv.read_bytes()
    experiment.runs.reverse()
    experiment.collect()
    assert (experiment.runs_csv.read_bytes(), experiment.curves_csv.read_bytes()) == before


def test_only_time_columns_differ_on_a_slower_machine(make) -> None:
    first, second = (make(name, time_scale=scale).collect() for name, scale in (("a", 1.0), ("b", 3.0)))
    a, b = (load_runs(e.runs_csv).drop(columns=[*RUN_TIMES, "parent"]) for e in (first, second))
    pd.testing.assert_frame_equal(a, b)
    a, b = (load_curves(e.curves_csv).drop(columns=["seconds", "structures_per_s"]) for e in (first, second))
    pd.testing.assert_frame_equal(a, b)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("initial_checksum", "start from different initial weights"),
        ("split_hash", "were split differently"),
        ("data_hash", "saw different data"),
    ],
)
def test_strategies_of_a_seed_must_share(make, sim, key: str, message: str) -> None:
    experiment = make()
    sim.edit(experiment.run("gns", "scratch", 1) / "run.json", **{key: "other"})
    with pytest.raises(PriorbenchError, match=message):
        experiment.collect()


def test_pretrained_weights_must_be_those_of_the_parent(make, sim) -> None:
    experiment = make()
    sim.edit(experiment.run("gns", "mask", 1) / "run.json", start_checksum="other")
    with pytest.raises(PriorbenchError, match=r"gns/mask/seed1 .*starts from weights other"):
        experiment.collect()


def test_pretrained_weights_must_not_be_the_initial_ones(make, sim) -> None:
    experiment = make()
    initial = sim.digest("initial", "tip3p", "gns", 1)
    sim.edit(experiment.run("gns", "mask", 1) / "run.json", start_checksum=initial)
    sim.edit(experiment.run("gns", "pretrain-mask", 1) / "run.json", final_checksum=initial)
    with pytest.raises(PriorbenchError, match="no pretrained weights were loaded"):
        experiment.collect()


def test_missing_parent_seed_duplicate_and_baselines(make, sim) -> None:
    experiment = make()
    every = experiment.runs
    experiment.runs = [path for path in every if path != experiment.run("gns", "pretrain-mask", 1)]
    with pytest.raises(PriorbenchError, match="its pretraining 'mask' is not among the runs"):
        experiment.collect()
    experiment.runs = [path for path in every if path != experiment.run("gns", "mask", 1)]
    with pytest.raises(PriorbenchError, match="gns/mask: no run for seed 1"):
        experiment.collect()
    experiment.runs = [*every, every[3]]
    with pytest.raises(PriorbenchError, match="given 2 times"):
        experiment.collect()
    for name, message in (("scratch", "no run trained from scratch"), ("longer-steps", "no longer-steps run")):
        experiment.runs = [path for path in every if path.parent.name != name]
        with pytest.raises(PriorbenchError, match=message):
            experiment.collect()
    experiment.runs = []
    with pytest.raises(PriorbenchError, match="no finetuned run"):
        experiment.collect()


def test_pretraining_on_another_dataset_is_found_there(make, sim) -> None:
    experiment = make(datasets=("tip3p", "revpbe0"), backbones={"gns": "vector"})
    other = {seed: experiment.run("gns", "pretrain-mask", seed, "tip3p") for seed in (0, 1, 2)}
    for seed, parent in other.items():
        sim.edit(parent / "run.json", flops=1e9)
        final = sim.digest("final", "tip3p", "gns", "mask", seed)
        own = experiment.run("gns", "mask", seed, "revpbe0") / "run.json"
        sim.edit(own, pretraining_dataset="tip3p", start_checksum=final)
    runs = load_runs(experiment.collect().runs_csv).query("strategy == 'mask' and stage == 'finetune'")
    cost = runs.groupby("dataset")["pretrain_flops"].unique().map(list)
    assert cost["revpbe0"] == cost["tip3p"] == [1e9]
    experiment.runs = [path for path in experiment.runs if path != other[1]]
    with pytest.raises(PriorbenchError, match="'mask' is not among the runs"):
        experiment.collect()


def test_a_body_carried_over_without_heads_is_that_of_its_pretraining(make, sim) -> None:
    experiment = make()
    own = experiment.run("gns", "mask", 1) / "run.json"
    sim.edit(own, start_checksum="body and new heads")
    with pytest.raises(PriorbenchError, match="starts from weights body and new heads"):
        experiment.collect()
    sim.edit(own, settings={"transfer": "body"})
    assert '{"transfer": "body"}' in set(load_runs(experiment.collect().runs_csv)["settings"].dropna())
    sim.edit(own, parent_checksum="other")
    with pytest.raises(PriorbenchError, match="takes its body from weights other"):
        experiment.collect()


def test_tables_older_than_a_column_get_its_default(make) -> None:
    experiment = make(source="tip3p").collect()
    runs, curves = load_runs(experiment.runs_csv), load_curves(experiment.curves_csv)
    runs.drop(columns=list(DEFAULTS)).to_csv(experiment.runs_csv, index=False)
    curves.drop(columns="trial").to_csv(experiment.curves_csv, index=False)
    old = load_runs(experiment.runs_csv)
    assert list(old.columns) == list(RUN_COLUMNS)
    texts = {
        key: [None] for key in ("source", "protocol", "settings", "labels", "pretraining_dataset", "torch", "code")
    }
    numbers = {"trial": [1], "trials": [1], "tuning_flops": [0.0]}
    assert {name: old[name].unique().tolist() for name in DEFAULTS} == texts | numbers
    pd.testing.assert_frame_equal(old.drop(columns=list(DEFAULTS)), runs.drop(columns=list(DEFAULTS)))
    pd.testing.assert_frame_equal(load_curves(experiment.curves_csv), curves)
    runs.drop(columns="status").to_csv(experiment.runs_csv, index=False)
    with pytest.raises(PriorbenchError, match="no column 'status'"):
        load_runs(experiment.runs_csv)


def test_structures_are_listed_with_the_key_of_their_run(make) -> None:
    experiment = make(groups=4, diverged=(("gns", "mask", 1),)).collect()
    table = load_structures(experiment.structures_csv)
    assert list(table.columns) == list(STRUCTURE_COLUMNS)
    assert len(table) == (2 * 3 * 5 - 1) * 12
    runs = load_runs(experiment.runs_csv).query("stage == 'finetune' and status == 'completed'")
    pooled = table.assign(square=table["force_rmse"] ** 2).groupby(RUN_KEY)["square"].mean() ** 0.5
    assert pooled.sort_index().tolist() == pytest.approx(
        runs.set_index(RUN_KEY)["test_force_rmse"].sort_index().tolist()
    )


def test_broken_runs_are_one_clear_line(make, sim) -> None:
    experiment = make()
    test_json = experiment.run("gns", "mask", 0) / "test.json"
    sim.edit(test_json, force_rmse=None)
    with pytest.raises(PriorbenchError, match="completed, but test_force_rmse is None"):
        experiment.collect()
    test_json.unlink()
    with pytest.raises(PriorbenchError, match="no such file"):
        experiment.collect()
    shutil.copy(experiment.run("gns", "mask", 1) / "test.json", test_json)
    metrics = experiment.run("gns", "mask", 0) / "metrics.csv"
    metrics.write_text("epoch,step\n")
    with pytest.raises(PriorbenchError, match="no column 'learning_rate'"):
        experiment.collect()
    assert not experiment.curves_csv.exists()


@pytest.mark.parametrize(
    ("file", "field", "value"),
    [
        ("run.json", "seed", "0"),
        ("run.json", "steps", -1),
        ("run.json", "flops", None),
        ("run.json", "batch_size", 2.5),
        ("test.json", "trivial_force_rmse", -5.0),
        ("test.json", "per_structure", {"structure": 1}),
        ("test.json", "per_structure", [{"structure": 0, "group": 0, "force_rmse": "1", "energy_error": 0.0}]),
    ],
)
def test_a_record_of_the_wrong_kind_is_refused(make, sim, file: str, field: str, value: object) -> None:
    experiment = make()
    sim.edit(experiment.run("gns", "mask", 0) / file, **{field: value})
    with pytest.raises(PriorbenchError, match=rf"{file}: .*(cannot be|is no|of a structure)"):
        experiment.collect()


def test_metrics_cut_within_a_line_are_refused(make) -> None:
    experiment = make()
    path = experiment.run("gns", "mask", 0) / "metrics.csv"
    path.write_text(path.read_text()[:-30])
    with pytest.raises(PriorbenchError, match=r"metrics\.csv: cut short in its last line"):
        experiment.collect()


@pytest.mark.parametrize("column", ["test_force_rmse", "flops"])
def test_a_table_with_an_impossible_number_is_refused(make, column: str) -> None:
    experiment = make().collect()
    table = pd.read_csv(experiment.runs_csv, dtype=object, keep_default_na=False)
    table.loc[table["stage"] == "finetune", column] = "inf"
    table.to_csv(experiment.runs_csv, index=False)
    with pytest.raises(PriorbenchError, match=rf"{column} cannot be inf"):
        load_runs(experiment.runs_csv)


def test_a_row_with_a_comma_too_many_is_refused(make) -> None:
    experiment = make().collect()
    lines = experiment.runs_csv.read_text().splitlines()
    experiment.runs_csv.write_text("\n".join([lines[0], f",{lines[1]}", *lines[2:]]) + "\n")
    with pytest.raises(PriorbenchError, match="rows and columns do not fit"):
        load_runs(experiment.runs_csv)
