"""The exported package gives the forces of the potential, to who has PyTorch alone."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from priorbench import load_potential
from priorbench.cli import main
from priorbench.errors import PriorbenchError
from priorbench.potential.export import CARD, export
from tests.potential.test_calculator import structure
from tests.training.conftest import spec, write_inputs

# What whoever gets the package would write.
ELSEWHERE = """
import sys, json, torch, numpy as np
assert "priorbench" not in sys.modules
program = torch.export.load(sys.argv[1]).module()
given = np.load(sys.argv[2])
energy, forces = program(*(torch.as_tensor(given[name]) for name in given["order"]))
assert not any(name.startswith("priorbench") for name in sys.modules)
np.savez(sys.argv[3], energy=energy.detach().numpy(), forces=forces.detach().numpy())
"""


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["egnn", "forcenet"])  # energy- and force-centric
def test_the_package_gives_the_same_forces_without_priorbench(architecture, tmp_path):
    inputs = write_inputs(tmp_path)
    backbone = {"name": "n", "architecture": architecture, "cutoff": 3.4, "layers": 1, "width": 8}
    from priorbench.training.run import run

    run(spec(backbone=backbone), inputs, 1, tmp_path / "run")
    path, package = tmp_path / "run" / "model.safetensors", tmp_path / "potential.pt2"
    assert main(["export", str(path), "--output", str(package)]) == 0
    atoms = structure(inputs)
    del atoms[9:12]  # another number of atoms than that of the example
    atoms.calc = load_potential(path, outside="ignore")
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    edges = atoms.calc.edges.at(atoms.positions, atoms.cell.array, atoms.pbc)
    given = {
        "atomic_numbers": atoms.numbers.astype(np.int64),
        "positions": edges.positions.numpy(),
        "senders": edges.senders.numpy(),
        "receivers": edges.receivers.numpy(),
        "shifts": edges.shifts.numpy(),
        "cell": atoms.cell.array.astype(np.float32),
        "pbc": atoms.pbc,
    }
    np.savez(tmp_path / "given.npz", order=list(given), **given)
    command = [sys.executable, "-c", ELSEWHERE, package, tmp_path / "given.npz", tmp_path / "found.npz"]
    subprocess.run(command, check=True, cwd=tmp_path)
    found = np.load(tmp_path / "found.npz")
    assert found["energy"] == pytest.approx(energy, abs=1e-5)
    np.testing.assert_allclose(found["forces"], forces, atol=1e-5 * np.abs(forces).max() + 1e-7)
    files = {CARD: ""}
    torch.export.load(package, extra_files=files)
    card = json.loads(files[CARD])
    assert card["inputs"] == list(given)
    assert card["units"]["forces"] == "eV/Å"


def test_a_package_has_its_suffix(tmp_path):
    with pytest.raises(PriorbenchError, match=r"end in \.pt2"):
        export(tmp_path / "model.safetensors", tmp_path / "potential.onnx")
