"""EGNN's edge layer, differentiable twice.

Forces are a gradient of the energy, and training them takes the gradient of that gradient.  Three passes are written
out: values, their gradient, and the gradient of the gradient.  What flows back into the hidden values x, z, y from the
third pass is added in the first pass's own backward, so no product is computed twice: to autograd the hidden values
are outputs of the layer.
"""

from typing import Any

import torch
from torch import Tensor

from priorbench.kernels.order import EdgeOrder, split

Parameters = tuple[Tensor, ...]  # W1 (F, K), W2 (F, F), b2 (F,) and, with moves, W3 (F, F), b3 (F,), w4 (1, F)
BUFFERS = 4


class EdgeLayer(torch.autograd.Function):
    """(table (N, 2 F), f (E, K), weights (E,) | None, u (E, 3), …) → (sums (N, F), moves (N, 3) | None, x, z, y, φ).

    x = table + f·W1ᵀ, z = silu(x)·W2ᵀ + b2, m = weights · silu(z), y = m·W3ᵀ + b3, φ = silu(y)·w4; sums of m at the
    receivers, and as moves the mean of −u φ.  ``weight_gradients`` says whether a backward pass without a graph wants
    those of the parameters; one with a graph never gives them.
    """

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
        """Sums and moves, and with ``keep`` the hidden values x, z, y (E, F) and φ (E,) after them."""
        width, edge_width = parameters[0].shape
        moving, f = len(parameters) == 6, f.contiguous()
        w1, w2, b2, w3, b3, w4 = (*parameters, *[None] * (6 - len(parameters)))
        hidden = [f.new_empty(order.edges, width) if keep and k < 2 + moving else None for k in range(3)]
        sums = f.new_empty(order.atoms, width)
        moves, phi = (f.new_empty(order.atoms, 3), f.new_empty(order.edges)) if moving else (None, None)
        order.call(
            "egnn_forward",
            width,
            edge_width,
            BUFFERS,
            0,
            *(table, f, weights, w1, w1.stride(0), w2, b2, w3, b3, w4, u, *hidden, phi, sums, moves),
        )
        hidden.append(phi)
        ctx.order, ctx.weight_gradients = order, weight_gradients
        ctx.set_materialize_grads(False)
        if keep:
            ctx.save_for_backward(f, weights, u, *hidden, *parameters)
        return sums, moves, *hidden

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor | None) -> tuple[Any, ...]:
        """Gradients of table, f, weights and, without a graph, the parameters."""
        f, weights, u, x, z, y, phi, *parameters = ctx.saved_tensors
        g_sums, g_moves, *more = outputs
        if torch.is_grad_enabled():
            gradients = EdgeGradient.apply(ctx.order, g_sums, g_moves, f, weights, u, x, z, y, phi, *parameters)
            return None, None, None, *gradients, *[None] * len(parameters)
        values, wanted = (f, weights, u, x, z, y, phi), ctx.weight_gradients
        *gradients, grads = _backward(
            ctx.order, values, tuple(parameters), (g_sums, g_moves), tuple(more), (None, None), wanted
        )
        return None, None, None, *gradients, *(grads or [None] * len(parameters))


class EdgeGradient(torch.autograd.Function):
    """Gradients (table, f, weights, u) of :class:`EdgeLayer` as functions of its hidden values, differentiable again."""

    @staticmethod
    def forward(
        ctx: Any,
        order: EdgeOrder,
        g_sums: Tensor | None,
        g_moves: Tensor | None,
        f: Tensor,
        weights: Tensor | None,
        u: Tensor,
        x: Tensor,
        z: Tensor,
        y: Tensor | None,
        phi: Tensor | None,
        *parameters: Tensor,
    ) -> tuple[Tensor | None, ...]:
        """Gradients of table (N, 2 F), f (E, K), weights (E,) and u (E, 3)."""
        gm, gs = torch.empty_like(x), torch.empty_like(x)
        *gradients, _ = _backward(
            order, (f, weights, u, x, z, y, phi), parameters, (g_sums, g_moves), (None,) * 4, (gm, gs), False
        )
        ctx.order, ctx.kept = order, (gm, gs)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(g_moves, weights, u, x, z, y, phi, *parameters)
        return tuple(gradients)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, u_table: Tensor | None, u_f: Tensor | None, u_w: Tensor | None, u_u: Tensor | None
    ) -> tuple[Any, ...]:
        """What flows back into g_sums, g_moves, weights, u, x, z, y, φ and the parameters."""
        g_moves, weights, u, x, z, y, phi, *parameters = ctx.saved_tensors
        order, (gm, gs) = ctx.order, ctx.kept
        ctx.kept = None
        width, edge_width = parameters[0].shape
        moving = len(parameters) == 6
        w1, w2, b2, w3, b3, w4 = (*parameters, *[None] * (6 - len(parameters)))
        if u_table is None:
            u_table = x.new_zeros(order.atoms, 2 * width)
        if_sums, if_moves = ctx.needs_input_grad[1:3]
        if moving and g_moves is None:
            g_moves = x.new_zeros(order.atoms, 3)
        cy, c_phi, c_u, c_moves = (map(torch.empty_like, (x, phi, u, g_moves))) if moving else (None,) * 4
        c_sums = x.new_empty(order.atoms, width)
        c_w = None if weights is None else torch.empty_like(weights)
        grads = x.new_empty(width * edge_width + 2 * width**2 + 3 * width)
        # The gradients of x and z take the place of gs and gm, which each edge reads for the last time as it writes.
        order.call(
            "egnn_second",
            width,
            edge_width,
            BUFFERS,
            len(grads),
            *(weights, w1, w1.stride(0), w2, w3, w4, u, x, z, y, phi, gm, gs, _dense(g_moves)),
            *map(_dense, (u_table, u_f, u_w, u_u)),
            *(gs, gm, cy, c_phi, c_w, c_u, c_sums, c_moves, grads),
        )
        flows = (c_sums if if_sums else None, c_moves if if_moves else None)
        return None, *flows, None, c_w, c_u, gs, gm, cy, c_phi, *_parameter_gradients(grads, tuple(parameters))


def _backward(
    order: EdgeOrder,
    values: tuple[Tensor, Tensor | None, Tensor, Tensor, Tensor, Tensor | None, Tensor | None],
    parameters: Parameters,
    gradients: tuple[Tensor | None, Tensor | None],
    more: tuple[Tensor | None, ...],
    kept: tuple[Tensor | None, Tensor | None],
    weight_gradients: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, list[Tensor] | None]:
    """Gradients of table, f, weights, u and parameters; ``more`` is added to those of x, z, y and φ."""
    f, weights, u, x, z, y, phi = values
    width, edge_width = parameters[0].shape
    w1, w2, b2, w3, b3, w4 = (*parameters, *[None] * (6 - len(parameters)))
    g_table, g_f = x.new_empty(order.atoms, 2 * width), torch.empty_like(f)
    g_w = None if weights is None else torch.empty_like(weights)
    g_u = None if gradients[1] is None or w3 is None else torch.empty_like(u)
    count = width * edge_width + 2 * width**2 + 3 * width
    grads = x.new_empty(count) if weight_gradients else None
    order.call(
        "egnn_backward",
        width,
        edge_width,
        BUFFERS,
        count + order.atoms * width,
        *(f, weights, w1, w1.stride(0), w2, w3, w4, u, x, z, y, phi, *map(_dense, gradients), *map(_dense, more)),
        *(*kept, g_table, g_f, g_w, g_u, grads),
    )
    return g_table, g_f, g_w, g_u, None if grads is None else _parameter_gradients(grads, parameters)


def _parameter_gradients(flat: Tensor, parameters: Parameters) -> list[Tensor]:
    """The kernels' order W1, W2, W3, b2, b3, w4 → that of the parameters."""
    w1, w2, b2 = parameters[:3]
    g1, g2, g3, d2, d3, d4 = split(flat, [w1, w2, w2, b2, b2, b2])
    return [g1, g2, d2, g3, d3, d4[None]][: len(parameters)]


def _dense(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()
