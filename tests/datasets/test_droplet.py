"""Droplets: flexible water in vacuum, whose labels are those of the force field and not of the wall around it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import acquired

from priorbench.datasets import droplet
from priorbench.datasets.archive import read_npz
from priorbench.datasets.droplet import DropletOptions
from priorbench.datasets.pipeline import source_for
from priorbench.errors import PriorbenchError
from priorbench.frames import Frames
from priorbench.labels.flexible_tip3p import FlexibleTIP3P, FlexibleTIP3POptions

TINY: dict[str, Any] = {
    "molecules": 6,
    "droplets": 2,
    "frames": 4,
    "interval_ps": 0.02,
    "equilibration_ps": 0.5,
    "smoke": True,
    "wall": 1.01,  # so tight that it is met
}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return acquired("droplet", TINY, tmp_path_factory.mktemp("droplet"))


@pytest.fixture(scope="module")
def frames(parts: dict[str, Path]) -> Frames:
    return source_for("droplet", TINY).convert(parts)


def test_each_droplet_is_a_group_of_intact_molecules_and_nothing_is_periodic(frames: Frames) -> None:
    assert frames.groups.tolist() == [0] * 4 + [1] * 4
    assert not frames.pbc.any()
    assert set(frames.molecules) == set(range(6))
    assert len(frames) == source_for("droplet", TINY).expected()[0].structures


def test_labels_are_those_of_the_force_field_without_the_wall(frames: Frames) -> None:
    """An independent evaluation in double precision of flexible TIP3P that is not periodic gives the same."""
    radii = np.linalg.norm(frames.positions[::3], axis=1)
    assert radii.max() > 1.01 * DropletOptions(**TINY).radius  # the wall acts on some oxygen
    again = FlexibleTIP3P(FlexibleTIP3POptions()).label(frames)
    np.testing.assert_allclose(frames.energies, again.energies, atol=2e-4)  # eV
    np.testing.assert_allclose(frames.forces, again.forces, atol=2e-3)  # eV/Å
    net = np.add.reduceat(frames.forces, frames.offsets[:-1], axis=0)
    np.testing.assert_allclose(net, 0, atol=2e-3)


def test_the_same_options_give_the_same_bytes_and_another_seed_others(parts: dict[str, Path], tmp_path: Path) -> None:
    source_for("droplet", TINY).acquire("droplet1", None, tmp_path / "again.npz")
    source_for("droplet", {**TINY, "seed": 1}).acquire("droplet1", None, tmp_path / "other.npz")
    assert (tmp_path / "again.npz").read_bytes() == parts["droplet1"].read_bytes()
    ours, other = (read_npz(path, ["positions"])["positions"] for path in (parts["droplet1"], tmp_path / "other.npz"))
    assert not np.allclose(ours, other, atol=1e-3)


def test_a_short_equilibration_is_refused_unless_it_is_a_smoke_test() -> None:
    with pytest.raises(ValueError, match="do not equilibrate a droplet"):
        DropletOptions(**{**TINY, "smoke": False})


@pytest.mark.parametrize(("fault", "message"), [(np.nan, "not all finite"), (400.0, "mean temperature 400.0 K")])
def test_a_droplet_that_is_not_in_equilibrium_is_refused(fault: float, message: str) -> None:
    arrays = {name: np.ones(40) for name in droplet.ARRAYS} | {"temperatures": np.full(40, fault)}
    with pytest.raises(PriorbenchError, match=message):
        droplet._check("droplet0", arrays, DropletOptions())
