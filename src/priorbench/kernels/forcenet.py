"""ForceNet's interaction: filters MLP(h_i, h_j, f), times weights and source features, summed at the receivers."""

from typing import Any

import torch
from torch import Tensor

from priorbench.kernels.order import EdgeOrder, apply, split, turned

BUFFERS = 4  # blocks of workspace


def filter_sum(
    order: EdgeOrder, table: Tensor, f: Tensor, weights: Tensor, source: Tensor, *parameters: Tensor
) -> Tensor:
    """Σ_j weights · filters · source_j at each receiver, (N, F).

    Filters silu(silu(table + f·W1ᵀ)·W2ᵀ + b2)·W3ᵀ + b3 of table (N, 2 F) and f (E, K); ``weights`` (E,), ``source``
    (N, F); ``parameters``: W1 (F, K), W2 (F, F), b2 (F,), W3 (F, F), b3 (F,).  Differentiable once; not in the weights.
    """
    sums: Tensor = apply(_FilterSum, order, torch.is_grad_enabled(), table, f, weights, source, *parameters)
    return sums


class _FilterSum(torch.autograd.Function):
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
        width, edge_width = parameters[0].shape
        f, source = f.contiguous(), source.contiguous()
        parameters = tuple(p.contiguous() for p in parameters)
        kept = [f.new_empty(order.edges, width) for _ in range(2)] if keep else [None, None]
        sums = f.new_empty(order.atoms, width)
        arguments = (table, f, weights, source, *parameters, *kept, sums)
        order.call("forcenet_forward", width, edge_width, BUFFERS, turned(width, edge_width), *arguments)
        if keep:
            ctx.order, ctx.kept = order, kept
            ctx.save_for_backward(table, f, weights, source, *parameters)
        return sums

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g_sums: Tensor) -> tuple[Any, ...]:
        table, f, weights, source, w1, w2, b2, w3, b3 = ctx.saved_tensors
        order, kept = ctx.order, ctx.kept
        ctx.kept = None
        like = [w1, w2, w3, b2, b3]
        grads = f.new_empty(sum(t.numel() for t in like))
        g_table, g_source = torch.empty_like(table), torch.empty_like(source)
        g_f = torch.empty_like(f) if ctx.needs_input_grad[3] else None
        arguments = (
            *(table, f, weights, source, w1, w2, w3, *kept, g_sums.contiguous()),
            *(g_table, g_f, g_source, grads),
        )
        extra = len(grads) + 2 * g_source.numel() + w1.numel()
        order.call("forcenet_backward", *w1.shape, BUFFERS, extra, *arguments)
        g1, g2, g3, d2, d3 = split(grads, like)
        return None, None, g_table, g_f, None, g_source, g1, g2, d2, g3, d3


ROWS = 8192  # at a time: their sines fit a core's cache


def sine_linear(x: Tensor, powers: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Linear layer (O, C K) of sin(x · powers), x (E, C) and powers (K,), (E, O), without keeping E C K sines.

    Differentiable once, in weight and bias alone.
    """
    out: Tensor = apply(_SineLinear, x, powers, weight, bias)
    return out


def _sines(x: Tensor, powers: Tensor) -> Tensor:
    return (x.unsqueeze(2) * powers).sin_().flatten(1)


class _SineLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, powers: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, powers)
        parts = [torch.nn.functional.linear(_sines(part, powers), weight, bias) for part in x.split(ROWS)]
        return torch.cat(parts)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        x, powers = ctx.saved_tensors
        g_weight = g.new_zeros(g.shape[1], x.shape[1] * len(powers))
        for rows, part in zip(x.split(ROWS), g.split(ROWS), strict=True):
            torch.addmm(g_weight, part.t(), _sines(rows, powers), out=g_weight)
        return None, None, g_weight, g.sum(0)
