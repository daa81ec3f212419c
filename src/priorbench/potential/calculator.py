"""A finetuned network as an ASE calculator: energies in eV, forces in eV/Å, stress in eV/Å³."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import chemical_symbols
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray
from torch import Tensor

from priorbench.backbones.base import Backbone
from priorbench.errors import PriorbenchError
from priorbench.graph import Graph
from priorbench.kernels.library import plain
from priorbench.potential.domain import Domain
from priorbench.potential.edges import Edges, SkinList
from priorbench.training.labels import ROWS, Labels
from priorbench.training.model import State, build, load_model, transfer

SLACK = 0.999  # of the closest approach in training: single precision must not tell on the training set itself
PRECISIONS = {"float32": torch.float32, "float64": torch.float64}
Outside = Literal["warn", "raise", "ignore"]


class DomainWarning(UserWarning):
    """Two atoms are closer than any of their elements were in training: the prediction is a guess."""


class PotentialCalculator(Calculator):
    """The calculator of a network ``model`` with its ``labels`` and ``domain``; see :func:`load_potential`.

    ``outside`` holds, after a calculation, how the structure left the domain, or None.
    """

    def __init__(
        self,
        model: Backbone,
        labels: Labels,
        domain: Domain,
        cutoff: float,
        name: str,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        skin: float = 0.5,
        when_outside: Outside = "warn",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.model, self.labels, self.domain, self.model_name = model.to(device, dtype).eval(), labels, domain, name
        self.device, self.dtype, self.when_outside = device, dtype, when_outside
        self.edges = SkinList(cutoff, skin, dtype, device, wrapping="wrapping" in model.symmetries)
        self.outside: str | None = None
        self.implemented_properties = ["energy", "free_energy", "forces"] + ["stress"] * model.conservative
        self._numbers: NDArray[Any] | None = None

    @property
    def conservative(self) -> bool:
        """Whether forces are exactly the negative gradient of the energy."""
        return self.model.conservative

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill ``results`` for ``atoms``; :class:`PriorbenchError` for an element that the network does not know."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        atoms = self.atoms
        assert atoms is not None
        numbers, cell, pbc = atoms.numbers, np.asarray(atoms.cell.array), np.asarray(atoms.pbc)
        if self._numbers is None or not np.array_equal(numbers, self._numbers):
            self._settle(numbers)
        if not np.isfinite(atoms.positions).all():
            raise PriorbenchError(f"{self.model_name}: a position is not a finite number; the dynamics has exploded")
        edges = self.edges.at(atoms.positions, cell, pbc)
        self._watch(edges)
        graph = self._graph(edges, cell, pbc)
        if properties and "stress" in properties and self.conservative:
            energy, forces = self._with_stress(graph, atoms.get_volume())
        else:
            with torch.no_grad():
                prediction = self.model(graph)
            energy, forces = prediction.energies, prediction.vectors
        value = float(energy.double()) * self.labels.scale + self._reference
        self.results |= {
            "energy": value,
            "free_energy": value,
            "forces": forces.detach().double().cpu().numpy() * self.labels.scale,
        }

    def _settle(self, numbers: NDArray[Any]) -> None:
        """What depends on the elements alone."""
        self.domain.check_elements(numbers, self.model_name)
        self._numbers = numbers.copy()
        self._z = torch.as_tensor(numbers, dtype=torch.int64, device=self.device)
        limits = self.domain.thresholds()
        # A pair that never was within the cutoff in training should not be now.
        limits[limits == 0] = self.edges.cutoff
        self._limits = torch.as_tensor((SLACK * limits) ** 2).to(self.device, self.dtype).flatten()
        labels = self.labels
        self._reference = float(
            np.take(labels.reference, numbers).sum() if labels.constant is None else labels.constant
        )
        self.edges = SkinList(self.edges.cutoff, self.edges.skin, self.dtype, self.device, wrapping=self.edges.wrapping)

    def _graph(self, edges: Edges, cell: NDArray[Any], pbc: NDArray[Any]) -> Graph:
        return Graph(
            atomic_numbers=self._z,
            positions=edges.positions,
            senders=edges.senders,
            receivers=edges.receivers,
            shifts=edges.shifts,
            structure=torch.zeros_like(self._z),
            cells=torch.as_tensor(cell[None]).to(self.device, self.dtype),
            pbc=torch.as_tensor(pbc[None], device=self.device),
        )

    def _watch(self, edges: Edges) -> None:
        """Say when atoms come closer than they ever were in training, once for each time that they begin to."""
        kinds = self._z.index_select(0, edges.receivers) * ROWS + self._z.index_select(0, edges.senders)
        limits = self._limits.index_select(0, kinds)
        room = edges.squares - limits
        if self.when_outside == "ignore" or len(room) == 0 or float(room.min()) >= 0:
            self.outside = None
            return
        before, self.outside = self.outside, self._message(edges, int(room.argmin()))
        if self.when_outside == "raise":
            raise PriorbenchError(self.outside)
        if before is None:
            warnings.warn(self.outside, DomainWarning, stacklevel=2)

    def _message(self, edges: Edges, edge: int) -> str:
        i, j = sorted((int(edges.receivers[edge]), int(edges.senders[edge])))
        a, b = sorted((int(self._z[i]), int(self._z[j])))
        closest = self.domain.closest.get(f"{a}-{b}")
        seen = f"never closer than {closest:.2f} Å" if closest else f"never within {self.edges.cutoff:g} Å"
        return (
            f"{self.model_name}: atoms {i} and {j} ({chemical_symbols[a]}, {chemical_symbols[b]}) are "
            f"{float(edges.squares[edge]) ** 0.5:.2f} Å apart, in training {seen}; the prediction is a guess"
        )

    def _with_stress(self, graph: Graph, volume: float) -> tuple[Tensor, Tensor]:
        """Energy and forces, and into the results −∂E/∂strain / V of the symmetric strain."""
        strain = torch.zeros(3, 3, dtype=self.dtype, device=self.device, requires_grad=True)
        deform = torch.eye(3, dtype=self.dtype, device=self.device) + (strain + strain.T) / 2
        r = graph.positions.requires_grad_(True)
        strained = replace(graph, positions=r @ deform, shifts=graph.shifts @ deform, cells=graph.cells @ deform)
        # The kernels do not differentiate by the shifts.
        with plain(), torch.enable_grad():
            energy = self.model.energies(strained)
            g_positions, g_strain = torch.autograd.grad(energy.sum(), (r, strain))
        stress = g_strain.double().cpu().numpy() * (self.labels.scale / volume)
        self.results["stress"] = full_3x3_to_voigt_6_stress((stress + stress.T) / 2)
        return energy.detach(), -g_positions


def load_potential(
    path: str | Path,
    device: str = "cpu",
    dtype: Literal["float32", "float64"] = "float32",
    skin: float = 0.5,
    outside: Outside = "warn",
) -> PotentialCalculator:
    """The ASE calculator of a finetuned network, from the ``model.safetensors`` that its run left.

    ``skin`` (Å) is by how much neighbour lists reach further than the cutoff.  ``outside`` says what happens where
    atoms are closer than any of their elements were in training: ``warn`` (:class:`DomainWarning`), ``raise`` or
    ``ignore``.
    The file holds no code.  :class:`PriorbenchError` for what is no finetuned network.
    """
    if dtype not in PRECISIONS:
        raise PriorbenchError(f"dtype: {dtype!r} is neither float32 nor float64")
    if outside not in ("warn", "raise", "ignore"):
        raise PriorbenchError(f"outside: {outside!r} is not warn, raise or ignore")
    if not skin >= 0:
        raise PriorbenchError(f"skin: {skin!r} Å is negative")
    model, metadata = load_network(Path(path))
    spec = metadata["spec"]
    return PotentialCalculator(
        model,
        Labels.from_json(metadata["labels"]),
        Domain.from_json(metadata["domain"]),
        spec["backbone"]["cutoff"],
        str(path),
        device,
        PRECISIONS[dtype],
        skin,
        outside,
    )


def load_network(path: Path) -> tuple[Backbone, dict[str, Any]]:
    """A finetuned network and what is known of it; others are refused."""
    state, metadata = load_model(path)
    try:
        return _network(path, state, metadata), metadata
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):  # in files without a checksum of metadata
        raise PriorbenchError(f"{path}: its metadata are damaged; train it again") from None


def _network(path: Path, state: State, metadata: dict[str, Any]) -> Backbone:
    spec = metadata["spec"]
    if spec["stage"] != "finetune":
        raise PriorbenchError(f"{path}: a pretrained network predicts no energies and forces; finetune it first")
    if metadata["status"] == "diverged":
        raise PriorbenchError(f"{path}: the training of this network diverged; it predicts nothing")
    if "domain" not in metadata:
        raise PriorbenchError(f"{path}: written before potentials kept their domain; train it again")
    Domain.from_json(metadata["domain"]).thresholds()
    if not (labels := Labels.from_json(metadata["labels"])).scale > 0 or len(labels.reference) != ROWS:
        raise ValueError("no scale of labels")
    model = build(spec["backbone"], spec["seed"])
    transfer(model, state, str(path))
    return model
