"""Groups never meet in two splits, whatever the data and the seed."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from priorbench.datasets.blocks import Block, assemble
from priorbench.errors import PriorbenchError
from priorbench.frames import Frames
from priorbench.splits import SIDES, load_split, split

SPEC = {"train": 0.8, "validation": 0.1, "max_train": None, "max_validation": None, "max_test": None, "seed": 0}


def save_frames(folder: Path, groups_by_subsystem: list[list[int]]) -> Path:
    """One-atom structures; ``groups_by_subsystem`` gives the group of every structure of every subsystem."""
    blocks = [
        Block(
            positions=np.zeros((len(groups), 1, 3)),
            forces=np.zeros((len(groups), 1, 3)),
            energies=np.arange(len(groups), dtype=float),
            cells=np.tile(np.eye(3) * 5, (len(groups), 1, 1)),
            atomic_numbers=np.array([8], np.int16),
            groups=np.array(groups, np.int32),
            subsystem=index,
        )
        for index, groups in enumerate(groups_by_subsystem)
    ]
    path = folder / "frames.safetensors"
    assemble(blocks, {"subsystems": [str(i) for i in range(len(blocks))]}).save(path)
    return path


def splitting(path: Path, **changes: Any) -> dict[str, np.ndarray]:
    output = path.with_name("split.json")
    split(path, {**SPEC, **changes}, output)
    frames = Frames.load(path)
    return load_split(output, frames.metadata["hash"], frames)


group_lists = st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=25), min_size=1, max_size=3)


@settings(max_examples=40, deadline=None)
@given(groups=group_lists, seed=st.integers(0, 2**31), train=st.floats(0.05, 0.9), most=st.integers(1, 30))
def test_no_group_is_shared_no_side_is_empty_and_nothing_is_lost(
    groups: list[list[int]], seed: int, train: float, most: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = save_frames(Path(folder), groups)
        frames = Frames.load(path)
        if len(np.unique(frames.groups)) < 3:
            with pytest.raises(PriorbenchError, match="independent groups cannot be split"):
                splitting(path, train=train, validation=0.05, seed=seed)
            assert not path.with_name("split.json").exists()
            return
        sides = splitting(path, train=train, validation=0.05, seed=seed)
        everything = np.concatenate(list(sides.values()))
        assert sorted(everything) == list(range(len(frames)))
        assert all(len(chosen) > 0 for chosen in sides.values())
        owners = [set(frames.groups[chosen]) for chosen in sides.values()]
        assert sum(map(len, owners)) == len(set.union(*owners))
        capped = splitting(path, train=train, validation=0.05, seed=seed, max_train=most)
        assert len(capped["train"]) == min(most, len(sides["train"]))
        assert set(capped["train"]) <= set(sides["train"])
        np.testing.assert_array_equal(capped["test"], sides["test"])


def test_shares_are_of_groups_and_every_subsystem_is_on_every_side_in_proportion(tmp_path: Path) -> None:
    path = save_frames(tmp_path, [list(range(60)), list(range(30)), list(range(10))])
    subsystems = Frames.load(path).subsystems
    for seed in range(5):
        sides = splitting(path, seed=seed)
        assert [len(sides[side]) for side in SIDES] == [80, 10, 10]
        for stratum, size in enumerate([60, 30, 10]):
            counts = [(subsystems[sides[side]] == stratum).sum() for side in SIDES]
            assert np.abs(counts - np.array([0.8, 0.1, 0.1]) * size).max() <= 1


def test_the_seed_decides_the_split_and_fewer_structures_are_a_subset_of_more(tmp_path: Path) -> None:
    path = save_frames(tmp_path, [list(range(50))])
    first, again, other = splitting(path, seed=1), splitting(path, seed=1), splitting(path, seed=2)
    np.testing.assert_array_equal(first["train"], again["train"])
    assert set(first["train"]) != set(other["train"])
    few, many = splitting(path, max_train=5)["train"], splitting(path, max_train=20)["train"]
    assert set(few) < set(many)


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, Frames]:
    path = save_frames(tmp_path, [[0, 0, 1, 1, 2, 2, 3, 3]])
    splitting(path)
    return path.with_name("split.json"), Frames.load(path)


def test_the_file_says_what_it_was_made_from(written: tuple[Path, Frames]) -> None:
    path, frames = written
    content = json.loads(path.read_text())
    assert content["frames"] == frames.hash()
    assert content["seed"] == 0
    assert content["groups"] == {"train": 2, "validation": 1, "test": 1}


def test_a_split_of_other_frames_is_refused(written: tuple[Path, Frames]) -> None:
    with pytest.raises(PriorbenchError, match="other frames"):
        load_split(written[0], "0" * 64)


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        ({"train": [0, 1, 2], "validation": [2, 3], "test": [4]}, "structure 2 is more than once"),
        ({"train": [0, 0], "validation": [2, 3], "test": [4]}, "structure 0 is more than once"),
        ({"train": [0, 1], "validation": [2], "test": [3]}, "group 1 is more than once"),
        ({"train": [0, 1], "validation": [2], "test": [8]}, "do not have"),
        ({"train": [0, 1], "validation": [2]}, "not a split file"),
    ],
)
def test_a_leaking_or_damaged_split_is_refused(
    written: tuple[Path, Frames], sides: dict[str, list[int]], message: str
) -> None:
    path, frames = written
    path.write_text(json.dumps({"frames": frames.hash(), "seed": 0, **sides}))
    with pytest.raises(PriorbenchError, match=message):
        load_split(path, frames.hash(), frames)
