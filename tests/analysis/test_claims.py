import json
from dataclasses import replace

import pytest

from priorbench.analysis.cases import join_verdicts
from priorbench.analysis.collect import load_curves, load_runs
from priorbench.analysis.results import load_statistics
from priorbench.analysis.rules import judge_denoising
from priorbench.analysis.stability import judge_stability


def outcomes(experiment) -> dict[str, dict]:
    content = json.loads((experiment.root / "claims.json").read_text())
    return {claim["id"]: claim for claim in content["claims"]}


def force(experiment, claim: str) -> str:
    return outcomes(experiment)[claim]["outcomes"]["force"]["verdict"]


def test_a_clear_gain_is_reproduced(make) -> None:
    experiment = make().analyse()
    assert [force(experiment, c) for c in ("C1", "C2", "C4", "C5")] == ["reproduced"] * 4
    assert outcomes(experiment)["C1"]["outcomes"]["energy"]["verdict"] == "reproduced"


def test_a_seed_in_which_neither_run_was_trained_leaves_a_claim_undecided_and_is_counted(make) -> None:
    experiment = make(stuck=tuple((b, s, 1) for b in ("egnn", "gns") for s in ("scratch", "mask"))).analyse()
    assert force(experiment, "C1") == "undecided"
    note = outcomes(experiment)["C1"]["cases"][0]["note"]
    assert "neither better than trivial in 1 of" in note


def test_swapping_two_strategies_changes_the_verdict(make, sim) -> None:
    strategies = sim.default_strategies()
    strategies["mask"].factor, strategies["scratch"].factor = 1.0, 0.6
    experiment = make(strategies=strategies).analyse()
    assert force(experiment, "C1") == force(experiment, "C4") == "contradicted"


def test_every_decided_verdict_says_whether_it_survives_the_correction(make) -> None:
    experiment = make(noise=0.15).analyse()
    claim = outcomes(experiment)["C1"]
    for case in claim["cases"]:
        says = "survive Holm over 4 comparisons" if case["survives"] is False else "survives Holm over 4 comparisons"
        assert (says in case["note"]) == (case["verdict"] != "undecided"), case
        assert (case["survives"] is None) == (case["verdict"] == "undecided")
    assert {case["survives"] for case in claim["cases"]} == {True, False}
    for quantity in ("force", "energy"):
        own = [case["survives"] for case in claim["cases"] if case["quantity"] == quantity]
        assert f"{sum(own)} of {len(own)} decided survive Holm" in claim["outcomes"][quantity]["line"]


def test_practical_equivalence_is_called_by_its_name(make, sim) -> None:
    strategies = sim.default_strategies()
    strategies["mask"].factor = 1.0
    cases = outcomes(make(strategies=strategies, noise=0.001).analyse())["C1"]["cases"]
    assert {(case["verdict"], case["equivalent"]) for case in cases} == {("contradicted", True)}
    assert all("practically equal" in case["note"] for case in cases)
    strategies["mask"].factor = 1.5
    cases = outcomes(make("worse", strategies=strategies, noise=0.001).analyse())["C1"]["cases"]
    assert {(case["verdict"], case["equivalent"]) for case in cases} == {("contradicted", False)}


def test_no_claim_is_judged_by_a_variant_and_tables_show_it(make, sim) -> None:
    strategies = sim.default_strategies()
    strategies["mask-permuted"] = sim.Strategy("variant", 2.0, "masking", "mask")
    experiment = make(strategies=strategies).analyse()
    cases = [case for claim in outcomes(experiment).values() for case in claim["cases"]]
    assert {case["strategy"] for case in cases} == {"mask"}
    assert "mask-permuted" not in {case["reference"] for case in cases}
    found = load_statistics(experiment.statistics_json).comparisons
    families = {(c.reference_role, c.change.family) for c in found if c.strategy == "mask-permuted"}
    assert families == {("scratch", 6), ("longer-steps", 6), ("longer-compute", None)}  # counted where it is shown
    rows = [line for line in (experiment.root / "tables/rmse.md").read_text().splitlines() if "mask-permuted" in line]
    assert len(rows) == 2
    assert all("+" in row.split("|")[8] for row in rows)


def test_c7_is_c1_on_molecules(make) -> None:
    assert force(make("water", source="tip3p").analyse(), "C7") == "not tested in this experiment"
    experiment = make("molecules", source="rmd17").analyse()
    assert force(experiment, "C7") == "reproduced"
    found = outcomes(experiment)
    assert found["C7"]["cases"] == found["C1"]["cases"]


def test_the_share_of_the_test_structures_stands_beside(make) -> None:
    notes = {
        groups: [case["note"] for case in outcomes(make(str(groups), groups=groups).analyse())["C1"]["cases"]]
        for groups in (4, 8)
    }
    assert all("fewer than 5 test groups in 3 of 3 seeds" in note for note in notes[4])
    assert all("test structures' share of variance" in note for note in notes[8])


def test_no_difference_is_a_contradiction_when_measured_well_and_undecided_when_not(make, sim) -> None:
    strategies = sim.default_strategies()
    strategies["mask"].factor = 1.0
    assert force(make("well", strategies=strategies, noise=0.001).analyse(), "C1") == "contradicted"
    assert force(make("badly", strategies=strategies, noise=0.2).analyse(), "C1") == "undecided"


@pytest.mark.parametrize(("factor", "expected"), [(0.68, "overlaps"), (0.3, "misses"), (0.9, "misses")])
def test_c1_says_whether_the_claimed_reduction_is_met(make, sim, factor: float, expected: str) -> None:
    strategies = sim.default_strategies()
    strategies["mask"].factor = factor
    cases = outcomes(make(strategies=strategies, noise=0.005).analyse())["C1"]["cases"]
    assert {case["note"].split()[1] for case in cases} == {expected}


def test_a_gain_that_longer_training_gives_as_well_fails_c2(make, sim) -> None:
    strategies = sim.default_strategies()
    strategies["longer-steps"].factor = 0.6
    experiment = make(strategies=strategies, noise=0.002).analyse()
    assert (force(experiment, "C1"), force(experiment, "C2")) == ("reproduced", "contradicted")


def test_a_longer_run_that_is_too_short_decides_nothing(make, sim) -> None:
    experiment = make()
    for path in experiment.runs:
        if path.parent.name == "longer-steps":
            sim.edit(path / "run.json", steps=200)
    assert force(experiment.analyse(), "C2") == "undecided"

    cases = outcomes(experiment)["C2"]["cases"]
    own = [case for case in cases if case["reference"] == "longer-steps"]
    assert {(case["survives"], "Holm" in case["note"]) for case in own} == {(None, False)}


def test_a_pretraining_that_learned_nothing_is_told_of_the_seeds_that_started_from_it(make, sim) -> None:
    experiment = make()
    sim.edit(experiment.run("egnn", "pretrain-mask", 1) / "run.json", loss_best=0.9)
    learned = {case["backbone"]: case["note"] for case in outcomes(experiment.analyse())["C1"]["cases"]}
    assert "masking learned below its floor in 2 of 3" in learned["egnn"]
    assert "masking learned below its floor in 0 of 3" in learned["gns"]  # a lower floor
    for seed in (0, 1, 2):
        sim.edit(experiment.run("gns", "pretrain-mask", seed) / "run.json", floor=None)
    learned = {case["backbone"]: case["note"] for case in outcomes(experiment.analyse())["C1"]["cases"]}
    assert "masking learned in 3 of 3" in learned["gns"]


def test_c4_needs_both_readouts(make) -> None:
    experiment = make(backbones={"gns": "vector", "forcenet": "vector"}).analyse()
    claim = outcomes(experiment)["C4"]
    assert claim["outcomes"]["force"]["verdict"] == "not tested in this experiment"
    assert "energy-centric" in claim["reason"]


def test_a_diverged_run_decides_nothing_where_it_counts(analysed) -> None:
    claim = outcomes(analysed)["C1"]
    verdicts = {case["backbone"]: case["verdict"] for case in claim["cases"]}
    assert verdicts == {"egnn": "reproduced", "gns": "undecided"}
    assert "1 of 3 pairs diverged" in next(c["note"] for c in claim["cases"] if c["backbone"] == "gns")
    assert claim["outcomes"]["force"] | {"line": ""} == {
        "verdict": "undecided", "reproduced": 1, "contradicted": 0, "undecided": 1, "line": "",
        "corrected": 1, "surviving": 1,
    }  # fmt: skip


def test_join_verdicts() -> None:
    assert join_verdicts(["reproduced", "reproduced"]) == "reproduced"
    assert join_verdicts(["reproduced", "undecided"]) == "undecided"
    assert join_verdicts(["reproduced", "undecided", "contradicted"]) == "contradicted"
    assert join_verdicts([]) == "undecided"


def test_stability_divergence_first_then_spread() -> None:
    calm, wild = [1.0, 1.001, 0.999, 1.0005, 1.0], [1.0, 1.5, 0.5, 2.0, 0.8]
    assert judge_stability((calm, wild), (0, 0), (5, 5))[0] == "reproduced"
    assert judge_stability((wild, calm), (0, 0), (5, 5))[0] == "contradicted"
    assert judge_stability((calm, calm), (0, 0), (5, 5))[0] == "undecided"
    assert judge_stability((wild, []), (0, 5), (5, 5))[0] == "reproduced"
    assert judge_stability(([], wild), (5, 0), (5, 5))[0] == "contradicted"
    assert judge_stability((calm, wild[:4]), (0, 1), (5, 5))[0] == "undecided"


def test_below_the_floor_every_verdict_is_called_a_smoke_test(make) -> None:
    experiment = make()
    for evidence in ({"structure_steps": 10**6, "seeds": 3}, {"structure_steps": 1, "seeds": 4}):
        experiment.analyse(evidence)
        content = json.loads((experiment.root / "claims.json").read_text())
        assert content["evidence"]["label"] == "smoke test, not evidence"
        text = (experiment.root / "claims.md").read_text()
        rows = [line for line in text.splitlines() if line.startswith("| tip3p")]
        assert rows
        assert all("smoke test, not evidence" in line for line in rows)
    experiment.analyse({"structure_steps": 1, "seeds": 3})
    assert "smoke test" not in (experiment.root / "claims.md").read_text()


def test_the_rules_and_untested_claims_are_printed(analysed) -> None:
    text = (analysed.root / "claims.md").read_text()
    assert "## Rules" in text
    assert {c for c in ("C6", "C7") if force(analysed, c) == "not tested in this experiment"} == {"C6", "C7"}
    assert load_runs(analysed.runs_csv)["seed"].nunique() == load_curves(analysed.curves_csv)["seed"].nunique() == 3


@pytest.mark.parametrize(("trials", "says"), [(1, "one σ, not scanned"), (4, "chosen on validation among 4 trials")])
def test_a_comparison_with_denoising_says_how_its_noise_was_chosen(make, trials: int, says: str) -> None:
    found = load_statistics(make().analyse().statistics_json)
    tuned = [replace(r, trials=trials) if r.task == "denoising" else r for r in found.strategies]
    cases = judge_denoising(replace(found, strategies=tuned))
    assert all(says in case.note for case in cases if case.part == "accuracy")
    assert any(case.part == "accuracy" for case in cases)
