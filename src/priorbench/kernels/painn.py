"""PaiNN's message block, differentiable twice: what an atom receives is linear in each of what it is made of."""

from typing import Any

import torch
from torch import Tensor

from priorbench.kernels.order import EdgeOrder, apply, contiguous


def messages(
    order: EdgeOrder, table: Tensor, filters: Tensor, directions: Tensor, vectors: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Sums at each receiver of what its senders j send: scalars (N, F) and vectors (N, 3, F).

    With ``table`` (N, 3 F), ``filters`` (E, 3 F), their product m = (m1, m2, m3) of each edge, ``directions`` (E, 3)
    and ``vectors`` v (N, 3, F), zero where None: the sums of m1 and of m2 ⊗ direction + m3 ∘ v_j.
    """
    sums: tuple[Tensor, Tensor] = apply(_Messages, order, table, filters, directions, vectors)
    return sums


class _Messages(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, order: EdgeOrder, *inputs: Tensor | None) -> tuple[Tensor, Tensor]:
        dense = [contiguous(t) for t in inputs]
        table = dense[0]
        assert table is not None
        width = table.shape[1] // 3
        scalars, vectors = table.new_empty(order.atoms, width), table.new_empty(order.atoms, 3, width)
        order.call("painn_forward", width, 0, 0, 0, *dense, scalars, vectors)
        ctx.order = order
        ctx.save_for_backward(*dense)
        return scalars, vectors

    @staticmethod
    def backward(ctx: Any, g_scalars: Tensor, g_vectors: Tensor) -> tuple[Any, ...]:
        return None, *apply(_MessagesGradient, ctx.order, *ctx.saved_tensors, g_scalars, g_vectors)


class _MessagesGradient(torch.autograd.Function):
    """Gradients of table, filters, directions and vectors as functions of these and of the gradients of the sums."""

    @staticmethod
    def forward(ctx: Any, order: EdgeOrder, *inputs: Tensor | None) -> tuple[Tensor | None, ...]:
        dense = [contiguous(t) for t in inputs]
        gradients = [None if t is None else torch.empty_like(t) for t in dense[:4]]
        _call(order, "painn_backward", dense, gradients)
        ctx.order = order
        ctx.save_for_backward(*dense)
        return tuple(gradients)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        inputs = ctx.saved_tensors
        back = [None if t is None else torch.empty_like(t) for t in inputs]
        _call(ctx.order, "painn_second", [*inputs, *map(contiguous, gradients)], back)
        return None, *back


def _call(order: EdgeOrder, name: str, given: list[Tensor | None], made: list[Tensor | None]) -> None:
    table, vectors = given[0], given[3]
    assert table is not None
    extra = table.numel() * (1 if vectors is None else 2)
    order.call(name, table.shape[1] // 3, 0, 0, extra, *given, *made)
