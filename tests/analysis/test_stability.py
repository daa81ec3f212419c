"""C6: whether masking stabilises ForceNet, over its learning rates."""

import json

import numpy as np
import pytest

from priorbench.analysis.intervals import pooled_spread_ratio, spread_ratio
from priorbench.analysis.results import load_statistics

RATES = {"slow": 1e-3, "fast": 3e-3}
SEEDS = (0, 1, 2, 3, 4)


def scan(make, folder: str = "scan", **options):
    """ForceNet at two learning rates beside another backbone."""
    backbones = {"slow": "vector", "fast": "vector", "egnn": "gradient"}
    entries = {"backbones": backbones, "architectures": dict.fromkeys(RATES, "forcenet"), "learning_rates": RATES}
    return make(folder, **{**entries, "seeds": SEEDS, **options}).analyse()


def c6(experiment) -> dict:
    return next(c for c in json.loads((experiment.root / "claims.json").read_text())["claims"] if c["id"] == "C6")


def force(experiment) -> dict:
    (case,) = (case for case in c6(experiment)["cases"] if case["quantity"] == "force")
    return case


def test_runs_that_diverge_from_scratch_alone_reproduce(make) -> None:
    lost = tuple(("fast", "scratch", seed) for seed in SEEDS)
    case = force(scan(make, diverged=lost))
    assert (case["verdict"], case["decisive"], case["backbone"]) == ("reproduced", True, "fast, slow")
    assert "diverged 0 of 10 against 5 of 10; stuck 0 against 0" in case["note"]
    assert "learning rate 0.001, 0.003" in case["note"]


def test_runs_that_diverge_after_masking_alone_contradict(make) -> None:
    lost = tuple((backbone, "mask", seed) for backbone in RATES for seed in SEEDS[:3])
    assert force(scan(make, diverged=lost))["verdict"] == "contradicted"


def test_training_that_ends_where_it_began_has_failed_without_diverging(make) -> None:
    stuck = tuple(("fast", "scratch", seed) for seed in SEEDS)
    experiment = scan(make, stuck=stuck)
    case = force(experiment)
    assert case["verdict"] == "reproduced"
    assert "diverged 0 of 10 against 0 of 10; stuck 0 against 5" in case["note"]
    results = {(r.backbone, r.strategy): r.stuck for r in load_statistics(experiment.statistics_json).strategies}
    assert [key for key, seeds in results.items() if seeds] == [("fast", "scratch")]
    assert results["fast", "scratch"] == list(SEEDS)


def test_a_few_failures_decide_nothing(make) -> None:
    lost = (("fast", "scratch", 0), ("slow", "scratch", 1))
    assert force(scan(make, diverged=lost))["verdict"] == "undecided"


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({"seeds": SEEDS[:4]}, "needs 5 seeds, found 4"),
        ({"learning_rates": {}}, "needs 2 learning rates"),
        ({"architectures": {"slow": "forcenet"}}, "needs 2 learning rates"),
    ],
)
def test_a_scan_that_is_too_small_says_what_is_missing(make, options: dict, missing: str) -> None:
    experiment = scan(make, **options)
    assert {(case["decisive"], missing in case["note"]) for case in c6(experiment)["cases"]} == {(False, True)}
    assert c6(experiment)["outcomes"]["force"]["verdict"] == "not tested in this experiment"
    assert c6(experiment)["reason"] is not None
    text = (experiment.root / "claims.md").read_text()
    section = text[text.index("## C6") : text.index("## C7")]
    assert "Not tested in this experiment: needs masking and scratch on ForceNet" in section
    assert "(undecided)" in section


def test_only_forcenet_is_judged(make) -> None:
    experiment = scan(make, architectures={})
    assert (c6(experiment)["cases"], c6(experiment)["outcomes"]["force"]["verdict"]) == (
        [],
        "not tested in this experiment",
    )


def test_spreads_are_those_within_a_learning_rate() -> None:
    """Learning rates of different error do not make a strategy unstable; the pooled interval covers."""
    rng, truth, repeats = np.random.default_rng(0), 2.0, 1500
    covered = 0
    for _ in range(repeats):
        a, b = ([np.exp(rng.normal(level, s, 4)) for level in (0.0, 3.0)] for s in (0.2, 0.1))
        found = pooled_spread_ratio(a, b)
        assert found is not None
        covered += found[1] <= truth <= found[2]
    assert 0.93 <= covered / repeats <= 0.97
    assert spread_ratio(np.concatenate(a), np.concatenate(b)) != pytest.approx(found, rel=0.2)
