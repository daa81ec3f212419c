"""What cannot be trained on is refused with the structure's number, and nothing is left on disk."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from priorbench.datasets.blocks import assemble, rectangular, take
from priorbench.errors import PriorbenchError
from priorbench.frames import Frames


@pytest.fixture
def frames() -> Frames:
    random = np.random.default_rng(0)
    block = rectangular(
        positions=random.uniform(0, 6, (4, 3, 3)),
        forces=random.normal(size=(4, 3, 3)),
        energies=random.normal(size=4),
        cells=np.tile(np.eye(3) * 6, (4, 1, 1)),
        atomic_numbers=np.array([8, 1, 1], np.int16),
        groups=np.array([0, 0, 1, 2], np.int32),
    )
    return assemble([block], {"subsystems": ["all"]}, plausible=False)


def test_a_saved_file_comes_back_unchanged_and_is_the_same_bytes_every_time(frames: Frames, tmp_path: Path) -> None:
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    frames.save(first)
    frames.save(second)
    assert first.read_bytes() == second.read_bytes()
    loaded = Frames.load(first, verify=True)
    for name, array in frames.arrays().items():
        np.testing.assert_array_equal(loaded.arrays()[name], array)
        assert loaded.arrays()[name].dtype == array.dtype
    assert loaded.metadata["hash"] == frames.hash()


def spoiled(array: np.ndarray, index: int, value: float) -> np.ndarray:
    copy = array.copy()
    copy[index] = value
    return copy


FAULTS: dict[str, tuple[Callable[[Frames], Frames], str]] = {
    "missing energy": (lambda f: replace(f, energies=spoiled(f.energies, 2, np.nan)), "structure 2 has an? energy"),
    "NaN force": (lambda f: replace(f, forces=spoiled(f.forces, 4, np.nan)), "structure 1 has a force"),
    "infinite position": (lambda f: replace(f, positions=spoiled(f.positions, 11, np.inf)), "structure 3 .* position"),
    "NaN cell": (lambda f: replace(f, cells=spoiled(f.cells, 0, np.nan)), "structure 0 has a cell"),
    "flat cell": (lambda f: replace(f, cells=spoiled(f.cells, 1, 0.0)), "structure 1 .* zero volume"),
    "unknown element": (lambda f: replace(f, atomic_numbers=spoiled(f.atomic_numbers, 9, 0)), "structure 3 .* element"),
    "damaged offsets": (lambda f: replace(f, offsets=spoiled(f.offsets, 4, 11)), "offsets"),
    "nothing left": (lambda f: take(f, np.zeros(0, np.int64)), "no structure is left"),
}


@pytest.mark.parametrize(("spoil", "message"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_refused_by_number_and_no_file_is_left(
    frames: Frames, tmp_path: Path, spoil: Callable[[Frames], Frames], message: str
) -> None:
    with pytest.raises(PriorbenchError, match=message):
        spoil(frames).save(tmp_path / "frames.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_changed_content_is_noticed(frames: Frames, tmp_path: Path) -> None:
    path = tmp_path / "frames.safetensors"
    frames.save(path)
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(PriorbenchError, match="does not match its hash"):
        Frames.load(path, verify=True)
    path.write_bytes(raw[:-40])
    with pytest.raises(PriorbenchError, match="damaged"):
        Frames.load(path)


def test_taking_structures_keeps_their_atoms_together(frames: Frames) -> None:
    chosen = take(frames, np.array([3, 1]))
    np.testing.assert_array_equal(chosen.positions, np.concatenate([frames.positions[9:12], frames.positions[3:6]]))
    np.testing.assert_array_equal(chosen.energies, frames.energies[[3, 1]])
    assert chosen.groups.tolist() == [1, 0]  # numbered from 0 again, order of the original groups kept
    assert chosen.offsets.tolist() == [0, 3, 6]
