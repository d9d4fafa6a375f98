"""What all methods have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from medistill.types import Batch


class Method(nn.Module, ABC):
    """What is trained, with which losses, and what is left of it once trained.

    A subclass lives alone in the file of its name. Its positional parameters are collaborators,
    among `student`, `teacher`, `tasks` and `judges`; its keyword-only ones are the settings of a
    recipe. A method that does not take `tasks` trains one task.

    Attributes:
        aliases: Other names by which a recipe may call the method.
        paper: Where it was published: authors, title, venue and year.
        scales: The least that its teacher must give: nothing beyond pooled features, its last map,
            or maps of all scales. With less, its constructor raises a `UserError`.
        family: Which students it can train: any, or vision transformers alone ("vit"), into which
            it inserts adapters while their own weights rest.
        tunable: The settings that are its own weights, such as `weights.geometry`: a comparison may
            choose the first that is not 0 on validation. By default `imitation`, where it has
            such a setting.
        tunes: Whether what it trains is the foundation model itself rather than a small student.
        volumes: Whether it trains segmenters on volumes too.
        one_task: Whether a method that takes `tasks` is, for one task, a rival of those that do
            not.
        called: How its paper spells its name; empty where the file's name in words, or an alias of
            three letters, is what people say.
        one_head: Whether the heads of its tasks are parts of one, so that classes of all compete.
        apart: Whether each task trains a network of its own, on its share of each batch alone.
        stages: Trainings that follow one another, each of a recipe's epochs and with its schedule
            from the beginning. Progress is that of all together. What is deployed learns in the
            last, and only there is it validated.
    """

    aliases: ClassVar[tuple[str, ...]] = ()
    paper: ClassVar[str]
    scales: ClassVar[Literal["none", "last", "all"]] = "none"
    family: ClassVar[Literal["any", "vit"]] = "any"
    tunable: ClassVar[tuple[str, ...]] = ()
    tunes: ClassVar[bool] = False
    volumes: ClassVar[bool] = False
    one_task: ClassVar[bool] = False
    one_head: ClassVar[bool] = False
    apart: ClassVar[bool] = False
    called: ClassVar[str] = ""
    stages: ClassVar[int] = 1

    @classmethod
    def finest(
        cls, own: Sequence[tuple[int, ...]], settings: Mapping[str, Any]
    ) -> list[tuple[int, ...] | None]:
        """How fine a teacher's maps need to be, of a method whose `scales` are "all".

        Averaging spares what no loss looks at: most compare two maps at the smaller one's size.

        Args:
            own: `space` of the student's stages that the teacher's are paired with, fine to coarse.
            settings: What the constructor will be given.

        Returns:
            For each stage the largest size; None for the teacher's own.
        """
        return list(own)

    @abstractmethod
    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Named scalar terms, already weighted; training minimises their sum.

        Args:
            batch: Samples of any of the tasks.
            progress: Share of the training behind us, in [0, 1]: all a method knows of the loop.
        """

    @abstractmethod
    def deploy(self) -> dict[str, nn.Module]:
        """Plain networks to evaluate and export, by task; nothing else of the method is left.

        The one network of a method that does not take `tasks` is called "all".
        """

    def backward(self, losses: dict[str, Tensor]) -> None:
        """Fill the gradients; gradient surgery overrides this."""
        torch.autograd.backward(torch.stack(list(losses.values())).sum())


def faded(progress: float, last: float, rising: float = 0.0) -> float:
    """Weight that falls linearly from 1 at the beginning to `last` at the end of the training.

    Args:
        progress: Share of the training behind us, in [0, 1].
        last: Share of the weight that is left at the end: 0 in RD, 1 for no fading at all.
        rising: Share of the training in which the weight comes in, linearly from 0.
    """
    here = min(1.0, progress / rising) if rising else 1.0
    return here * (1 - (1 - last) * progress)
