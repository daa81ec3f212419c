"""Sizes known before anything is read are those that the data have."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from priorbench.config import Config
from priorbench.datasets.base import Expected
from priorbench.datasets.pipeline import expected
from priorbench.frames import TEST, TRAIN, Frames
from priorbench.io import read_json
from priorbench.plan.sizes import Sizes, outline, sizes_of
from priorbench.runs import dataset_spec, split_spec
from priorbench.splits import SIDES, split
from tests.conftest import make_frames
from tests.plan.conftest import TIP3P, experiment


def of(source: str, **options: Any) -> list[Expected] | None:
    return expected({"name": "data", "source": source, "options": options})


def save(config: Config, results: Path, frames: Frames, dataset: str = "water") -> Path:
    """The frames where the workflow would have them, made by the options of ``config``."""
    path = results / config.experiment / "data" / dataset / "frames.safetensors"
    path.parent.mkdir(parents=True)
    replace(frames, metadata={**frames.metadata, "dataset": dataset_spec(config, dataset)}).save(path)
    return path


def test_sources_know_what_they_will_give() -> None:
    assert of("tip3p", molecules=64, trajectories=10, frames=40) == [Expected(400, 192, groups=10)]
    assert of("tip3p", groups="blocks") == [Expected(400, 192)]
    assert of("revpbe0_d3") == [Expected(1778, 192)]
    assert of("revpbe0_d3", subsystems=["classical_ice", "classical_liq"]) == [Expected(182, 192)]
    assert of("revpbe0_d3", max_structures=100) == [Expected(100, 192)]
    assert of("rpbe_d3") == [Expected(7241, 81)]
    assert of("rpbe_d3", max_structures=50) == [Expected(50, 81)]
    sides = [Expected(1000, 9, official=side, periodic=False) for side in (TRAIN, TEST)]
    assert of("rmd17", molecules=["ethanol"]) == sides
    assert [e.atoms for e in of("rmd17") or []][::2] == [21, 24, 12, 9, 9, 18, 20, 16, 15, 12]


def test_what_is_only_known_when_it_is_read_is_unknown(tmp_path: Path) -> None:
    assert of("extxyz", path="mine.xyz") is None
    assert of("rpbe_d3", functional="BLYP") is None
    config = experiment(datasets={"water": {"source": "extxyz", "path": "mine.xyz"}})
    assert sizes_of(config, "water", tmp_path) is None


def test_training_structures_are_those_of_the_split(tmp_path: Path) -> None:
    """Five trajectories of four frames: the very numbers of the split, groups kept together."""
    config = experiment(split={"train": 0.55, "validation": 0.2, "separation": 0, "max_test": 3})
    found = sizes_of(config, "water", tmp_path)
    frames = make_frames(20)
    replace(frames, groups=(np.arange(20) // 4).astype(np.int32)).save(tmp_path / "frames.safetensors")
    for place, seed in enumerate(config.seeds):
        split(tmp_path / "frames.safetensors", split_spec(config, seed), tmp_path / "split.json")
        sides = read_json(tmp_path / "split.json")
        assert found is not None
        assert {side: found.counts[side][place] for side in SIDES} == {side: len(sides[side]) for side in SIDES}
    assert found is not None
    assert (found.origin, found.total, found.mean_atoms) == ("options", 20, 24)


def test_official_test_structures_are_not_divided(tmp_path: Path) -> None:
    config = experiment(datasets={"water": {"source": "rmd17", "molecules": ["ethanol"]}})
    found = sizes_of(config, "water", tmp_path)
    assert found is not None
    assert not found.periodic
    assert found.counts == {"train": [750, 750], "validation": [250, 250], "test": [1000, 1000]}  # 0.6 : 0.2


def test_frames_that_exist_are_used_if_the_same_options_made_them(tmp_path: Path) -> None:
    config = experiment()
    path = save(config, tmp_path, make_frames(10, side=1))
    found = sizes_of(config, "water", tmp_path)
    assert found is not None
    assert (found.origin, found.frames, found.total, found.mean_atoms) == ("frames", path, 10, 3)
    other = experiment(datasets={"water": {**TIP3P, "frames": 5}})
    found = sizes_of(other, "water", tmp_path)
    assert found is not None
    assert (found.origin, found.frames, found.total, found.mean_atoms) == ("options", None, 25, 24)


def test_an_outline_of_many_atoms_takes_no_memory() -> None:
    frames = outline([Expected(10_000, 774, groups=10)])
    assert frames.positions.shape == (7_740_000, 3)
    assert frames.positions.strides == (0, 0)
    assert np.bincount(frames.groups).tolist() == [1000] * 10


def test_typical_structures_are_spread_over_all_sizes() -> None:
    found = Sizes("options", {}, [9] * 50 + [21] * 25 + [12] * 25, list(range(100)), 100, False)
    assert sorted(found.atoms[i] for i in found.typical(4)) == [9, 9, 12, 21]
    assert [found.atoms[i] for i in found.typical(1)] == [12]
