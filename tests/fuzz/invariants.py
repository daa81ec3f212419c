"""What holds of every dataset that a conversion lets pass, checked by code that shares nothing with it."""

import numpy as np

from priorbench.frames import Frames


def check_frames(frames: Frames) -> None:
    """Assert what the docstring of :class:`Frames` promises."""
    count, atoms = len(frames.energies), len(frames.atomic_numbers)
    shapes = {
        "positions": ("f8", (atoms, 3)),
        "forces": ("f8", (atoms, 3)),
        "energies": ("f8", (count,)),
        "cells": ("f8", (count, 3, 3)),
        "pbc": ("?", (count, 3)),
        "atomic_numbers": ("i2", (atoms,)),
        "offsets": ("i8", (count + 1,)),
        "groups": ("i4", (count,)),
        "subsystems": ("i2", (count,)),
        "official": ("i1", (count,)),
        "molecules": ("i4", (atoms,)),
        "bonds": ("i4", (len(frames.bonds), 2)),
        "bond_offsets": ("i8", (count + 1,)),
    }
    for name, (kind, shape) in shapes.items():
        array = getattr(frames, name)
        assert (array.dtype, array.shape) == (np.dtype(kind), shape), name
        if kind == "f8":
            assert np.isfinite(array).all(), name
            assert np.abs(array).max() < np.finfo(np.float32).max, name
    assert count > 0
    assert frames.offsets[0] == 0
    assert frames.offsets[-1] == atoms
    assert (np.diff(frames.offsets) > 0).all()
    assert frames.bond_offsets[0] == 0
    assert frames.bond_offsets[-1] == len(frames.bonds)
    assert (np.diff(frames.bond_offsets) >= 0).all()
    assert ((frames.atomic_numbers >= 1) & (frames.atomic_numbers <= 118)).all()
    assert (frames.groups >= 0).all()
    assert ((frames.subsystems >= 0) & (frames.subsystems < len(frames.metadata["subsystems"]))).all()
    assert np.isin(frames.official, (0, 1, 2)).all()
    for s in range(count):
        _check_structure(frames, s)


def _check_structure(frames: Frames, s: int) -> None:
    own, n = frames.atoms_of(s), int(frames.sizes[s])
    periodic = frames.cells[s][frames.pbc[s]]
    if len(periodic):
        assert np.sqrt(np.linalg.det(periodic @ periodic.T)) > 1e-7
    bonds = frames.bonds[frames.bond_offsets[s] : frames.bond_offsets[s + 1]]
    assert (bonds[:, 0] < bonds[:, 1]).all()
    assert ((bonds >= 0) & (bonds < n)).all()
    assert len(np.unique(bonds, axis=0)) == len(bonds)
    molecules = frames.molecules[own]
    assert (molecules >= -1).all()
    assert (molecules[bonds[:, 0]] == molecules[bonds[:, 1]]).all()
    assert set(molecules[molecules >= 0]) == set(range(molecules.max() + 1))
    # Coordinates that single precision can tell apart: neither far from the cell nor from the origin.
    assert np.ptp(frames.positions[own], axis=0).max() < 1e4
