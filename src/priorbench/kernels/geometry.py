"""Distances, directions, radial basis and envelope of the edges, differentiable twice in the positions."""

from typing import Any

import torch
from torch import Tensor

from priorbench.kernels.order import EdgeOrder, apply

MOST_FUNCTIONS = 256  # as in c/geometry.c
ENVELOPES = {None: 0, "polynomial": 0, "cosine": 1}  # likewise


def geometry(
    order: EdgeOrder, functions: int, cutoff: float, kind: str | None, positions: Tensor, shifts: Tensor
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Bessel functions (E, K), envelope (E,) of a ``kind`` and unit vectors (E, 3) from receiver to sender.

    Of ``positions`` (N, 3) and ``shifts`` (E, 3) in Å; ``functions`` is K, at most ``MOST_FUNCTIONS``; ``cutoff`` in Å.
    ``kind`` is ``"polynomial"``, ``"cosine"`` (``backbones.layers.envelope`` and ``cosine``) or None for no envelope.
    """
    out: tuple[Tensor, Tensor | None, Tensor] = apply(_Geometry, order, functions, cutoff, kind, positions, shifts)
    return out


class _Geometry(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, order: EdgeOrder, functions: int, cutoff: float, kind: str | None, positions: Tensor, shifts: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        positions, edges = positions.contiguous(), order.edges
        basis, directions = positions.new_empty(edges, functions), positions.new_empty(edges, 3)
        weights, distances = None if kind is None else positions.new_empty(edges), positions.new_empty(edges)
        arguments = (positions, shifts.contiguous(), basis, weights, directions, distances)
        order.call("geometry_forward", ENVELOPES[kind], functions, 0, 0, cutoff, *arguments)
        ctx.order, ctx.cutoff, ctx.sizes = order, cutoff, (ENVELOPES[kind], functions)
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
        sizes: tuple[int, int],
        cutoff: float,
        constants: tuple[Tensor, Tensor],
        positions: Tensor,
        *gradients: Tensor | None,
    ) -> Tensor:
        dense = [None if g is None else g.contiguous() for g in gradients]
        out = torch.empty_like(positions)
        order.call("geometry_backward", *sizes, 0, 3 * order.atoms, cutoff, *constants, *dense, out)
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
        ctx.order.call("geometry_second", *ctx.sizes, 0, 3 * ctx.order.atoms, ctx.cutoff, *arguments)
        return None, None, None, None, positions, *back
