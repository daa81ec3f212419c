"""A potential as a package that needs PyTorch alone: to run elsewhere, from Python or C++.

``torch.export`` records the operations of one structure with any number of atoms and edges; for energy-centric networks
the gradient −∂E/∂r is among them.  The package computes in plain PyTorch, without the compiled kernels.
"""

import io
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from priorbench.backbones.base import Backbone
from priorbench.errors import PriorbenchError
from priorbench.graph import Graph
from priorbench.io import atomic_path
from priorbench.kernels.library import plain
from priorbench.potential.calculator import load_network
from priorbench.potential.card import card_of
from priorbench.training.labels import Labels

INPUTS = ("atomic_numbers", "positions", "senders", "receivers", "shifts", "cell", "pbc")
CARD = "priorbench.json"  # in the package


class SingleStructure(nn.Module):
    """Energy () in eV, float64, and forces (N, 3) in eV/Å of one structure, from tensors alone.

    Inputs: atomic numbers (N,), positions (N, 3) Å; edges within the cutoff by sender and ascending receiver (E,) and
    the shift of the sender's image (E, 3) Å, so that r_sender + shift − r_receiver is the edge; cell (3, 3) Å, and
    pbc (3,).
    """

    reference: Tensor

    def __init__(self, model: Backbone, labels: Labels) -> None:
        super().__init__()
        self.model, self.scale, self.constant = model, labels.scale, labels.constant
        self.register_buffer("reference", torch.tensor(labels.reference, dtype=torch.float64))

    def forward(
        self,
        atomic_numbers: Tensor,
        positions: Tensor,
        senders: Tensor,
        receivers: Tensor,
        shifts: Tensor,
        cell: Tensor,
        pbc: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Energy and forces."""
        one = torch.zeros_like(atomic_numbers)
        cells, periodic = cell.unsqueeze(0), pbc.unsqueeze(0)
        graph = Graph(atomic_numbers, positions, senders, receivers, shifts, one, cells, periodic)
        prediction = self.model(graph)
        offset = self.reference[atomic_numbers].sum() if self.constant is None else self.constant
        return prediction.energies[0].double() * self.scale + offset, prediction.vectors * self.scale


def export(path: Path, output: Path) -> None:
    """Write the potential in ``path`` as a package (``.pt2``) that ``torch.export.load`` reads, its card inside."""
    if output.suffix != ".pt2":
        raise PriorbenchError(f"{output}: torch.export packages end in .pt2")
    model, metadata = load_network(path)
    card = card_of(path, model, metadata)
    module = SingleStructure(model.eval(), Labels.from_json(metadata["labels"]))
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    program = _exported(module, card["domain"]["elements"])
    content = json.dumps({**card, "inputs": INPUTS, "outputs": ["energy", "forces"]}, sort_keys=True)
    package = io.BytesIO()  # torch's own writer of files ends the process where the disk is full
    torch.export.save(program, package, extra_files={CARD: content})
    with atomic_path(output) as temporary:
        temporary.write_bytes(package.getbuffer())


def _exported(module: SingleStructure, elements: list[int]) -> torch.export.ExportedProgram:
    from torch.export import Dim
    from torch.fx.experimental.proxy_tensor import make_fx

    example = _example(elements)
    atoms, edges = Dim("atoms", min=2), Dim("edges", min=2)
    sizes = ({0: atoms}, {0: atoms}, {0: edges}, {0: edges}, {0: edges}, None, None)
    with plain(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer's own parts
        logging.getLogger("torch.export").setLevel(logging.ERROR)
        target: Any = module
        if module.model.readout == "gradient":
            # Export does not look into autograd; this writes down what it does first.
            target = make_fx(lambda *t: module(*t), tracing_mode="symbolic", _allow_non_fake_inputs=True)(*example)
        return torch.export.export(target, example, dynamic_shapes=sizes, strict=False)


def _example(elements: list[int]) -> tuple[Tensor, ...]:
    """A few atoms in a row; only kinds and shapes matter."""
    count = 7
    numbers = torch.tensor([elements[k % len(elements)] for k in range(count)])
    positions = torch.stack([torch.arange(count), torch.zeros(count), torch.zeros(count)], dim=1).float()
    receivers = torch.arange(count).repeat_interleave(2)
    senders = (receivers + torch.tensor([1, count - 1]).repeat(count)) % count
    return (
        numbers,
        positions,
        senders,
        receivers,
        torch.zeros(2 * count, 3),
        torch.eye(3) * 20,
        torch.tensor([True] * 3),
    )
