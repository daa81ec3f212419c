"""Adam and AdamW (arXiv 1412.6980, 1711.05101) by PyTorch's own fused update.

``torch.optim.Optimizer`` imports the compiler when the first one is made, 1.5 s of every job and half of its start-up;
the functional form underneath does not.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim.adam import adam

from priorbench.config import Training

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Adam:
    """Optimiser of ``training`` over ``parameters``; one without a gradient is left alone, decay included."""

    def __init__(self, parameters: Iterable[Tensor], training: Training) -> None:
        self.parameters = list(parameters)
        self.weight_decay = training.weight_decay
        self.decoupled = training.optimiser == "adamw"
        self.gradients = [torch.empty_like(p) for p in self.parameters]  # memory for them, kept from step to step
        self.state = [
            (torch.zeros_like(p), torch.zeros_like(p), torch.zeros((), dtype=torch.float32, device=p.device))
            for p in self.parameters
        ]

    def clear_gradients(self) -> None:
        """Forget the gradients of the step before."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def gradient_norm(self, clip: float | None) -> Tensor:
        """2-norm of the whole gradient, which is scaled down to ``clip`` where it is larger."""
        used = [p for p in self.parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in used if p.grad is not None])
        if clip is not None:
            torch.nn.utils.clip_grads_with_norm_(used, clip, norm)
        return norm

    @torch.no_grad()
    def step(self, learning_rate: float | Tensor) -> None:
        """Update every parameter that has a gradient."""
        used = [(p, p.grad, *s) for p, s in zip(self.parameters, self.state, strict=True) if p.grad is not None]
        parameters, gradients, first, second, steps = (list(column) for column in zip(*used, strict=True))
        adam(
            parameters,
            gradients,
            first,
            second,
            [],
            steps,
            fused=True,
            decoupled_weight_decay=self.decoupled,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=learning_rate,
            weight_decay=self.weight_decay,
            eps=EPSILON,
            maximize=False,
        )
