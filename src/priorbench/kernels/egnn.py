"""EGNN's edge layer, differentiable twice.

Forces are a gradient of the energy, and training them takes the gradient of that gradient.  Three passes are written
out: values, their gradient, and the gradient of the gradient.  What flows back into the hidden values x, z, y, φ from
the third pass is added in the first pass's own backward, so no product is computed twice: to autograd the hidden values
are outputs of the layer.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from priorbench.kernels.order import EdgeOrder, apply, contiguous, split, turned

BUFFERS = 4  # blocks of workspace


class Values(NamedTuple):
    """Inputs and hidden values of a layer that its gradient is made of."""

    f: Tensor  # (E, K)
    weights: Tensor | None  # (E,)
    u: Tensor  # (E, 3)
    x: Tensor  # (E, F)
    z: Tensor  # (E, F)
    y: Tensor | None  # (E, F)
    phi: Tensor | None  # (E,)


def edge_layer(
    order: EdgeOrder,
    table: Tensor,
    f: Tensor,
    weights: Tensor | None,
    u: Tensor,
    parameters: Sequence[Tensor],
    weight_gradients: bool,
) -> tuple[Tensor, Tensor | None]:
    """Messages from table (N, 2 F) and f (E, K) with ``weights`` (E,): their sums (N, F), and the atoms' moves (N, 3).

    x = table + f·W1ᵀ, z = silu(x)·W2ᵀ + b2, m = weights · silu(z); y = m·W3ᵀ + b3, φ = silu(y)·w4.  Sums are of m at
    the receivers, moves the mean of −u φ there.  ``parameters``: W1 (F, K), W2 (F, F), b2 (F,), and for moves
    W3 (F, F), b3 (F,), w4 (1, F).  ``weight_gradients`` says whether a backward pass without a graph wants those of
    the parameters; one with a graph never gives them.
    """
    keep = torch.is_grad_enabled()
    sums, moves, *_ = apply(_EdgeLayer, order, keep, weight_gradients, table, f, weights, u, *parameters)
    return sums, moves


class _EdgeLayer(torch.autograd.Function):
    """(table, f, weights, u, parameters) → (sums, moves | None, x, z, y | None, φ | None)."""

    @staticmethod
    def forward(
        ctx: Any,
        order: EdgeOrder,
        keep: bool,
        weight_gradients: bool,
        table: Tensor,
        f: Tensor,
        weights: Tensor | None,
        u: Tensor,
        *parameters: Tensor,
    ) -> tuple[Tensor | None, ...]:
        width, edge_width = parameters[0].shape
        moving, f = len(parameters) == 6, f.contiguous()
        hidden = [f.new_empty(order.edges, width) if keep and k < 2 + moving else None for k in range(3)]
        sums = f.new_empty(order.atoms, width)
        moves, phi = (f.new_empty(order.atoms, 3), f.new_empty(order.edges)) if moving else (None, None)
        w1, w2, b2, w3, b3, w4 = _six(parameters)
        arguments = (table, f, weights, w1, w1.stride(0), w2, b2, w3, b3, w4, u, *hidden, phi, sums, moves)
        order.call("egnn_forward", width, edge_width, BUFFERS, turned(width, edge_width), *arguments)
        ctx.order, ctx.weight_gradients = order, weight_gradients
        ctx.set_materialize_grads(False)
        if keep:
            ctx.save_for_backward(f, weights, u, *hidden, phi, *parameters)
        return sums, moves, *hidden, phi

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor | None) -> tuple[Any, ...]:
        saved = ctx.saved_tensors
        values, parameters = Values(*saved[:7]), saved[7:]
        g_sums, g_moves, *more = outputs
        if torch.is_grad_enabled():
            gradients = apply(_EdgeGradient, ctx.order, g_sums, g_moves, *values, *parameters)
            return None, None, None, *gradients, *[None] * len(parameters)
        flat = parameters[0].new_empty(_numbers(parameters)) if ctx.weight_gradients else None
        gradients = _gradient(ctx.order, values, parameters, (g_sums, g_moves), more, (None, None), flat)
        return None, None, None, *gradients, *_parameter_gradients(flat, parameters)


class _EdgeGradient(torch.autograd.Function):
    """Gradients of table, f, weights and u as functions of the layer's hidden values, differentiable again."""

    @staticmethod
    def forward(
        ctx: Any, order: EdgeOrder, g_sums: Tensor | None, g_moves: Tensor | None, *rest: Tensor
    ) -> tuple[Tensor | None, ...]:
        values, parameters = Values(*rest[:7]), rest[7:]
        gm, gs = torch.empty_like(values.x), torch.empty_like(values.x)
        gradients = _gradient(order, values, parameters, (g_sums, g_moves), [None] * 4, (gm, gs), None)
        ctx.order, ctx.kept = order, (gm, gs)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(g_moves, *values, *parameters)
        return gradients

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *u_gradients: Tensor | None) -> tuple[Any, ...]:
        """What flows back into g_sums, g_moves, weights, u, x, z, y, φ and the parameters."""
        g_moves, *saved = ctx.saved_tensors
        (_, weights, u, x, z, y, phi), parameters = Values(*saved[:7]), saved[7:]
        order, (gm, gs) = ctx.order, ctx.kept
        ctx.kept = None
        width, edge_width = parameters[0].shape
        u_table, *u_rest = u_gradients
        u_table = x.new_zeros(order.atoms, 2 * width) if u_table is None else u_table
        needs_sums, needs_moves = ctx.needs_input_grad[1:3]
        cy = c_phi = c_u = c_moves = None
        if y is not None:
            g_moves = x.new_zeros(order.atoms, 3) if g_moves is None else g_moves
            cy, c_phi, c_u, c_moves = (torch.empty_like(t) for t in (y, phi, u, g_moves) if t is not None)
        c_sums, c_w = x.new_empty(order.atoms, width), None if weights is None else torch.empty_like(weights)
        flat = x.new_empty(_numbers(parameters))
        w1, w2, _, w3, _, w4 = _six(parameters)
        # The gradients of x and z take the place of gs and gm, which each edge reads for the last time as it writes.
        arguments = (
            *(weights, w1, w1.stride(0), w2, w3, w4, u, x, z, y, phi, gm, gs),
            *map(contiguous, (g_moves, u_table, *u_rest)),
            *(gs, gm, cy, c_phi, c_w, c_u, c_sums, c_moves, flat),
        )
        extra = len(flat) + turned(width, edge_width)
        order.call("egnn_second", width, edge_width, BUFFERS, extra, *arguments)
        flows = (c_sums if needs_sums else None, c_moves if needs_moves else None)
        return None, *flows, None, c_w, c_u, gs, gm, cy, c_phi, *_parameter_gradients(flat, parameters)


def _gradient(
    order: EdgeOrder,
    values: Values,
    parameters: Sequence[Tensor],
    gradients: tuple[Tensor | None, Tensor | None],
    more: Sequence[Tensor | None],
    kept: tuple[Tensor | None, Tensor | None],
    flat: Tensor | None,
) -> tuple[Tensor | None, ...]:
    """Gradients of table, f, weights and u from those of sums and moves, ``more`` being added to x, z, y and φ.

    ``kept`` (E, F) each takes the gradients of m and of silu(x); ``flat`` those of the parameters.
    """
    f, weights, u, x, z, y, phi = values
    width, edge_width = parameters[0].shape
    out = (
        x.new_empty(order.atoms, 2 * width),
        torch.empty_like(f),
        None if weights is None else torch.empty_like(weights),
        None if y is None or gradients[1] is None else torch.empty_like(u),
    )
    w1, w2, _, w3, _, w4 = _six(parameters)
    arguments = (
        *(f, weights, w1, w1.stride(0), w2, w3, w4, u, x, z, y, phi),
        *map(contiguous, (*gradients, *more)),
        *(*kept, *out, flat),
    )
    extra = _numbers(parameters) + order.atoms * width
    order.call("egnn_backward", width, edge_width, BUFFERS, extra, *arguments)
    return out


def _six(parameters: Sequence[Tensor]) -> tuple[Any, ...]:
    """W1, W2, b2, W3, b3, w4; the last three None where nothing moves."""
    return (*parameters, *[None] * (6 - len(parameters)))


def _numbers(parameters: Sequence[Tensor]) -> int:
    """How many numbers the gradients W1, W2, W3, b2, b3, w4 have, those that nothing moves by included."""
    width, edge_width = parameters[0].shape
    return width * edge_width + 2 * width**2 + 3 * width


def _parameter_gradients(flat: Tensor | None, parameters: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """The gradients in the order of the parameters."""
    if flat is None:
        return [None] * len(parameters)
    w1, w2, b2 = parameters[:3]
    g1, g2, g3, d2, d3, d4 = split(flat, [w1, w2, w2, b2, b2, b2])
    return [g1, g2, d2, g3, d3, d4[None]][: len(parameters)]
