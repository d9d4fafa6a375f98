"""Which expert each sample of a batch takes: set once, seen by all layers of a network."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, groupby, pairwise
from typing import cast

import torch
from torch import Tensor, nn

from medistill.models.lowrank.factors import Expert, Pair, stacked


@dataclass(frozen=True)
class Run:
    """Consecutive samples of tasks that have equally many of them.

    What is done for each task is then one batched product for all of them.

    Args:
        tasks: How many tasks.
        samples: How many samples each has.
    """

    tasks: int
    samples: int


@dataclass(frozen=True)
class Team:
    """Consecutive runs whose experts have one rank, and so one stack of factors.

    Args:
        tasks: In the order of their samples.
        runs: Of their samples.
        first: Place of the first sample.
        scale: What the product of the factors is multiplied by.
    """

    tasks: tuple[int, ...]
    runs: tuple[Run, ...]
    first: int
    scale: float

    @cached_property
    def counts(self) -> list[int]:
        """Samples of each task."""
        return [run.samples for run in self.runs for _ in range(run.tasks)]

    @cached_property
    def samples(self) -> slice:
        """Where the samples stand."""
        return slice(self.first, self.first + sum(self.counts))

    @cached_property
    def chunks(self) -> list[slice]:
        """Where those of each task stand."""
        ends = [self.first, *(self.first + count for count in accumulate(self.counts))]
        return [slice(start, end) for start, end in pairwise(ends)]

    def rows(self, matrix: Tensor, pixels: int) -> list[Tensor]:
        """For each run the rows of its tasks, (tasks, rows, columns).

        Args:
            matrix: With some rows for each sample of the batch.
            pixels: How many these are.
        """
        return self.runs_of(matrix[self.samples.start * pixels : self.samples.stop * pixels])

    def runs_of(self, rows: Tensor) -> list[Tensor]:
        """Likewise, of rows of the team alone."""
        pixels = len(rows) // sum(self.counts)
        parts = rows.split_with_sizes([run.tasks * run.samples * pixels for run in self.runs])
        return [
            part.view(run.tasks, run.samples * pixels, -1)
            for part, run in zip(parts, self.runs, strict=True)
        ]

    def stacks(self, factors: Tensor) -> tuple[Tensor, ...]:
        """For each run what belongs to its tasks, of a stack for all tasks of the team."""
        return factors.split_with_sizes([run.tasks for run in self.runs])


@dataclass(frozen=True)
class Route:
    """Where the samples of one batch go.

    Args:
        teams: Of the samples in their order, for layers of each multiple.
        factors: For each layer, those of each team.
        samples: How many there are.
        order: In which the samples must come; None where they do.
        shares: Of each expert in each sample, where experts are mixed.
    """

    teams: Mapping[int, tuple[Team, ...]]
    factors: tuple[tuple[Pair, ...], ...]
    samples: int
    order: Tensor | None = None
    shares: Tensor | None = None


class Routing:
    """What all expert convolutions of a network look at.

    Args:
        experts: By task; whoever replaces one there replaces it here.
    """

    def __init__(self, experts: nn.ModuleList) -> None:
        self._experts = cast(Sequence[Expert], experts)
        self._routes: list[Route | None] = []

    @property
    def route(self) -> Route | None:
        """That of the batch at hand; None where no expert takes part.

        Raises:
            RuntimeError: Nobody said where the samples go.
        """
        if not self._routes:
            raise RuntimeError(
                "A network with experts was called outside `with routing.to(tasks):`, which says "
                "whose experts to use; `routing.to(None)` uses none."
            )
        return self._routes[-1]

    @contextmanager
    def to(self, tasks: Tensor | None) -> Iterator[None]:
        """Inside, the network treats its batch so.

        Args:
            tasks: The task of each sample; or the share of each task in each sample, of shape
                (batch, tasks); or None for the shared backbone alone. Shares that need no gradient
                and give each sample to one task are tasks, at the price of those.
        """
        with self._set(None if tasks is None else self._routed(tasks)):
            yield

    def sorted(self, route: Route) -> AbstractContextManager[None]:
        """Inside, the samples come in the order that the route asks for."""
        return self._set(replace(route, order=None))

    def order(self, tasks: Tensor) -> Tensor:
        """The order of the samples in which those of a task, and tasks of a run, stand together."""
        order = self._order(self._listed(tasks))
        return torch.tensor(order, dtype=torch.long, device=tasks.device)

    @contextmanager
    def _set(self, route: Route | None) -> Iterator[None]:
        # A stack, for `sorted` sets another route within that of `to`.
        self._routes.append(route)
        try:
            yield
        finally:
            self._routes.pop()

    def _routed(self, tasks: Tensor) -> Route:
        if tasks.ndim == 2:
            self._refuse_other_shares(tasks)
            if not _one_each(tasks):
                return self._mixed(tasks)
            tasks = tasks.int().argmax(1)
        listed = self._listed(tasks)
        order = self._order(listed)
        counts = Counter(listed[place] for place in order)
        moved = None
        if order != list(range(len(order))):
            moved = torch.tensor(order, device=tasks.device)
        return self._along(counts, len(listed), order=moved)

    def _mixed(self, shares: Tensor) -> Route:
        """Every expert once: the samples keep their order."""
        every = sorted(range(len(self._experts)), key=self._rank)
        return self._along(dict.fromkeys(every, 1), len(shares), shares=shares)

    def _refuse_other_shares(self, shares: Tensor) -> None:
        if shares.shape[1] != len(self._experts):
            raise ValueError(f"{shares.shape[1]} shares a sample for {len(self._experts)} experts")

    def _listed(self, tasks: Tensor) -> list[int]:
        listed: list[int] = tasks.tolist()
        wrong = [task for task in listed if not 0 <= task < len(self._experts)]
        if wrong:
            raise ValueError(
                f"There are {len(self._experts)} experts, but the batch holds task {wrong[0]}. "
                "Order the tasks as the dataset does."
            )
        return listed

    def _order(self, tasks: list[int]) -> list[int]:
        counts = Counter(tasks)
        # First by rank, for one stack of factors; then by count, for one batched product.
        places = {task: (self._rank(task), counts[task], task) for task in counts}
        return sorted(range(len(tasks)), key=lambda sample: (places[tasks[sample]], sample))

    def _along(self, counts: Mapping[int, int], samples: int, **rest: Tensor | None) -> Route:
        """For tasks in the order of their samples, which are so many each."""
        ranked = [list(members) for _, members in groupby(counts, key=self._rank)]
        multiples = {layer.multiple for layer in self._experts[0].layers}
        teams = {multiple: self._teams(ranked, counts, multiple) for multiple in multiples}
        by_team = [stacked([self._experts[task] for task in tasks]) for tasks in ranked]
        return Route(teams, tuple(zip(*by_team, strict=True)), samples, **rest)

    def _teams(
        self, ranked: Sequence[Sequence[int]], counts: Mapping[int, int], multiple: int
    ) -> tuple[Team, ...]:
        teams, first = [], 0
        for tasks in ranked:
            runs = tuple(
                Run(len(list(same)), n) for n, same in groupby(counts[task] for task in tasks)
            )
            scale = self._experts[tasks[0]].scale(multiple)
            teams.append(Team(tuple(tasks), runs, first, scale))
            first = teams[-1].samples.stop
        return tuple(teams)

    def _rank(self, task: int) -> int:
        return self._experts[task].rank


def _one_each(shares: Tensor) -> bool:
    """Whether every sample is one task's alone, and no gradient of the shares is asked for."""
    if shares.requires_grad:
        return False
    # Elementwise, for a sum of shares such as 1, 1 and -1 is 1 too.
    return bool((((shares == 0) | (shares == 1)).all(1) & (shares.sum(1) == 1)).all())
