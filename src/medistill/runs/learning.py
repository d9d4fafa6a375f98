"""The loop of a run: steps, validation, log and checkpoints; it can be killed at any moment."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any, Protocol, runtime_checkable

import torch

from medistill.methods.base import Method
from medistill.recipe import Recipe
from medistill.results import RunFolder, append_jsonl, read_jsonl, write_json, write_jsonl
from medistill.runs.console import Console
from medistill.runs.expense import Meter
from medistill.runs.validating import LAST, Verdict
from medistill.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from medistill.training.distributed import broadcast_object, main_process
from medistill.training.fit import Batches, Step, fit
from medistill.training.optimizers import build_optimizer, build_schedule, repeated

SAVE_SECONDS = 20.0  # between two checkpoints of a long training: what a kill may cost


@runtime_checkable
class Choice(Protocol):
    """What chooses a checkpoint: `Validation`, or that of volumes."""

    def criterion(self, method: Method) -> str:
        """What epochs are compared by."""

    def verdict(self, method: Method, progress: float, criterion: str) -> Verdict:
        """How good the method is now."""


@runtime_checkable
class Training(Protocol):
    """A run that is prepared, on images or on volumes: all that the loop knows of it."""

    @property
    def recipe(self) -> Recipe:
        """What was asked for."""

    @property
    def run(self) -> RunFolder:
        """Where it is written."""

    @property
    def console(self) -> Console:
        """Where to say what happens."""

    @property
    def device(self) -> torch.device:
        """Where to compute."""

    @property
    def method(self) -> Method:
        """What is trained."""

    @property
    def validation(self) -> Choice:
        """What chooses a checkpoint."""

    @property
    def started(self) -> float:
        """When its preparation began, in seconds since 1970."""

    def loader(self) -> Batches:
        """This process's share of the training data."""


@dataclass
class Progress:
    """What the log and the choice of a checkpoint remember between two epochs.

    Args:
        best: Merit of the best epoch so far; None before the first validation.
        best_epoch: Which it was, from 1.
        sums: Of each loss term over the steps of the current epoch.
        steps: How many these are.
        seconds: Since the run began, pauses between its attempts left out.
        step_seconds: Median time of a step, in each epoch so far.
        peak_bytes: The most memory that a step took; None where nobody knows.
    """

    best: float | None = None
    best_epoch: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0
    step_seconds: list[float] = field(default_factory=list)
    peak_bytes: int | None = None

    def add(self, losses: dict[str, float]) -> None:
        """Count one step."""
        self.sums = {name: self.sums.get(name, 0.0) + loss for name, loss in losses.items()}
        self.steps += 1

    def means(self) -> dict[str, float]:
        """Mean of each loss term over the epoch, which begins anew."""
        means = {name: total / self.steps for name, total in self.sums.items()}
        self.sums, self.steps = {}, 0
        return means

    def measure(self, meter: Meter) -> None:
        """Take over what an epoch's steps cost."""
        self.step_seconds.append(meter.seconds())
        self.peak_bytes = max(self.peak_bytes or 0, meter.peak_bytes() or 0) or None


class Learning:
    """A training that is about to begin, or to go on.

    Args:
        job: A run that is prepared.
    """

    def __init__(self, job: Training) -> None:
        self.job = job
        self.recipe, self.run, self.console = job.recipe, job.run, job.console
        self.method, self.device, self.validation = job.method, job.device, job.validation
        self.criterion = job.validation.criterion(job.method)
        self.started = job.started
        self.epochs = job.recipe.training.epochs * job.method.stages
        self.meter = Meter(job.device)

    def learn(self) -> float:
        """Train from the last checkpoint, or from the beginning, to the end.

        Returns:
            Seconds that earlier attempts took.
        """
        here = main_process() and self.run.last.exists()
        checkpoint = broadcast_object(load_checkpoint(self.run.last) if here else None)
        progress = Progress(**checkpoint.notes) if checkpoint else Progress()
        earlier = progress.seconds
        self._shorten_log(checkpoint)
        loader = self.job.loader()
        saved = -math.inf  # so that the first epoch is safe as soon as it is over
        done = checkpoint.step // checkpoint.steps_per_epoch if checkpoint else 0
        with self.console.track("training", self.epochs, begun=done, pause=0.0) as advance:
            for step in self._steps(loader, checkpoint):
                progress.add(step.losses)
                self.meter.step(step.seconds)
                progress.seconds = earlier + time.time() - self.started
                if step.end_of_epoch:
                    progress.measure(self.meter)
                    self._end_epoch(step, progress, advance)
                    self.meter.reset()
                if step.step == step.steps or (_asks(step) and _due(saved)):
                    self._save(step, progress)
                    saved = time.monotonic()
        self._write_expense(progress)
        return earlier

    def _steps(self, loader: Batches, checkpoint: Checkpoint | None) -> Iterator[Step]:
        settings = self.recipe.training
        optimizer = build_optimizer(
            settings.optimizer,
            self.method.parameters(),
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            gradient_clip=settings.gradient_clip,
        )
        warm_up = round(settings.warmup * len(loader))
        schedule = build_schedule(settings.schedule, warm_up=warm_up)
        return fit(
            self.method,
            loader,
            optimizer,
            epochs=self.epochs,
            schedule=repeated(schedule, self.method.stages),
            device=self.device,
            precision=settings.precision,
            resume=checkpoint,
        )

    def _end_epoch(
        self, step: Step, progress: Progress, advance: Callable[[int, str], None]
    ) -> None:
        epoch, settings = step.epoch + 1, self.recipe.training
        record: dict[str, Any] = {
            "epoch": epoch,
            "losses": progress.means(),
            "learning_rate": step.learning_rate,
        }
        note = f"loss {sum(record['losses'].values()):.3f}"
        # Before the last stage, what will be deployed has learnt nothing to be chosen for.
        due = epoch % settings.validate_every == 0 and epoch > self.epochs - settings.epochs
        if due or epoch == self.epochs:
            found = self.validation.verdict(self.method, step.progress, self.criterion)
            record["validation"] = found.shown
            record["best"] = progress.best is None or found.merit > progress.best
            if record["best"]:
                progress.best, progress.best_epoch = found.merit, epoch
                self._save(step, progress, best=True)
            note += f", {standing(self.criterion, found, progress)}"
        if main_process():
            append_jsonl(self.run.log, record)
        advance(epoch, note)

    def _write_expense(self, progress: Progress) -> None:
        if not main_process() or not progress.step_seconds:
            return
        write_json(self.run.expense, {
            # Of several stages the last, in which what is deployed was trained.
            "step_seconds": median(progress.step_seconds[-self.recipe.training.epochs :]),
            "batch_size": self.recipe.training.batch_size,
            "peak_bytes": progress.peak_bytes,
            "peak_of": self.meter.of,
            "device": self.device.type,
        })  # fmt: skip

    def _save(self, step: Step, progress: Progress, *, best: bool = False) -> None:
        state = step.checkpoint()
        if main_process():
            path = self.run.best if best else self.run.last
            path.parent.mkdir(parents=True, exist_ok=True)
            # The best weights are deployed and never trained on: two thirds of a file saved.
            kept = replace(state, optimizer={}) if best else state
            save_checkpoint(path, kept, notes=vars(progress))

    def _shorten_log(self, checkpoint: Checkpoint | None) -> None:
        """Forget the epochs after the checkpoint: they are gone through again."""
        if not main_process():
            return
        done = checkpoint.step // checkpoint.steps_per_epoch if checkpoint else 0
        write_jsonl(self.run.log, [r for r in read_jsonl(self.run.log) if r["epoch"] <= done])


def standing(criterion: str, found: Verdict, progress: Progress) -> str:
    """How good the epoch is, and which was the best; where none is chosen, the epoch alone."""
    if criterion == LAST:
        shown = list(found.shown.values())
        # Of volumes there is no accuracy, of images no Dice.
        name = "accuracy" if "accuracy" in shown[0] else "dice"
        known = [right for one in shown if (right := one[name]) is not None]
        return f"{name} {_told(sum(known) / len(known) if known else None)}"
    best = f"best {_told(progress.best)} in epoch {progress.best_epoch}"
    return f"{criterion} {_told(found.merit)} ({best})"


def _told(merit: float | None) -> str:
    """A metric as people know it: merits of what should be low are negative."""
    return "undefined" if merit is None or math.isinf(merit) else f"{abs(merit):.3f}"


def _asks(step: Step) -> bool:
    """Processes agree on a time with a message: not in every step."""
    return step.end_of_epoch or step.step % 50 == 0


def _due(saved: float) -> bool:
    """Whether it is time for a checkpoint; the first process's clock decides for all."""
    return broadcast_object(time.monotonic() - saved > SAVE_SECONDS)
