"""What differs between kinds of task where a network is decomposed into experts."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from jaxtyping import Float, Int
from pydantic import ConfigDict
from torch import Tensor, nn

from medistill.methods._settings import Temperature, Weight
from medistill.types import Batch, Output


class Judged(NamedTuple):
    """The supervised loss, piece by piece.

    Args:
        each: Loss of each sample; of a segmentation, of each query of each sample.
        weights: Of each in the mean; 0 where there is nothing to learn from.
        tasks: Task of each.
    """

    each: Float[Tensor, " pieces"]
    weights: Float[Tensor, " pieces"]
    tasks: Int[Tensor, " pieces"]


@dataclass(frozen=True, kw_only=True)
class Imitated:
    """How the network with experts is made to resemble the foundation model.

    Args:
        loss: What compares features: KL as if dimensions were classes, the mean square of the
            difference, or one minus the cosine. Masks know `kl`, Bernoulli's of each voxel, and
            `literal`, equation 8 as printed, which is no divergence.
        temperature: Softens both before `kl`: 10 for features, 1 for masks unless said.
        projection: What brings features to one width: a Linear on the student's side that learns,
            or, as in the authors' code, one on the teacher's that stays as it fell.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    loss: Literal["kl", "mse", "cos", "literal"] = "kl"
    temperature: Temperature | None = None
    projection: Literal["student", "fixed_teacher"] = "student"


@dataclass(frozen=True, kw_only=True)
class Labels:
    """How labels are learnt.

    Args:
        temperature: Of classes: divides the logits; 1 in the authors' code, τ in equation 9.
        global_head: Of classes: weight of one more head, over those of all tasks; it is not
            deployed.
        dice: Of masks: of each query of each sample, or over all of a batch at once, as equation 7
            is printed.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    temperature: Temperature = 1.0
    global_head: Weight = 0.0
    dice: Literal["each", "pooled"] = "each"


AS_PROPOSED = Imitated()
PLAIN_LABELS = Labels()


class Objective(nn.Module, ABC):
    """What tasks of one kind ask of a network, and how it resembles its teacher.

    What is trained beside the network, heads and projections, are its parameters.

    Args:
        network: What gets experts; the copy that has them is trained, this one is not.
        multiples: Which of its convolutions get them, by name, with the multiple of the rank there;
            None for all that have one group.

    Attributes:
        imitation_weight: The weight β of `imitation` where a recipe names none.
    """

    imitation_weight: ClassVar[float]

    def __init__(self, network: nn.Module, multiples: Mapping[str, int] | None = None) -> None:
        super().__init__()
        # In a tuple, so that the weights are none of the objective's.
        self._network = (network,)
        self.multiples = multiples

    @property
    def network(self) -> nn.Module:
        """What gets experts."""
        return self._network[0]

    @abstractmethod
    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        """What the network is called with."""

    @abstractmethod
    def labels(self, output: Output, batch: Batch) -> Judged:
        """The supervised loss of what the network says."""

    @abstractmethod
    def imitation(self, output: Output, batch: Batch, taught: Output) -> Float[Tensor, ""]:
        """How far what the network says is from what the teacher says; not yet weighted."""

    @abstractmethod
    def networks(self, by_task: Sequence[nn.Module]) -> dict[str, nn.Module]:
        """What is deployed: a plain network for each task that can be judged.

        Args:
            by_task: The network with the folded expert of each task; the same one where tasks
                share an expert.
        """

    @abstractmethod
    def shared(self, network: nn.Module) -> nn.Module:
        """The network without any expert as it is deployed: a start for what no expert fits."""
