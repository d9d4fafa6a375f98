"""How large each expert is: LoRKD gives all one rank, LoRKD* reads them off the warm-up."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Int
from pydantic import ConfigDict, Field
from torch import Tensor, nn

from medistill.losses.collective import mean_over_processes
from medistill.methods._objectives import Judged

Rank = Annotated[int, Field(ge=1)]
Rounding = Literal["nearest_even", "floor_even"]
HAIR = 1e-9
ENDS = 0.05  # share of the warm-up that is averaged at its beginning, and at its end


@dataclass(frozen=True, kw_only=True)
class Experts:
    """What is added to each convolution for one region of the body.

    Args:
        rank: Of every expert, or on the average of the unequal ones, about.
        alpha: An expert of rank r adds alpha / r times the product of its factors.
        scaling: Or alpha / 8 times, whatever the rank: `fixed`. By default as in the authors' code:
            `fixed` where ranks differ, `alpha_over_r` where they do not.
        allocation: One rank for all, LoRKD, or more to those whose loss falls much in the warm-up,
            LoRKD*.
        rounding: Of unequal ranks: to the nearest even number, as the text says, or down to one,
            which alone fits all ranks that the authors released.
        min_rank: The least of them.
        max_rank: The largest of them; None for no bound.
        absent: What becomes of an expert that no sample of a batch needs: it stays as it is, or, as
            in the authors' code, its gradient is zero, so that momentum and decay move it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    rank: Rank = 8
    alpha: Annotated[float, Field(gt=0)] = 16.0
    scaling: Literal["alpha_over_r", "fixed"] | None = None
    allocation: Literal["equal", "loss_reduction"] = "equal"
    rounding: Rounding = "nearest_even"
    min_rank: Rank = 2
    max_rank: Rank | None = None
    absent: Literal["untouched", "zero_gradient"] = "untouched"

    @property
    def unequal(self) -> bool:
        """Whether ranks are read off the warm-up."""
        return self.allocation == "loss_reduction"

    @property
    def scaled(self) -> Literal["alpha_over_r", "fixed"]:
        """The scaling that is asked for, or that of the authors' code."""
        return self.scaling or ("fixed" if self.unequal else "alpha_over_r")

    def allocated(self, reductions: Sequence[float | None]) -> list[int]:
        """Ranks by how much the loss of each expert's tasks fell; see `allocated`."""
        return allocated(
            reductions,
            self.rank,
            rounding=self.rounding,
            min_rank=self.min_rank,
            max_rank=self.max_rank,
        )


ALL_EQUAL = Experts()


def allocated(
    reductions: Sequence[float | None],
    rank: int,
    *,
    rounding: Rounding = "nearest_even",
    min_rank: int = 2,
    max_rank: int | None = None,
) -> list[int]:
    """Equation 2 of LoRKD: rank times the square of each reduction over their mean, made even.

    Args:
        reductions: By how much each loss fell; None where there was none, and the rank stays. One
            that grew counts as 0: squared, it would be rewarded.
        rank: That of equal reductions, if it is even.
        rounding: To the nearest even number, ties upwards, or down to one.
        min_rank: What smaller ranks become, or the even number above it.
        max_rank: What larger ranks become, or the even number below it.
    """
    known = [max(0.0, fell) for fell in reductions if fell is not None]
    mean = sum(known) / len(known) if known else 0.0
    if mean == 0:
        return [rank] * len(reductions)
    half = 0.5 if rounding == "nearest_even" else 0.0
    least, most = 2 * math.ceil(min_rank / 2), math.inf if max_rank is None else max_rank // 2 * 2
    ranks = []
    for fell in reductions:
        raw = rank if fell is None else rank * (max(0.0, fell) / mean) ** 2
        # A hair above, for a mean of equal numbers may differ from them in the last bit.
        even = 2 * math.floor(raw / 2 + half + HAIR)
        ranks.append(int(max(least, min(even, most))))
    return ranks


class LossRecord(nn.Module):
    """The loss of each expert's tasks in every step of the warm-up, until it is read.

    It is part of the state, so that a training resumed in the warm-up decides the same ranks.

    Args:
        experts: How many.
        open: Whether there is anything to decide.
    """

    def __init__(self, experts: int, *, open: bool) -> None:
        super().__init__()
        self.experts = experts
        self.open = open
        self._steps: list[Tensor] = []

    def add(self, judged: Judged, experts: Int[Tensor, " pieces"]) -> None:
        """Note one step: the mean loss of each expert over the batch of all processes.

        Args:
            judged: The loss of each piece.
            experts: Whose piece it is.
        """
        if self.open:
            weighted = torch.stack([judged.each.detach() * judged.weights, judged.weights])
            sums = weighted.new_zeros(2, self.experts).index_add(1, experts, weighted)
            losses, weights = mean_over_processes(sums)
            self._steps.append(losses / weights)  # 0/0 where an expert has no sample

    def close(self) -> list[float | None]:
        """By how much each loss fell; the record is used up.

        Of the steps in which an expert had samples, the mean of the last 5 % is subtracted from
        that of the first. None where it never had any.
        """
        table = self._table()
        self.open, self._steps = False, []
        return [_fall(column[~column.isnan()]) for column in table.unbind(1)]

    def get_extra_state(self) -> dict[str, Any]:
        """The losses so far, and whether they are still to be read."""
        return {"open": self.open, "losses": self._table()}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.open, self._steps = state["open"], list(state["losses"].unbind(0))

    def _table(self) -> Tensor:
        rows = [step.cpu() for step in self._steps]
        return torch.stack(rows) if rows else torch.empty(0, self.experts)


def _fall(losses: Tensor) -> float | None:
    if not len(losses):
        return None
    count = math.ceil(ENDS * len(losses))
    return float(losses[:count].mean() - losses[-count:].mean())
