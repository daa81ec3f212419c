"""GNS's edge step, m = LayerNorm(MLP(h_i, h_j, e)) summed at the receivers and added to e, and the same MLP of rows."""

import ctypes
from typing import Any

import torch
from torch import Tensor

from priorbench.kernels.order import BLOCK, EdgeOrder, apply, contiguous, split, turned

HIDDEN = 3  # tensors (E, F) that a step keeps for its backward pass


def edge_step(
    order: EdgeOrder,
    table: Tensor,
    e: Tensor,
    weights: Tensor | None,
    w1: Tensor,
    *rest: Tensor,
    updated: bool,
    keep: bool,
    alone: bool,
) -> tuple[Tensor, Tensor | None]:
    """Messages from table (N, 2 F) and e (E, F): their sum at the receivers, weighted by (E,), and e + messages.

    ``w1`` (F, F) acts on e; ``rest``: W2, b2, W3, b3, γ, β.  Where e + messages is not asked for as ``updated`` it is
    None.  Without ``keep``, hidden values are computed a second time in the backward pass.  ``alone``: e + messages is
    read by one further edge step and by nothing else, so that the gradient that comes from there may be overwritten.
    Differentiable once; not in the weights.
    """
    sums, new_e = apply(_EdgeStep, order, _kept(keep), updated, alone, table, e, weights, w1, None, *rest)
    return sums, new_e


def normed_mlp(x: Tensor, w1: Tensor, b1: Tensor, *rest: Tensor, keep: bool) -> Tensor:
    """LayerNorm(MLP(x)) of rows x (R, K), (R, F); ``rest`` and ``keep`` as above.  Differentiable once."""
    rows = EdgeOrder.rows(len(x), x.device)
    out: Tensor = apply(_EdgeStep, rows, _kept(keep), True, False, None, x, None, w1, b1, *rest)[1]
    return out


def _kept(keep: bool) -> bool | None:
    """Whether hidden values are kept for a backward pass; None where there will be none."""
    return keep if torch.is_grad_enabled() else None


class _EdgeStep(torch.autograd.Function):
    """With a table messages, sums and e + messages; without, rows by themselves, and the messages are the result."""

    @staticmethod
    def forward(
        ctx: Any,
        order: EdgeOrder,
        keep: bool | None,
        updated: bool,
        alone: bool,
        table: Tensor | None,
        e: Tensor,
        weights: Tensor | None,
        w1: Tensor,
        b1: Tensor | None,
        *rest: Tensor,
    ) -> tuple[Tensor | None, Tensor | None]:
        width, edge_width = w1.shape
        e = e.contiguous()
        kept = [e.new_empty(order.edges, width) if keep else None for _ in range(HIDDEN)]
        scale = e.new_empty(order.edges) if keep else None
        sums = None if table is None else e.new_empty(order.atoms, width)
        new_e = e.new_empty(order.edges, width) if updated else None
        arguments = (table, b1, e, weights, w1, w1.stride(0), *rest, *kept, scale, sums, new_e)
        order.call("gns_forward", width, edge_width, 3, BLOCK + turned(width, edge_width), *arguments)
        ctx.set_materialize_grads(False)
        if keep is not None:
            ctx.order, ctx.kept, ctx.alone = order, (*kept, scale), alone
            ctx.save_for_backward(None if keep else table, e, weights, w1, b1, *rest)
        return sums, new_e

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g_sums: Tensor | None, g_new: Tensor | None) -> tuple[Any, ...]:
        table, e, weights, w1, b1, w2, b2, w3, b3, gain, shift = ctx.saved_tensors
        order, kept, rows = ctx.order, ctx.kept, b1 is not None
        ctx.kept = None
        width, edge_width = w1.shape
        g_table = None if rows else e.new_empty(order.atoms, 2 * width)
        g_sums, g_new = contiguous(g_sums), contiguous(g_new)
        g_e = None
        if ctx.needs_input_grad[5]:
            if rows or g_new is None:
                g_e = torch.empty_like(e)
            else:  # what came by way of e + messages is added to
                g_e = g_new = g_new if ctx.alone else g_new.clone()
        like = [w1, w2, w3, b2, b2, b3, gain, shift]
        grads = e.new_empty(sum(t.numel() for t in like))
        again = kept[0] is None
        arguments = (
            *(ctypes.c_int(again), table, b1, e, weights, w1, w1.stride(0), w2, b2, w3, b3, gain),
            *(*kept, g_sums, g_new, g_table, g_e, grads),
        )
        extra = len(grads) + (0 if rows else order.atoms * width) + again * (BLOCK + turned(width, edge_width))
        order.call("gns_backward", width, edge_width, 5 if again else 2, extra, *arguments)
        g1, g2, g3, d1, d2, d3, g_gain, g_shift = split(grads, like)
        return None, None, None, None, g_table, g_e, None, g1, d1 if rows else None, g2, d2, g3, d3, g_gain, g_shift
