"""ForceNet's interaction: filters MLP(h_i, h_j, f), times weights and source features, summed at the receivers."""

from typing import Any

import torch
from torch import Tensor

from priorbench.kernels.order import EdgeOrder, split


class FilterSum(torch.autograd.Function):
    """(table (N, 2 F), f (E, K), weights (E,), source (N, F), W1, W2, b2, W3, b3) → sums (N, F).

    Differentiable once; not in the weights.
    """

    @staticmethod
    def forward(
        ctx: Any,
        order: EdgeOrder,
        keep: bool,
        table: Tensor,
        f: Tensor,
        weights: Tensor,
        source: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        """``parameters``: W1 (F, K), W2 (F, F), b2 (F,), W3 (F, F), b3 (F,)."""
        width, edge_width = parameters[0].shape
        f, source = f.contiguous(), source.contiguous()
        kept = [f.new_empty(order.edges, width) for _ in range(2)] if keep else [None, None]
        sums = f.new_empty(order.atoms, width)
        order.call("forcenet_forward", width, edge_width, 4, 0, table, f, weights, source, *parameters, *kept, sums)
        if keep:
            ctx.order, ctx.kept = order, kept
            ctx.save_for_backward(table, f, weights, source, *parameters)
        return sums

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g_sums: Tensor) -> tuple[Any, ...]:
        """Gradients of table, f, source and parameters."""
        table, f, weights, source, w1, w2, b2, w3, b3 = ctx.saved_tensors
        order, kept = ctx.order, ctx.kept
        ctx.kept = None
        width, edge_width = w1.shape
        like = [w1, w2, w3, b2, b3]
        grads = f.new_empty(sum(t.numel() for t in like))
        g_table, g_source = torch.empty_like(table), torch.empty_like(source)
        g_f = torch.empty_like(f) if ctx.needs_input_grad[3] else None
        order.call(
            "forcenet_backward",
            width,
            edge_width,
            4,
            len(grads) + 2 * order.atoms * width,
            *(table, f, weights, source, w1, w2, w3, *kept, g_sums.contiguous()),
            *(g_table, g_f, g_source, grads),
        )
        g1, g2, g3, d2, d3 = split(grads, like)
        return None, None, g_table, g_f, None, g_source, g1, g2, d2, g3, d3
