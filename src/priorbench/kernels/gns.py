"""GNS's edge step: m = LayerNorm(MLP(h_i, h_j, e)), its weighted sum at the receivers, and e + m; and the same MLP alone."""

import ctypes
from typing import Any

import torch
from torch import Tensor

from priorbench.kernels.order import EdgeOrder, split


def edge_step(
    order: EdgeOrder, table: Tensor, e: Tensor, weights: Tensor | None, w1: Tensor, *rest: Tensor
) -> tuple[Tensor, Tensor]:
    """Messages from table (N, 2 F) and e (E, K): their sum at the receivers, weighted by (E,), and e + messages.

    ``w1`` (F, K) acts on e; ``rest``: W2, b2, W3, b3, γ, β.
    """
    sums, new_e = _EdgeStep.apply(order, torch.is_grad_enabled(), table, e, weights, w1, None, *rest)
    return sums, new_e


def normed_mlp(x: Tensor, w1: Tensor, b1: Tensor, *rest: Tensor) -> Tensor:
    """LayerNorm(MLP(x)) of rows x (R, K), (R, F); ``rest`` as above."""
    out: Tensor = _EdgeStep.apply(
        EdgeOrder.rows(len(x), x.device), torch.is_grad_enabled(), None, x, None, w1, b1, *rest
    )[1]
    return out


class _EdgeStep(torch.autograd.Function):
    """(table | None, e (E, K), weights (E,) | None, parameters …) → (sums (N, F) | None, new e (E, F)).

    Without a table there are no sums, and the new e is m itself.  Differentiable once; not in the weights.
    """

    @staticmethod
    def forward(
        ctx: Any,
        order: EdgeOrder,
        keep: bool,
        table: Tensor | None,
        e: Tensor,
        weights: Tensor | None,
        w1: Tensor,
        b1: Tensor | None,
        *rest: Tensor,
    ) -> tuple[Tensor | None, Tensor]:
        """``w1`` (F, K), columns of a wider matrix, and ``b1`` (F,), with a table None; rest: W2, b2, W3, b3, γ, β."""
        w2, b2, w3, b3, gain, shift = rest
        width, edge_width = w1.shape
        e = e.contiguous()
        kept = [e.new_empty(order.edges, width) for _ in range(3)] if keep else [None] * 3
        scale = e.new_empty(order.edges) if keep else None
        sums = None if table is None else e.new_empty(order.atoms, width)
        new_e = e.new_empty(order.edges, width)
        order.call(
            "gns_forward",
            width,
            edge_width,
            3,
            0,
            *(table, b1, e, weights, w1, w1.stride(0), w2, b2, w3, b3, gain, shift),
            *(*kept, scale, sums, new_e),
        )
        if keep:
            ctx.order, ctx.kept = order, (*kept, scale)
            ctx.save_for_backward(e, weights, w1, b1, *rest)
        return sums, new_e

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g_sums: Tensor | None, g_new: Tensor | None) -> tuple[Any, ...]:
        """Gradients of table, e and parameters."""
        e, weights, w1, b1, *rest = ctx.saved_tensors
        w2, b2, w3, b3, gain, shift = rest
        order, (z1, z2, normed, scale) = ctx.order, ctx.kept
        ctx.kept = None
        width, edge_width = w1.shape
        encoder = b1 is not None
        g_table = None if encoder else e.new_empty(order.atoms, 2 * width)
        g_e = torch.empty_like(e) if ctx.needs_input_grad[3] else None
        like = [w1, w2, w3, b2, b2, b3, gain, shift]
        grads = e.new_empty(sum(t.numel() for t in like))
        order.call(
            "gns_backward",
            width,
            edge_width,
            2,
            len(grads) + (0 if encoder else order.atoms * width),
            *(ctypes.c_int(encoder), e, weights, w1, w1.stride(0), w2, w3, gain, z1, z2, normed, scale),
            *(_contiguous(g_sums), _contiguous(g_new), g_table, g_e, grads),
        )
        g1, g2, g3, d1, d2, d3, g_gain, g_shift = split(grads, like)
        return None, None, g_table, g_e, None, g1, d1 if encoder else None, g2, d2, g3, d3, g_gain, g_shift


def _contiguous(g: Tensor | None) -> Tensor | None:
    return None if g is None else g.contiguous()
