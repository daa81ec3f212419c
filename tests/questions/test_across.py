"""Questions that compare backbone entries of one architecture: labelled structures, label scale, protocol."""

import pytest

from tests.questions.simulate import MASKING, Backbone, Strategy, baselines, denoised, masked, rows_of


def entries(factors: dict[int, float]) -> dict[str, Backbone]:
    """Errors go by structures^−0.5; masking's factor is given for each number of structures."""
    return {
        f"gns-{n}": Backbone(train_structures=n, scale=(400 / n) ** 0.5, factors={"mask": factor})
        for n, factor in factors.items()
    }


@pytest.mark.parametrize(("few", "judgement"), [(0.5, "yes"), (0.8, "no"), (0.9, "no")])
def test_a_gain_that_grows_with_fewer_labels(make, few: float, judgement: str) -> None:
    strategies = {**baselines(), "mask": masked(1.0, "pretrained")}
    found = make(strategies, backbones=entries({25: few, 100: 0.8, 400: 0.8})).judge("efficiency")
    assert found.judgement == judgement
    assert "from 400 to 25 labelled structures" in found.sentences[0]
    assert [row["set_to"] for row in rows_of(found, strategy="mask")] == ["25", "100", "400"]
    multiple = float(found.sentences[1].rsplit("error at ", 1)[1].split()[0])
    assert multiple == pytest.approx(few**-2, rel=0.05)


def test_both_arms_of_efficiency_are_judged_and_controls_left_out(make) -> None:
    strategies = {**baselines(), "mask": masked(1.0, "pretrained"), "mask-all": masked(0.8)}
    strategies |= {"permuted": masked(0.5, permute=True), "denoise": denoised(0.9)}
    found = make(strategies, backbones=entries({25: 0.5, 400: 0.8})).judge("efficiency")
    assert found.judgement == "no"
    assert "(mask)" in found.sentences[0]
    assert "(mask-all)" in found.sentences[0]
    assert {row["strategy"] for row in rows_of(found)} >= {"mask-all", "denoise"}
    assert rows_of(found, strategy="permuted") == []


def test_one_number_of_structures_is_no_scan(make) -> None:
    found = make({**baselines(), "mask": masked(0.8, "pretrained")}).judge("efficiency")
    assert found.judgement == "not in this experiment"


def scales(large: float, rescaled: float, spread: str = "force-rms"):
    """Masking's and the rescaled heads' factors at a label scale of 74; 0.9 and 1 at one of 1."""
    strategies = {
        **baselines(),
        "mask": masked(1.0, "pretrained"),
        "rescaled": Strategy(1.0, "variant", settings={"rescale": "mask"}),
        "fresh-heads": Strategy(0.95, "variant", MASKING, {"transfer": "body"}),
        "supervised": Strategy(0.5, "variant", {"name": "potential"}),
    }
    backbones = {
        "gns": Backbone(factors={"mask": 0.9}),
        "gns-74": Backbone(
            settings={"target_rms": 74.0, "label_spread": spread}, factors={"mask": large, "rescaled": rescaled}
        ),
    }
    return {"strategies": strategies, "backbones": backbones}


@pytest.mark.parametrize(
    ("large", "rescaled", "judgement"),
    [(0.6, 0.6, "yes"), (0.6, 0.9, "no"), (0.9, 0.9, "no"), (0.9, 1.0, "no")],
)
def test_a_larger_head(make, large: float, rescaled: float, judgement: str) -> None:
    found = make(**scales(large, rescaled)).judge("artefact")
    assert found.judgement == judgement
    assert "from a label scale of 1 to 74" in found.sentences[0]
    assert "(rescaled heads)" in found.sentences[1]
    (row,) = rows_of(found, backbone="gns-74", strategy="rescaled")
    assert row["control"] == "rescaled heads"
    assert row["delta_force_of_mask"] == pytest.approx(large / rescaled - 1, abs=0.01)
    assert row["delta_force_scratch"] == pytest.approx(rescaled - 1, abs=0.01)
    kinds = {row["control"] for row in rows_of(found, backbone="gns-74")}
    assert kinds == {None, "mask", "rescaled heads", "fresh heads", "supervised"}
    assert found.missing == ["permuted targets"]


def test_growth_is_not_judged_between_units_of_unknown_size(make) -> None:
    found = make(**scales(0.6, 0.6, spread="energy-per-atom")).judge("artefact")
    assert found.judgement == "undecided"
    assert "by not measured" in found.sentences[0]
    assert rows_of(found, backbone="gns-74", strategy="mask")[0]["set_to"] == "energy-per-atom × 74"


def protocols(released: float):
    strategies = {**baselines(), "mask": masked(0.9, "pretrained"), "denoise": denoised(0.95, "pretrained")}
    backbones = {
        "gns": Backbone(),
        "gns-last": Backbone(factors={"mask": 0.9}),
        "gns-released": Backbone(protocol="released", scale=1.5, factors={"mask": released}),
    }
    return {"strategies": strategies, "backbones": backbones}


@pytest.mark.parametrize(("released", "judgement"), [(0.7, "yes"), (1.0, "no"), (1.2, "no")])
def test_the_released_protocol_may_raise_the_gain(make, released: float, judgement: str) -> None:
    found = make(**protocols(released)).judge("protocols")
    assert found.judgement == judgement
    (row,) = rows_of(found, backbone="gns-released", strategy="mask")
    assert row["set_to"] == "released"
    assert row["delta_force_gain"] == pytest.approx(released - 1, abs=0.012)
    assert row["delta_force_fair"] == pytest.approx(1.5 * released - 1, abs=0.012)
    assert row["delta_energy_scratch"] == pytest.approx(0.9 * released - 1, abs=0.012)


def test_single_differences_are_held_against_the_fair_entry(make) -> None:
    found = make(**protocols(0.7)).judge("protocols")
    (row,) = rows_of(found, backbone="gns-last", strategy="mask")
    assert row["delta_force_gain"] == pytest.approx(-0.1, abs=0.012)
    assert rows_of(found, backbone="gns", strategy="mask")[0]["delta_force_gain"] is None


def test_one_protocol_is_not_two(make) -> None:
    found = make({**baselines(), "mask": masked(0.8, "pretrained")}).judge("protocols")
    assert found.judgement == "not in this experiment"
