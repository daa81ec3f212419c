"""C5: what masking spends to reach scratch's error, by hand."""

import json

import pandas as pd
import pytest

from priorbench.analysis.convergence import UNITS, compare, describe, measurable, reached, reaches, summarise

SCRATCH = [9.0, 8.0, 6.0, 4.0, 5.0]
NEVER = [9.0, 8.0, 7.0, 6.0, 5.0]
FAST = [9.0, 1.0, 1.0, 1.0, 1.0]


def curves_of(strategies: dict[str, list[list[float]]]) -> pd.DataFrame:
    """Ten steps an epoch; three seconds an epoch from scratch, two after masking."""
    return pd.DataFrame(
        [
            {"strategy": name, "stage": "finetune", "seed": seed, "epoch": epoch, "val_force_rmse": value}
            | {"step": 10 * epoch, "seconds": (2.0 if name == "mask" else 3.0) * epoch}
            for name, seeds in strategies.items()
            for seed, values in enumerate(seeds)
            for epoch, value in enumerate(values)
        ]
    )


def runs_of(best_epochs: list[float], status: str = "completed") -> pd.DataFrame:
    """Forty steps of 5 TFLOP; a pretraining of two epochs, 14 steps, 7 s and 30 TFLOP."""
    pretrain = {"pretrain_epochs": 2, "pretrain_steps": 14, "pretrain_seconds": 7.0, "pretrain_flops": 3e13}
    return pd.DataFrame(
        [
            {"strategy": name, "stage": "finetune", "seed": seed, "status": status, "best_epoch": best}
            | {"steps": 40, "flops": 2e14, **(pretrain if name == "mask" else dict.fromkeys(pretrain, 0))}
            for name in ("mask", "scratch")
            for seed, best in enumerate(best_epochs)
        ]
    )


def test_the_first_epoch_at_the_threshold_counts() -> None:
    curves = curves_of({"scratch": [SCRATCH, SCRATCH], "mask": [[3.0, 4.0, 3.0, 2.0, 2.0], [9.0, 8.0, 4.0, 3.0, 3.0]]})
    found = reaches(runs_of([3, 3]), curves, "mask", "scratch")["epochs"]
    assert [(r.threshold, r.scratch, r.strategy, r.censored) for r in found] == [
        (4.0, 3, 1, False),
        (4.0, 3, 2, False),
    ]
    assert compare(found, False).delta == pytest.approx((2 / 9) ** 0.5 - 1)
    assert compare(found, True).delta == pytest.approx((3 * 4 / 9) ** 0.5 - 1)


@pytest.mark.parametrize(
    ("unit", "scratch", "mask", "pretrain"),
    [("epochs", 3, 1, 2), ("steps", 30, 10, 14), ("seconds", 9.0, 2.0, 7.0), ("FLOPs", 1.5e14, 5e13, 3e13)],
)
def test_every_unit_by_hand(unit: str, scratch: float, mask: float, pretrain: float) -> None:
    curves = curves_of({"scratch": [SCRATCH] * 2, "mask": [FAST] * 2})
    found = reaches(runs_of([3, 3]), curves, "mask", "scratch")[unit]
    assert [(r.scratch, r.strategy, r.pretrain) for r in found] == [pytest.approx((scratch, mask, pretrain))] * 2
    assert compare(found, False).delta == pytest.approx(mask / scratch - 1)
    assert compare(found, True).delta == pytest.approx((mask + pretrain) / scratch - 1)


@pytest.mark.parametrize(("unit", "bound"), [("epochs", 5), ("steps", 50), ("seconds", 10.0), ("FLOPs", 2.5e14)])
def test_a_seed_that_never_gets_there_has_a_lower_bound(unit: str, bound: float) -> None:
    curves = curves_of({"scratch": [SCRATCH] * 3, "mask": [FAST, FAST, NEVER]})
    found = reaches(runs_of([3, 3, 3]), curves, "mask", "scratch")[unit]
    assert [r.censored for r in found] == [False, False, True]
    assert found[2].strategy == pytest.approx(bound)
    assert reached(found) == "reached in 2 of 3; the change is a lower bound"
    assert "median ≥ " in summarise(found, unit, False)


def test_censoring_never_reproduces() -> None:
    curves = curves_of({"scratch": [SCRATCH] * 3, "mask": [FAST, FAST, NEVER]})
    found = reaches(runs_of([3, 3, 3]), curves, "mask", "scratch")["epochs"]
    change = compare(found, False)
    assert (change.verdict, change.p, change.p_margin, change.equivalent) == ("undecided", None, None, False)
    assert describe(found).startswith("epochs 1, 1, > 4 against 3, 3, 3; ")
    curves = curves_of({"scratch": [SCRATCH] * 3, "mask": [NEVER] * 3})
    assert compare(reaches(runs_of([3, 3, 3]), curves, "mask", "scratch")["epochs"], False).verdict == "contradicted"


def test_without_a_threshold_it_is_undecided() -> None:
    curves = curves_of({"scratch": [SCRATCH] * 2, "mask": [SCRATCH] * 2})
    found = reaches(runs_of([3, 3], status="diverged"), curves, "mask", "scratch")["epochs"]
    change = compare(found, False)
    assert (change.verdict, change.diverged) == ("undecided", [0, 1])
    assert describe(found) == "epochs diverged, diverged against diverged, diverged; reached in 0 of 2"


def test_a_clock_that_stood_still_measures_nothing() -> None:
    curves = curves_of({"scratch": [SCRATCH] * 2, "mask": [FAST] * 2}).assign(seconds=0.0)
    found = reaches(runs_of([3, 3]), curves, "mask", "scratch")
    measured = {u: measurable(found[u]) for u in UNITS}
    assert measured == {"epochs": True, "steps": True, "seconds": False, "FLOPs": True}


def test_only_finetuning_epochs_decide(make) -> None:
    experiment = make().analyse()
    claim = next(c for c in json.loads((experiment.root / "claims.json").read_text())["claims"] if c["id"] == "C5")
    own = [case for case in claim["cases"] if case["backbone"] == "gns"]
    parts = [f"{how} {unit}" for unit in UNITS for how in ("finetuning", "with pretraining")]
    assert [case["part"] for case in own] == parts
    assert [case["part"] for case in own if case["decisive"]] == ["finetuning epochs"]
    value = {case["part"]: case["value"] for case in own}
    assert value["finetuning FLOPs"] == pytest.approx(value["finetuning epochs"])  # no step costs more than another
    assert value["finetuning epochs"] < value["with pretraining FLOPs"] < value["with pretraining epochs"]
    assert max(len(case["note"]) for case in own) < 120
