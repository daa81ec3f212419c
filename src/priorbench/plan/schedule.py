"""Wall time on several cores: jobs are begun as soon as what they wait for is done, the longest way ahead first."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from priorbench.plan.generation import Generation
from priorbench.plan.lines import Line


@dataclass(frozen=True)
class Job:
    """On one core, after the jobs at the places ``needs``, which come before it in the list."""

    seconds: float
    needs: tuple[int, ...] = ()


def wall_seconds(jobs: Sequence[Job], cores: int) -> float:
    """From the start of the first job to the end of the last."""
    ahead = [job.seconds for job in jobs]
    for place in range(len(jobs) - 1, -1, -1):
        for need in jobs[place].needs:
            ahead[need] = max(ahead[need], jobs[need].seconds + ahead[place])
    waiting = {place: set(job.needs) for place, job in enumerate(jobs)}
    ready = [(-ahead[place], place) for place, needs in waiting.items() if not needs]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < cores:
            place = heapq.heappop(ready)[1]
            heapq.heappush(running, (now + jobs[place].seconds, place))
        now, done = heapq.heappop(running)
        for place in range(done + 1, len(jobs)):
            if done in waiting[place]:
                waiting[place].discard(done)
                if not waiting[place]:
                    heapq.heappush(ready, (-ahead[place], place))
    return now


def jobs_of(lines: Sequence[Line], data: Sequence[Generation], seeds_per_job: int, other: Sequence[float]) -> list[Job]:
    """The jobs of an experiment: parts of its data, pretrainings, finetunings.

    ``other`` are seconds of small jobs, which are taken to wait for nothing.
    """
    jobs = [Job(seconds) for seconds in other]
    after: dict[str, tuple[int, ...]] = {}
    for made in data:
        after[made.dataset] = tuple(range(len(jobs), len(jobs) + made.parts))
        jobs += [Job(made.seconds or 0.0)] * made.parts
    pretrained: dict[tuple[str, str, str, int], int] = {}
    for line in sorted(lines, key=lambda each: each.stage.kind != "pretrain"):
        stage = line.stage
        for first in range(0, len(line.seconds), seeds_per_job):
            own = line.seconds[first : first + seeds_per_job]
            seconds = sum(s.total for s in own) + line.starts * seeds_per_job / stage.runs
            for parent in stage.parents:
                needs = after[stage.dataset]
                if parent and (place := pretrained.get((parent[0], stage.backbone, parent[1], first))) is not None:
                    needs = (*needs, place)
                jobs.append(Job(seconds, needs))
            if stage.kind == "pretrain":
                pretrained[stage.dataset, stage.backbone, stage.name, first] = len(jobs) - 1
    return jobs
