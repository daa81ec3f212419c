"""Groups never meet in two splits, whatever the data and the seed."""

import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from priorbench.datasets.blocks import Block, assemble, rectangular
from priorbench.errors import PriorbenchError
from priorbench.frames import NEITHER, TEST, TRAIN, Frames
from priorbench.splits import SIDES, load_split, split, whole_sides

SPEC = {
    "train": 0.8,
    "validation": 0.1,
    "separation": 0.1,
    "max_train": None,
    "max_validation": None,
    "max_test": None,
    "seed": 0,
}
CORNERS = np.array([[0.0, 0, 0], [4, 4, 0], [4, 0, 4], [0, 4, 4]])  # Å, in a cell of 8 Å


def toy(count: int, seed: int = 0) -> np.ndarray:
    """Four atoms each, (count, 4, 3) Å, about 0.7 Å apart from structure to structure."""
    return CORNERS + np.random.default_rng(seed).uniform(-0.9, 0.9, (count, 4, 3))


def block(positions: np.ndarray, groups: Any, **changes: Any) -> Block:
    return rectangular(
        positions=positions,
        forces=np.zeros(positions.shape),
        energies=np.arange(len(positions), dtype=float),
        cells=np.tile(np.eye(3) * 8, (len(positions), 1, 1)),
        atomic_numbers=np.full(positions.shape[1], 8, np.int16),
        groups=np.array(groups, np.int32),
        **changes,
    )


def save(folder: Path, *blocks: Block) -> Path:
    path = folder / "frames.safetensors"
    count = max(b.subsystem for b in blocks) + 1
    assemble(blocks, {"subsystems": [str(i) for i in range(count)]}, plausible=False).save(path)
    return path


def save_frames(folder: Path, groups_by_subsystem: list[list[int]]) -> Path:
    """Distinct structures; ``groups_by_subsystem`` gives the group of every structure of every subsystem."""
    return save(
        folder,
        *(
            block(toy(len(groups), seed=index), groups, subsystem=index)
            for index, groups in enumerate(groups_by_subsystem)
        ),
    )


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


def test_every_box_size_is_on_every_side_in_proportion(tmp_path: Path) -> None:
    small, large = toy(40, seed=1)[:, :3], toy(20, seed=2)
    path = save(tmp_path, block(small, range(40)), block(large, range(20)))
    sizes = Frames.load(path).sizes
    for seed in range(5):
        sides = splitting(path, seed=seed)
        for size, count in ((3, 40), (4, 20)):
            counts = [(sizes[sides[side]] == size).sum() for side in SIDES]
            assert np.abs(counts - np.array([0.8, 0.1, 0.1]) * count).max() <= 1
    strata = json.loads(path.with_name("split.json").read_text())["strata"]
    assert [(row["subsystem"], row["atoms"]) for row in strata] == [(0, 3), (0, 4)]
    assert sum(row[side] for row in strata for side in SIDES) == 60


def copies(folder: Path, displacement: float) -> Path:
    """30 structures, each in a group of its own, and a copy of each in another, every atom moved along x."""
    structures = toy(30)
    moved = (structures + np.array([displacement, 0, 0])) % 8  # some leave on one side and enter on the other
    return save(folder, block(structures, range(30)), block(moved, range(30)))


def contents(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.with_name("split.json").read_text()))


def test_structures_too_near_to_another_side_are_left_out_and_counted(tmp_path: Path) -> None:
    path = copies(tmp_path, 0.1)  # a root mean square of 0.1/√3 over the coordinates
    near, found = splitting(path, train=0.5, validation=0.2), contents(path)
    sides = [set(near[side] % 30) for side in SIDES]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]
    assert found["left_out"] == found["nearer_than_separation"]
    assert len(near["validation"]) + found["left_out"]["validation"] == 12
    assert len(near["test"]) + found["left_out"]["test"] == 18
    assert all(count > 0 for count in found["left_out"].values())
    assert all(distance > 0.1 for distance in found["closest"].values())

    everything = splitting(path, train=0.5, validation=0.2, separation=0.05)
    assert sum(len(chosen) for chosen in everything.values()) == 60
    assert contents(path)["left_out"] == {"validation": 0, "test": 0}
    assert contents(path)["closest"]["test"] == pytest.approx(0.1 / np.sqrt(3))


def test_the_default_separation_is_what_the_source_takes_for_near_duplicates(tmp_path: Path) -> None:
    from dataclasses import asdict

    from priorbench.datasets.groups import WATER

    path = copies(tmp_path, 0.1)  # 0.058 Å apart
    splitting(path, train=0.5, validation=0.2, separation=None)
    assert contents(path)["separation"] == 0.02
    assert contents(path)["left_out"] == {"validation": 0, "test": 0}
    frames = Frames.load(path)
    replace(frames, metadata={**frames.metadata, "nearness": asdict(WATER)}).save(path)
    splitting(path, train=0.5, validation=0.2, separation=None)
    assert contents(path)["separation"] == 0.1
    assert contents(path)["left_out"]["test"] > 0


def test_shares_are_of_structures_and_a_large_group_goes_to_training(tmp_path: Path) -> None:
    # A share of the groups put 900 of 1000 structures into the test set when the large group was drawn for it.
    groups = [0] * 90 + [1 + i for i in range(10)]
    path = save(tmp_path, block(toy(100), groups))
    for seed in range(8):
        sides = splitting(path, seed=seed)
        assert {side: len(chosen) for side, chosen in sides.items()} == {"train": 90, "validation": 5, "test": 5}
    uneven = save(tmp_path, block(toy(100), np.repeat(range(25), [1] * 10 + [6] * 15)))
    for seed in range(8):
        sizes = [len(chosen) for chosen in splitting(uneven, seed=seed).values()]
        assert np.abs(np.array(sizes) - [80, 10, 10]).max() <= 6


def test_large_groups_go_to_the_largest_side_whichever_it_is(tmp_path: Path) -> None:
    path = save(tmp_path, block(toy(100), np.repeat(range(43), [20] * 3 + [1] * 40)))
    for seed in range(5):
        sides = splitting(path, seed=seed, train=0.05, validation=0.05)
        assert {side: len(chosen) for side, chosen in sides.items()} == {"train": 5, "validation": 5, "test": 90}


def test_what_nothing_can_be_compared_to_is_counted(tmp_path: Path) -> None:
    path = save(tmp_path, block(toy(20), range(20)), block(toy(20)[:, :3], [0] * 20))
    splitting(path, train=0.5, validation=0.2)  # the group of twenty is the training side
    assert contents(path)["not_comparable"] == {"validation": 8, "test": 12}
    assert contents(path)["closest"] == {"validation": None, "test": None}


@pytest.mark.parametrize("changes", [{}, {"max_train": 6}, {"max_validation": 1, "max_test": 2, "seed": 3}])
def test_whole_sides_are_those_of_the_split_before_anything_is_left_out(tmp_path: Path, changes: dict) -> None:
    path = copies(tmp_path, 0.02)
    whole = whole_sides(Frames.load(path), {**SPEC, **changes}, "here")
    kept = splitting(path, **changes, separation=0.0)
    assert {side: list(whole[side]) for side in SIDES} == {side: list(kept[side]) for side in SIDES}
    fewer = splitting(path, **changes)
    assert list(fewer["train"]) == list(whole["train"])
    assert contents(path)["left_out"] != {"validation": 0, "test": 0}


def test_whole_sides_of_official_ones(tmp_path: Path) -> None:
    path = official(tmp_path, [TRAIN] * 8 + [TEST] * 2)
    whole, kept = whole_sides(Frames.load(path), SPEC, "here"), splitting(path)
    assert {side: list(whole[side]) for side in SIDES} == {side: list(kept[side]) for side in SIDES}


def test_what_is_left_out_does_not_depend_on_how_much_is_trained_on(tmp_path: Path) -> None:
    path = copies(tmp_path, 0.1)
    all_of_it = splitting(path, train=0.5, validation=0.2)
    few = splitting(path, train=0.5, validation=0.2, max_train=2)
    assert set(few["train"]) < set(all_of_it["train"])
    np.testing.assert_array_equal(few["test"], all_of_it["test"])
    np.testing.assert_array_equal(few["validation"], all_of_it["validation"])


def test_a_side_that_is_emptied_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    path = save(tmp_path, block(np.tile(toy(1), (10, 1, 1)), range(10)))
    with pytest.raises(
        PriorbenchError, match=r"all 1 validation structures are nearer than 0\.1 Å .* lower split\.separation"
    ):
        splitting(path)
    assert not path.with_name("split.json").exists()
    assert [len(chosen) for chosen in splitting(path, separation=0.0).values()] == [8, 1, 1]


def test_distances_beyond_what_is_measured_are_null(tmp_path: Path) -> None:
    apart = CORNERS[None] + 2.0 * np.arange(10)[:, None, None] * np.array([1, 0.7, 0])
    path = save(tmp_path, block(apart, range(10)))
    splitting(path)
    assert contents(path)["closest"] == {"validation": None, "test": None}


def official(folder: Path, sides: list[int], groups: list[int] | None = None) -> Path:
    frames = assemble([block(toy(len(sides)), groups or range(len(sides)))], {"subsystems": ["0"]}, plausible=False)
    path = folder / "frames.safetensors"
    replace(frames, official=np.array(sides, np.int8)).save(path)
    return path


def test_official_sides_are_kept_and_validation_is_drawn_from_training(tmp_path: Path) -> None:
    sides = [TRAIN, TEST, TRAIN, TRAIN] * 12
    path = official(tmp_path, sides)
    first, other = splitting(path, seed=1), splitting(path, seed=2)
    for found in (first, other):
        np.testing.assert_array_equal(found["test"], np.flatnonzero(np.array(sides) == TEST))
        assert [len(found["train"]), len(found["validation"])] == [32, 4]  # 8 : 1
        assert len(np.unique(np.concatenate(list(found.values())))) == 48
    assert set(first["validation"]) != set(other["validation"])
    assert len(splitting(path, max_test=5)["test"]) == 5


def test_groups_stay_whole_within_the_official_training_side(tmp_path: Path) -> None:
    path = official(tmp_path, [TRAIN] * 20 + [TEST] * 5, [i // 2 for i in range(20)] + list(range(10, 15)))
    for seed in range(5):
        assert len(splitting(path, seed=seed)["validation"]) == 2


def test_two_official_training_groups_are_enough_and_a_side_each(tmp_path: Path) -> None:
    path = official(tmp_path, [TRAIN] * 10 + [TEST], [0] * 9 + [1] + [2])
    for seed in range(4):  # in both orders
        found = splitting(path, seed=seed)
        assert sorted(map(len, (found["train"], found["validation"]))) == [1, 9]
    assert contents(path)["official"] is True


def test_near_structures_of_official_sides_are_counted_but_kept(tmp_path: Path) -> None:
    structures = toy(10)
    path = save(
        tmp_path,
        block(structures, range(10), official=TRAIN),
        block(np.concatenate([structures[:6] + 0.05, toy(4, seed=9)]), range(10), official=TEST),
    )
    assert len(splitting(path, validation=0.2, train=0.4)["test"]) == 10
    found = contents(path)
    assert found["nearer_than_separation"] == {"validation": 0, "test": 6}
    assert found["left_out"] == {"validation": 0, "test": 0}
    assert found["closest"]["test"] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("sides", "groups", "message"),
    [
        ([TRAIN, TRAIN, NEITHER, TEST], None, "1 of 4 structures are on neither official side; assign all or none in"),
        ([TRAIN, TRAIN, TRAIN], None, "3 training groups and 0 test structures; at least 2 and 1 are needed"),
        ([TRAIN, TRAIN, TEST], [0, 0, 1], "1 training groups and 1 test structures"),
        ([TRAIN, TRAIN, TEST], [0, 1, 1], "group 1 is on both official sides"),
    ],
)
def test_official_sides_that_cannot_be_used_are_refused(
    tmp_path: Path, sides: list[int], groups: list[int] | None, message: str
) -> None:
    with pytest.raises(PriorbenchError, match=message):
        splitting(official(tmp_path, sides, groups))


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
    assert content["separation"] == 0.1
    assert content["strata"] == [{"subsystem": 0, "atoms": 4, "train": 4, "validation": 2, "test": 2}]


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
        ({"train": [0, 1], "validation": [2]}, "no field 'test'"),
    ],
)
def test_a_leaking_or_damaged_split_is_refused(
    written: tuple[Path, Frames], sides: dict[str, list[int]], message: str
) -> None:
    path, frames = written
    path.write_text(json.dumps({"frames": frames.hash(), "seed": 0, **sides}))
    with pytest.raises(PriorbenchError, match=rf"^{re.escape(str(path))}: .*{message}.*run (it )?again$"):
        load_split(path, frames.hash(), frames)


@pytest.mark.parametrize("side", ["abc", [], [[0]], [0.5], None, [True]])
def test_a_side_that_is_no_list_of_structures_is_refused(tmp_path: Path, side: Any) -> None:
    path = save_frames(tmp_path, [list(range(10))])
    splitting(path)
    file = path.with_name("split.json")
    file.write_text(json.dumps({**contents(path), "train": side}))
    with pytest.raises(PriorbenchError, match=r"split\.json: train is no list of structure numbers"):
        load_split(file, Frames.load(path).metadata["hash"])


def test_altered_frames_are_not_split(tmp_path: Path) -> None:
    # A force was changed by a thousand, and the card showed it under the old hash.
    path = save_frames(tmp_path, [list(range(10))])
    content = bytearray(path.read_bytes())
    content[-9] ^= 255
    path.write_bytes(content)
    with pytest.raises(PriorbenchError, match="does not match its hash"):
        splitting(path)
