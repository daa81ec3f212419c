"""Training in several processes at once, each with a share of every batch.

All of them draw and corrupt the whole batch alike, from the same generators, and then compute only their own
structures; gradients are added up over all processes before each of them takes the same step.  The result is that of
one process, but for the rounding of sums.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from priorbench.errors import PriorbenchError

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # as torchrun sets them
ADVICE = f"start with torchrun or srun, or set {', '.join(VARIABLES)}"


class Ranks:
    """This process among the ``world`` processes of a group that train a network; for each training a new one."""

    def __init__(self, rank: int, world: int) -> None:
        self.rank, self.world = rank, world
        self.trained: list[bool] | None = None  # which parameters have a gradient, the same at every step

    def share(self, weights: Sequence[int]) -> slice:
        """The items that this process computes, of a batch in which they cost ``weights``; it may be none.

        Shares are contiguous and together the batch; an item belongs where its middle lies along the summed cost.
        """
        total, end, owners = sum(weights) + len(weights), 0, []
        for weight in weights:
            owners.append((2 * end + weight + 1) * self.world // (2 * total))
            end += weight + 1  # an item without edges costs something, too
        first = sum(owner < self.rank for owner in owners)
        return slice(first, first + owners.count(self.rank))

    def add_up(self, parameters: Iterable[Tensor], value: Tensor) -> Tensor:
        """Replace gradients by their sums over all processes, and return that of ``value`` (): one message for all."""
        from torch.distributed import all_reduce

        parameters = list(parameters)
        present = [p.grad is not None for p in parameters]
        if self.trained is None:
            flags = torch.tensor(present, dtype=torch.int32, device=value.device)
            all_reduce(flags)
            self.trained = (flags > 0).tolist()
        assert not any(present) or present == self.trained, "processes differ in which parameters have a gradient"
        used = [p for p, trained in zip(parameters, self.trained, strict=True) if trained]
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in used]
        flat = torch.cat([value.detach().reshape(1), *(part.reshape(-1) for part in parts)])
        all_reduce(flat)
        for p, part in zip(used, flat[1:].split([p.numel() for p in used]), strict=True):
            p.grad = part.view_as(p)
        return flat[0]

    def any(self, flag: bool) -> bool:
        """Whether it is so in one of the processes; all must ask at the same step."""
        return bool(self._added(torch.tensor([float(flag)], dtype=torch.float64))[0] > 0)

    def agree(self, value: float) -> bool:
        """Whether all processes have the same ``value``."""
        mine = torch.tensor([value, value * value], dtype=torch.float64)
        total, squares = self._added(mine).tolist()
        return bool(total == self.world * value and squares == self.world * value * value)

    def sums(self, own: Mapping[str, Tensor], names: Iterable[str], device: torch.device) -> dict[str, Tensor]:
        """The sums () of each of the ``names`` over all processes; a process may lack some."""
        names = list(names)
        zero = torch.zeros((), dtype=torch.float64, device=device)
        values = [own[name].to(torch.float64) if name in own else zero for name in names]
        return dict(zip(names, self._added(torch.stack(values)).unbind(), strict=True))

    def _added(self, values: Tensor) -> Tensor:
        from torch.distributed import all_reduce, get_backend

        moved = values.cuda() if get_backend() == "nccl" else values
        all_reduce(moved)
        return moved

    @property
    def first(self) -> bool:
        """Whether this one writes what all have computed."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all processes have come here."""
        from torch.distributed import barrier

        barrier()

    def leave(self) -> None:
        """Take leave of the others; before the process ends."""
        from torch.distributed import destroy_process_group

        destroy_process_group()


def ranks_from_environment(device: str = "cpu") -> Ranks | None:
    """Join the processes that ``torchrun`` or ``srun`` started with this one; None where this one is alone.

    On GPUs, each process takes that of its ``LOCAL_RANK``, or the only one it sees.
    """
    environment = {**_of_slurm(os.environ), **os.environ}
    found = _read(environment)
    if found is None:
        return None
    import torch.distributed as dist

    if device == "cuda":
        torch.cuda.set_device(int(environment.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    address = f"tcp://{environment['MASTER_ADDR']}:{environment['MASTER_PORT']}"
    try:
        dist.init_process_group("nccl" if device == "cuda" else "gloo", address, rank=found[0], world_size=found[1])
    except (RuntimeError, ValueError) as error:  # DistNetworkError and its like
        raise PriorbenchError(f"rank {found[0]} of {found[1]}: {str(error).splitlines()[0]}; {ADVICE}") from None
    return Ranks(*found)


def one_of_several() -> bool:
    """Whether ``torchrun`` or ``srun`` started this process as one of several."""
    return _read({**_of_slurm(os.environ), **os.environ}) is not None


def _of_slurm(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of torchrun for a task that ``srun`` started, on one node or several; none for any other process.

    A task of a step of several has SLURM_STEP_NUM_TASKS; what a batch script starts without srun is alone.
    """
    tasks = environment.get("SLURM_STEP_NUM_TASKS", "1")
    if tasks == "1" or "SLURM_PROCID" not in environment:
        return {}
    job = int(environment.get("SLURM_JOB_ID", "0"))
    return {
        "RANK": environment["SLURM_PROCID"],
        "WORLD_SIZE": tasks,
        "LOCAL_RANK": environment.get("SLURM_LOCALID", "0"),
        # The node that srun was called on is not always the first of the step, which srun says in short form.
        "MASTER_ADDR": _first_node(environment.get("SLURM_STEP_NODELIST", "localhost")),
        "MASTER_PORT": str(20_000 + job * 7 % 20_000),
    }


def _first_node(nodes: str) -> str:
    """The first of a list of nodes as SLURM writes it: ``gpu[03-05,9],cpu1`` begins with ``gpu03``."""
    found = re.match(r"([^\[,]+)(?:\[(\d+))?", nodes)
    return f"{found[1]}{found[2] or ''}" if found else nodes


def _read(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """Rank and number of processes."""
    if environment.get("WORLD_SIZE", "1") == "1":
        return None
    if missing := [name for name in VARIABLES if name not in environment]:
        raise PriorbenchError(f"WORLD_SIZE is set, but not {', '.join(missing)}; {ADVICE}")
    rank, world = (environment[name] for name in VARIABLES[:2])
    if not (rank.isdecimal() and world.isdecimal() and int(rank) < int(world)):
        raise PriorbenchError(f"RANK {rank} of WORLD_SIZE {world}; {ADVICE}")
    return int(rank), int(world)
