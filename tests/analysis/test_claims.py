import json

import pandas as pd
import pytest

from priorbench.analysis.collect import load_curves, load_runs
from priorbench.analysis.convergence import compare_epochs, epochs_to_threshold
from priorbench.analysis.rules import join_verdicts, judge_stability


def outcomes(experiment) -> dict[str, dict]:
    content = json.loads((experiment.root / "claims.json").read_text())
    return {claim["id"]: claim for claim in content["claims"]}


def force(experiment, claim: str) -> str:
    return outcomes(experiment)[claim]["outcomes"]["force"]["verdict"]


def test_a_clear_gain_is_reproduced(make) -> None:
    experiment = make().analyse()
    assert [force(experiment, c) for c in ("C1", "C2", "C4", "C5")] == ["reproduced"] * 4
    assert outcomes(experiment)["C1"]["outcomes"]["energy"]["verdict"] == "reproduced"


def test_swapping_two_strategies_changes_the_verdict(make, sim) -> None:
    strategies = sim.default_strategies()
    strategies["mask"].factor, strategies["scratch"].factor = 1.0, 0.6
    experiment = make(strategies=strategies).analyse()
    assert force(experiment, "C1") == force(experiment, "C4") == "contradicted"


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


def curves_of(strategies: dict[str, list[list[float]]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"strategy": name, "stage": "finetune", "seed": seed, "epoch": epoch, "val_force_rmse": value}
            for name, seeds in strategies.items()
            for seed, values in enumerate(seeds)
            for epoch, value in enumerate(values)
        ]
    )


def runs_of(best_epochs: list[float], status: str = "completed") -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"strategy": name, "stage": "finetune", "seed": seed, "status": status, "best_epoch": best}
            | {"pretrain_epochs": 2 if name == "mask" else 0}
            for name in ("mask", "scratch")
            for seed, best in enumerate(best_epochs)
        ]
    )


SCRATCH = [9.0, 8.0, 6.0, 4.0, 5.0]


def test_c5_counts_the_first_epoch_at_the_threshold() -> None:
    curves = curves_of({"scratch": [SCRATCH, SCRATCH], "mask": [[3.0, 4.0, 3.0, 2.0, 2.0], [9.0, 8.0, 4.0, 3.0, 3.0]]})
    epochs = epochs_to_threshold(runs_of([3, 3]), curves, "mask", "scratch")
    assert [(e.threshold, e.scratch, e.strategy, e.censored) for e in epochs] == [
        (4.0, 3, 1, False),
        (4.0, 3, 2, False),
    ]
    assert compare_epochs(epochs, False).delta == pytest.approx((2 / 9) ** 0.5 - 1)
    assert compare_epochs(epochs, True).delta == pytest.approx((3 * 4 / 9) ** 0.5 - 1)


def test_c5_censoring_never_reproduces() -> None:
    never = [9.0, 8.0, 7.0, 6.0, 5.0]
    fast = [9.0, 1.0, 1.0, 1.0, 1.0]
    curves = curves_of({"scratch": [SCRATCH] * 3, "mask": [fast, fast, never]})
    epochs = epochs_to_threshold(runs_of([3, 3, 3]), curves, "mask", "scratch")
    assert [(e.strategy, e.censored) for e in epochs] == [(1, False), (1, False), (5, True)]
    assert compare_epochs(epochs, False).verdict == "undecided"
    curves = curves_of({"scratch": [SCRATCH] * 3, "mask": [never] * 3})
    epochs = epochs_to_threshold(runs_of([3, 3, 3]), curves, "mask", "scratch")
    assert compare_epochs(epochs, False).verdict == "contradicted"


def test_c5_without_a_threshold_is_undecided() -> None:
    curves = curves_of({"scratch": [SCRATCH] * 2, "mask": [SCRATCH] * 2})
    epochs = epochs_to_threshold(runs_of([3, 3], status="diverged"), curves, "mask", "scratch")
    change = compare_epochs(epochs, False)
    assert (change.verdict, change.diverged) == ("undecided", [0, 1])


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
