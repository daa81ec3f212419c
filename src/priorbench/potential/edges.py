"""Neighbour lists that live as long as atoms have moved less than half a skin."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from priorbench.neighbours import neighbours_by_receiver

Floats = NDArray[np.float64]


class Edges(NamedTuple):
    """The edges at most a cutoff long at some positions."""

    positions: Tensor  # (N, 3) Å, wrapped into the cell when the list was built
    senders: Tensor  # (E,)
    receivers: Tensor  # (E,) ascending
    shifts: Tensor  # (E, 3) Å
    squares: Tensor  # (E,) Å², of the lengths


class SkinList:
    """All pairs within ``cutoff`` + ``skin`` (Å), searched anew when an atom has moved half the skin.

    They are searched anew as well when the cell or the number of atoms has changed.  ``wrapping`` says whether atoms
    are taken into the cell at every search, which keeps single precision exact where they have drifted far.
    """

    def __init__(self, cutoff: float, skin: float, dtype: torch.dtype, device: str, wrapping: bool = True) -> None:
        self.cutoff, self.skin, self.dtype, self.device, self.wrapping = cutoff, skin, dtype, device, wrapping
        self.searches = 0
        self._built: tuple[Floats, Floats, NDArray[np.bool_]] | None = None

    def at(self, positions: Floats, cell: Floats, pbc: NDArray[np.bool_]) -> Edges:
        """The edges at ``positions`` (N, 3) Å in ``cell`` (3, 3) Å, rows the vectors; ``pbc`` (3,)."""
        if not self._valid(positions, cell, pbc):
            self._search(positions, cell, pbc)
        r = torch.as_tensor(positions + self._offsets).to(self.device, self.dtype)
        vectors = r.index_select(0, self._senders) - r.index_select(0, self._receivers) + self._shifts
        squares = vectors.square_().sum(1)
        kept = (squares <= self.cutoff**2).nonzero().squeeze(1)
        chosen = (t.index_select(0, kept) for t in (self._senders, self._receivers, self._shifts, squares))
        return Edges(r, *chosen)

    def _valid(self, positions: Floats, cell: Floats, pbc: NDArray[np.bool_]) -> bool:
        if self._built is None:
            return False
        before, cell_before, pbc_before = self._built
        if len(before) != len(positions) or (cell_before != cell).any() or (pbc_before != pbc).any():
            return False
        moved = ((positions - before) ** 2).sum(axis=1).max(initial=0.0)
        return bool(moved <= (self.skin / 2) ** 2)  # False for a NaN too

    def _search(self, positions: Floats, cell: Floats, pbc: NDArray[np.bool_]) -> None:
        offsets = _into_cell(positions, cell, pbc) if self.wrapping else np.zeros_like(positions)
        reach = self.cutoff + self.skin
        senders, receivers, shifts = neighbours_by_receiver(positions + offsets, cell, pbc, reach)
        self._senders, self._receivers = (
            torch.as_tensor(side, dtype=torch.int64, device=self.device) for side in (senders, receivers)
        )
        self._shifts = torch.as_tensor(shifts.astype(float) @ cell).to(self.device, self.dtype)
        self._offsets = offsets
        self._built = positions.copy(), cell.copy(), pbc.copy()
        self.searches += 1


def _into_cell(positions: Floats, cell: Floats, pbc: NDArray[np.bool_]) -> Floats:
    """Whole cell vectors (N, 3) Å that take atoms into the cell, along periodic directions."""
    if not pbc.any():
        return np.zeros_like(positions)
    from ase.geometry import complete_cell

    full = np.asarray(complete_cell(cell))
    whole = np.floor(np.linalg.solve(full.T, positions.T).T)
    whole[:, ~pbc] = 0
    return np.asarray(-whole @ full)
