"""The data card says what is there, fits on training structures alone, and is the same file every time."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import make_frames

from priorbench.cli import main
from priorbench.datasets.blocks import assemble, rectangular
from priorbench.datasets.card import card, describe, energy_reference
from priorbench.datasets.card_figure import pair_distribution
from priorbench.errors import PriorbenchError
from priorbench.frames import Frames
from priorbench.io import read_json
from priorbench.splits import load_split, split

SPEC: dict[str, Any] = {
    "train": 0.6,
    "validation": 0.2,
    "separation": 0.1,
    "max_train": None,
    "max_validation": None,
    "max_test": None,
    "seed": 0,
}
METADATA = {
    "source": "tests",
    "description": "boxes",
    "licence": "none",
    "units": {"in": "Å, eV, eV/Å", "out": "Å, eV, eV/Å"},
    "subsystems": ["box"],
}


def written(folder: Path, frames: Frames) -> tuple[Path, Path]:
    """Frames and split files."""
    path, sides = folder / "frames.safetensors", folder / "split.json"
    replace(frames, metadata={**METADATA, **frames.metadata}).save(path)
    split(path, SPEC, sides)
    return path, sides


@pytest.fixture
def boxes(tmp_path: Path) -> tuple[Path, Path]:
    return written(tmp_path, make_frames(10))


def test_a_card_is_written_whole_and_the_same_every_time(boxes: tuple[Path, Path], tmp_path: Path) -> None:
    frames, sides = map(str, boxes)
    for folder in ("a", "b"):
        assert main(["card", "--frames", frames, "--splits", sides, "--output", str(tmp_path / folder)]) == 0
    names = ["card.json", "card.md", "card.pdf", "card.png"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    content = read_json(tmp_path / "a" / "card.json")
    assert {side: values["structures"] for side, values in content["sides"].items()} == {
        "train": 6,
        "validation": 2,
        "test": 2,
    }
    assert content["intact_molecules"] == 80
    assert content["shortest_distances_A"]["H-O"] == pytest.approx(0.9572, abs=1e-6)
    page = (tmp_path / "a" / "card.md").read_text()
    assert "H 160, O 80" in page
    assert "rank 1 for 2 elements" in page


def test_the_reference_is_fitted_on_training_structures_alone(boxes: tuple[Path, Path]) -> None:
    frames = Frames.load(boxes[0])
    sides = load_split(boxes[1], frames.metadata["hash"])
    energies = np.array(frames.energies)
    energies[sides["test"]] += 100.0
    energies[sides["validation"]] -= 50.0
    residual, reference = energy_reference(frames, sides)
    shifted, same = energy_reference(replace(frames, energies=energies), sides)
    assert same == reference
    np.testing.assert_allclose(shifted[sides["test"]], residual[sides["test"]] + 100.0)
    assert abs(residual[sides["train"]].mean()) < 1e-6
    assert (reference["rank"], reference["elements"], reference["determined"]) == (1, 2, False)
    assert 8 * (2 * reference["eV_per_atom"]["H"] + reference["eV_per_atom"]["O"]) == pytest.approx(
        energies[sides["train"]].mean()
    )


def test_compositions_that_differ_determine_every_element() -> None:
    random = np.random.default_rng(0)
    blocks = []
    for carbons in (1, 2, 3):
        grid = np.arange(carbons + 2)[:, None] * np.array([1.5, 0, 0])
        blocks.append(
            rectangular(
                positions=np.tile(grid, (4, 1, 1)),
                forces=random.normal(size=(4, carbons + 2, 3)),
                energies=np.full(4, carbons * -10.0 - 2 * 4.0),
                cells=np.zeros((4, 3, 3)),
                atomic_numbers=np.array([6] * carbons + [8, 8], np.int16),
                groups=np.arange(4, dtype=np.int32),
                pbc=(False, False, False),
            )
        )
    frames = assemble(blocks, {"subsystems": ["chain"]}, plausible=False)
    everything = np.arange(12)
    _, reference = energy_reference(frames, {"train": everything, "validation": everything, "test": everything})
    assert reference["determined"]
    assert reference["eV_per_atom"] == {"C": pytest.approx(-10.0), "O": pytest.approx(-4.0)}
    assert describe(frames)["density_g_per_cm3"] is None


def test_a_card_of_another_split_is_refused_and_leaves_nothing(boxes: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    frames, _ = written(other, make_frames(10, seed=1))
    with pytest.raises(PriorbenchError, match="other frames"):
        card(frames, [boxes[1]], tmp_path / "card")
    assert not (tmp_path / "card").exists()


def test_a_card_of_an_older_split_file_says_so(boxes: tuple[Path, Path], tmp_path: Path) -> None:
    import json

    content = read_json(boxes[1])
    del content["not_comparable"]
    boxes[1].write_text(json.dumps(content))
    message = r"split\.json: no field 'not_comparable'; it is damaged or was made by another version, delete it and run"
    with pytest.raises(PriorbenchError, match=message):
        card(boxes[0], [boxes[1]], tmp_path / "card")
    assert not (tmp_path / "card").exists()


def test_independent_atoms_have_a_flat_distribution_and_a_pair_has_its_distance() -> None:
    random = np.random.default_rng(0)
    gas = rectangular(
        positions=random.uniform(0, 12, (4, 1500, 3)),
        forces=np.zeros((4, 1500, 3)),
        energies=np.zeros(4),
        cells=np.tile(np.eye(3) * 12, (4, 1, 1)),
        atomic_numbers=np.array([18] * 750 + [10] * 750, np.int16),
        groups=np.arange(4, dtype=np.int32),
    )
    frames = make_frames(1)
    gas_frames = replace(
        frames,
        positions=gas.positions,
        cells=gas.cells,
        pbc=gas.pbc,
        atomic_numbers=gas.atomic_numbers,
        offsets=gas.offsets,
    )
    edges = np.arange(1.0, 6.01, 1.0)
    for pair in ((18, 18), (18, 10)):
        g = pair_distribution(gas_frames, np.arange(4), *pair, edges, bulk=True)
        np.testing.assert_allclose(g, 1.0, atol=0.06)
    bonds = pair_distribution(frames, np.arange(1), 8, 1, np.array([0.9, 1.0]), bulk=False)
    assert bonds[0] == pytest.approx(2 / 0.1)


def test_density_is_that_of_water() -> None:
    frames = make_frames(2, side=2)
    low, high = describe(replace(frames, metadata={**METADATA, **frames.metadata}))["density_g_per_cm3"]
    assert low == high == pytest.approx(18.015 / 6.2**3 * 8 * 1.66053907, rel=1e-4)


def test_the_figure_shows_pairs_that_meet() -> None:
    # Copper slabs and methanol in one file: copper never meets hydrogen, and a panel was empty.
    from priorbench.datasets.card_figure import _telling_pairs

    frames = make_frames(1)
    numbers = np.array([29] * 18 + [6] + [8] + [1] * 4, np.int16)

    def pairs(*names: str, of: np.ndarray = numbers) -> list[tuple[int, int]]:
        return _telling_pairs(
            replace(frames, atomic_numbers=of, metadata={"shortest_distances_A": dict.fromkeys(names, 1.0)})
        )

    assert pairs("Cu-Cu", "H-C", "C-O", "H-H") == [(29, 29), (6, 1)]
    assert pairs("Cu-Cu", "H-C", "H-O", "H-Cu")[0] == (29, 29)
    assert pairs("O-O", "H-O", "H-H", of=frames.atomic_numbers) == [(8, 8), (8, 1)]
    assert pairs("O-Cu", "Cu-Cu", "C-O") == [(29, 29), (29, 8)]
