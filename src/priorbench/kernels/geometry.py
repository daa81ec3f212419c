"""Distances, directions, radial basis and envelope of the edges, differentiable twice in the positions."""

from typing import Any

import torch
from torch import Tensor

from priorbench.kernels.order import EdgeOrder, apply

MOST_FUNCTIONS = 256  # as in c/geometry.c


def geometry(
    order: EdgeOrder, functions: int, cutoff: float, enveloped: bool, positions: Tensor, shifts: Tensor
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Bessel functions (E, K), envelope (E,) where ``enveloped`` and unit vectors (E, 3) from receiver to sender.

    Of ``positions`` (N, 3) and ``shifts`` (E, 3) in Å; ``functions`` is K, at most ``MOST_FUNCTIONS``; ``cutoff`` in Å.
    """
    out: tuple[Tensor, Tensor | None, Tensor] = apply(_Geometry, order, functions, cutoff, enveloped, positions, shifts)
    return out


class _Geometry(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, order: EdgeOrder, functions: int, cutoff: float, enveloped: bool, positions: Tensor, shifts: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        positions, edges = positions.contiguous(), order.edges
        basis, directions = positions.new_empty(edges, functions), positions.new_empty(edges, 3)
        weights, distances = positions.new_empty(edges) if enveloped else None, positions.new_empty(edges)
        arguments = (positions, shifts.contiguous(), basis, weights, directions, distances)
        order.call("geometry_forward", 0, functions, 0, 0, cutoff, *arguments)
        ctx.order, ctx.cutoff, ctx.sizes = order, cutoff, (functions, enveloped)
        ctx.set_materialize_grads(False)
        # Constants to autograd: how they depend on the positions, the written derivatives know.
        ctx.constants = (directions.detach(), distances)
        ctx.save_for_backward(positions)
        return basis, weights, directions

    @staticmethod
    def backward(
        ctx: Any, g_basis: Tensor | None, g_weights: Tensor | None, g_directions: Tensor | None
    ) -> tuple[Any, ...]:
        (positions,) = ctx.saved_tensors
        gradients = (g_basis, g_weights, g_directions)
        gradient = apply(_GeometryGradient, ctx.order, ctx.sizes, ctx.cutoff, ctx.constants, positions, *gradients)
        return None, None, None, None, gradient, None


class _GeometryGradient(torch.autograd.Function):
    """Gradient of the positions (N, 3) as a function of the positions and the gradients of the outputs."""

    @staticmethod
    def forward(
        ctx: Any,
        order: EdgeOrder,
        sizes: tuple[int, bool],
        cutoff: float,
        constants: tuple[Tensor, Tensor],
        positions: Tensor,
        *gradients: Tensor | None,
    ) -> Tensor:
        dense = [None if g is None else g.contiguous() for g in gradients]
        out = torch.empty_like(positions)
        order.call("geometry_backward", 0, sizes[0], 0, 3 * order.atoms, cutoff, *constants, *dense, out)
        ctx.order, ctx.sizes, ctx.cutoff, ctx.constants = order, sizes, cutoff, constants
        ctx.save_for_backward(*dense)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, c: Tensor) -> tuple[Any, ...]:
        gradients = ctx.saved_tensors
        back = [None if g is None else torch.empty_like(g) for g in gradients]
        positions = torch.empty_like(c)
        arguments = (*ctx.constants, *gradients, c.contiguous(), *back, positions)
        ctx.order.call("geometry_second", 0, ctx.sizes[0], 0, 3 * ctx.order.atoms, ctx.cutoff, *arguments)
        return None, None, None, None, positions, *back
