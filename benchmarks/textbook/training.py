"""Losses of the three tasks, and the optimiser."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.data import Data

from priorbench.config import Training


def loss(
    task_name: str, network: nn.Module, batch: Data, energy_weight: float = 1.0, force_weight: float = 500.0
) -> Tensor:
    """Forward pass and loss of the task (masking, denoising or potential; the weights are of potential)."""
    energies, vectors = network(batch)
    if task_name == "masking":
        cosine = functional.cosine_similarity(vectors[batch.target_mask], batch.target[batch.target_mask], dim=1)
        return (1 - cosine).sum() / max(len(cosine), 1)
    if task_name == "denoising":
        return functional.mse_loss(vectors, batch.target)
    if task_name == "potential":
        energy, force = functional.l1_loss(energies, batch.y), functional.l1_loss(vectors, batch.force)
        return energy_weight * energy + force_weight * force
    raise ValueError(f"unknown task {task_name!r}")


def optimiser(network: nn.Module, training: Training) -> torch.optim.Optimizer:
    """Adam or AdamW as ``training`` says, at its first learning rate."""
    kind = torch.optim.AdamW if training.optimiser == "adamw" else torch.optim.Adam
    return kind(network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay)
