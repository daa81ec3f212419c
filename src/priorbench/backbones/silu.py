"""SiLU whose second derivative is written out.

Energy-centric training differentiates twice.  PyTorch then takes SiLU's gradient apart into elementary operations and
differentiates each, which was a third of a training step of EGNN on a CPU; the closed forms need half of them.
"""

from typing import Any

import torch
from torch import Tensor, nn


class _SiLUGradient(torch.autograd.Function):
    """g · σ(x)(1 + x(1 − σ(x))), differentiable once more."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, g: Tensor) -> Tensor:
        """x, g → g · f′(x)."""
        ctx.save_for_backward(x, g)
        return torch.ops.aten.silu_backward(g, x)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, Tensor]:
        """f″(x) = σ(1 − σ)(2 + x(1 − 2σ)) with σ = σ(x)."""
        x, g = ctx.saved_tensors
        (u,) = outputs
        s = torch.sigmoid(x)
        second = torch.addcmul(x, x, s, value=-2).add_(2).mul_(s).mul_(1 - s)
        return second.mul_(g).mul_(u), torch.ops.aten.silu_backward(u, x)


class _SiLU(torch.autograd.Function):
    """x σ(x), differentiable twice."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """x → f(x)."""
        ctx.save_for_backward(x)
        return nn.functional.silu(x)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> Tensor:
        """g → g · f′(x)."""
        (x,) = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _SiLUGradient.apply(x, outputs[0])  # type: ignore[no-any-return, no-untyped-call]
        return torch.ops.aten.silu_backward(outputs[0], x)  # type: ignore[no-any-return]


class SiLU(nn.Module):
    """Drop-in for ``nn.SiLU`` in networks whose gradient is trained."""

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return _SiLU.apply(x)  # type: ignore[no-any-return, no-untyped-call]
