"""The edges of a batch in the order that the kernels walk along them."""

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from priorbench.kernels.library import call

BLOCK = 256  # edges, as in c/common.h


class _Struct(ctypes.Structure):
    _fields_ = [
        ("atoms", ctypes.c_int64),
        ("edges", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("senders", "receivers", "offsets")),
    ]


@dataclass(frozen=True)
class EdgeOrder:
    """Edges (E,) of N atoms, sorted by receiver."""

    atoms: int
    senders: Tensor  # (E,)
    receivers: Tensor  # (E,) ascending
    offsets: Tensor  # (N + 1,) first edge of each receiver

    @classmethod
    def of(cls, senders: Tensor, receivers: Tensor, atoms: int) -> "EdgeOrder":
        """Of ``senders`` and ascending ``receivers`` (E,) among ``atoms``."""
        # The kernels read 64-bit integers whatever is given.
        senders, receivers = senders.to(torch.int64), receivers.to(torch.int64)
        counts = torch.bincount(receivers, minlength=atoms)
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return cls(atoms, senders.contiguous(), receivers.contiguous(), offsets)

    @classmethod
    def rows(cls, count: int, device: torch.device) -> "EdgeOrder":
        """Rows that have no neighbours, each a receiver of its own."""
        numbers = torch.arange(count + 1, device=device)
        return cls(count, numbers[:-1], numbers[:-1], numbers)

    @property
    def edges(self) -> int:
        """Number of edges E."""
        return len(self.receivers)

    def call(self, name: str, width: int, edge_width: int, buffers: int, extra: int, *arguments: Any) -> None:
        """Call the kernel ``name`` on these edges; a thread gets ``buffers`` blocks and ``extra`` numbers to work in.

        The first tensor among the ``arguments`` says which precision.
        """
        like = next(a for a in arguments if isinstance(a, Tensor))
        threads, stride = torch.get_num_threads(), buffers * BLOCK * width + extra
        tensors = (self.senders, self.receivers, self.offsets)
        struct = _Struct(self.atoms, self.edges, *(t.data_ptr() for t in tensors))
        work = like.new_empty(threads * stride)
        call(name, like.dtype, ctypes.byref(struct), width, edge_width, ctypes.c_int(threads), work, stride, *arguments)


def turned(width: int, edge_width: int) -> int:
    """How many numbers the transposed weights W1 (F, K), W2 and W3 (F, F) take of a thread's work."""
    return width * edge_width + 2 * width**2


def apply(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    """Call an autograd function."""
    return function.apply(*arguments)


def contiguous(tensor: Tensor | None) -> Tensor | None:
    """The tensor with its elements in a row, which autograd does not promise of gradients."""
    return None if tensor is None else tensor.contiguous()


def split(flat: Tensor, like: list[Tensor]) -> list[Tensor]:
    """``flat`` cut into tensors of the shapes of ``like``."""
    return [part.view(t.shape) for part, t in zip(flat.split([t.numel() for t in like]), like, strict=True)]
