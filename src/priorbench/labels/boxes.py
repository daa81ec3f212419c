"""Periodic cells as OpenMM takes them: lower triangular and reduced."""

import numpy as np
from numpy.typing import NDArray


def box_of(cell: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Box vectors (3, 3) Å, rows, of the lattice of ``cell`` (3, 3) Å in a frame of their own, and the turn (3, 3).

    Rows of coordinates times the turn are coordinates in the frame of the box; of a left-handed cell it is the mirrored
    one, which changes no energy.
    """
    from ase.geometry.minkowski_reduction import minkowski_reduce

    basis, _ = minkowski_reduce(cell)
    turn, triangle = np.linalg.qr(basis.T)
    signs = np.sign(np.diag(triangle))
    return reduced(triangle.T * signs), turn * signs


def reduced(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same lattice by ``vectors`` (3, 3), lower triangular, none longer along another than half of that other."""
    a, b, c = vectors
    c = c - b * np.round(c[1] / b[1])
    c = c - a * np.round(c[0] / a[0])
    b = b - a * np.round(b[0] / a[0])
    return np.array([a, b, c])


def made_whole(molecules: NDArray[np.float64], vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Molecules (n, atoms, 3) with every atom at the image that is nearest to the first atom of its molecule."""
    arms = molecules - molecules[:, :1]
    return molecules - np.round(arms @ np.linalg.inv(vectors)) @ vectors
