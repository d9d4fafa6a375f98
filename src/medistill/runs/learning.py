"""The loop of a run: steps, validation, log and checkpoints; it can be killed at any moment."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from medistill.assemble import views
from medistill.data.dataset import Dataset
from medistill.data.loading import Loader
from medistill.data.order import IN_ORDER, Order
from medistill.evaluation.judge import judge
from medistill.evaluation.predict import predict, tabulate
from medistill.evaluation.selection import merit
from medistill.methods.base import Method
from medistill.recipe import Recipe
from medistill.results import RunFolder, append_jsonl, read_jsonl, write_jsonl
from medistill.runs.console import Console
from medistill.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from medistill.training.devices import placed
from medistill.training.distributed import broadcast_object, main_process, rank, world
from medistill.training.fit import Step, fit
from medistill.training.optimizers import build_optimizer, build_schedule

JUDGED = 256  # images in a batch of validation and test
SAVE_SECONDS = 20.0  # between two checkpoints of a long training: what a kill may cost
SHOWN = ("accuracy", "balanced_accuracy", "auroc", "negative_log_likelihood")


@dataclass
class Progress:
    """What the log and the choice of a checkpoint remember between two epochs.

    Args:
        best: Merit of the best epoch so far; None before the first validation.
        best_epoch: Which it was, from 1.
        sums: Of each loss term over the steps of the current epoch.
        steps: How many these are.
    """

    best: float | None = None
    best_epoch: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    steps: int = 0

    def add(self, losses: dict[str, float]) -> None:
        """Count one step."""
        self.sums = {name: self.sums.get(name, 0.0) + loss for name, loss in losses.items()}
        self.steps += 1

    def means(self) -> dict[str, float]:
        """Mean of each loss term over the epoch, which begins anew."""
        means = {name: total / self.steps for name, total in self.sums.items()}
        self.sums, self.steps = {}, 0
        return means


@dataclass(frozen=True)
class Learning:
    """A method about to be trained, with all that its training needs."""

    recipe: Recipe
    run: RunFolder
    console: Console
    device: torch.device
    datasets: Sequence[Dataset]
    digests: Sequence[Sequence[str]]
    method: Method

    def learn(self) -> None:
        """Train from the last checkpoint, or from the beginning, to the end."""
        settings = self.recipe.training
        here = main_process() and self.run.last.exists()
        checkpoint = broadcast_object(load_checkpoint(self.run.last) if here else None)
        progress = Progress(**checkpoint.notes) if checkpoint else Progress()
        self._shorten_log(checkpoint)
        loader = self._loader()
        saved = time.monotonic()
        with self.console.track("training", settings.epochs) as advance:
            for step in self._steps(loader, checkpoint):
                progress.add(step.losses)
                if step.end_of_epoch:
                    self._end_epoch(step, progress, advance)
                if step.step == step.steps or (_asks(step) and _due(saved)):
                    self._save(step, progress)
                    saved = time.monotonic()

    def _steps(self, loader: Loader, checkpoint: Checkpoint | None) -> Any:
        settings = self.recipe.training
        optimizer = build_optimizer(
            settings.optimizer,
            self.method.parameters(),
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            gradient_clip=settings.gradient_clip,
        )
        warm_up = round(settings.warmup * len(loader))
        return fit(
            self.method,
            loader,
            optimizer,
            epochs=settings.epochs,
            schedule=build_schedule(settings.schedule, warm_up=warm_up),
            device=self.device,
            precision=settings.precision,
            resume=checkpoint,
        )

    def _loader(self) -> Loader:
        settings = self.recipe.training
        return Loader(
            self.datasets,
            "train",
            batch_size=settings.batch_size,
            order=Order(seed=settings.seed, sampling=self.recipe.data.sampling),
            views=views(self.recipe),
            rank=rank(),
            world=world(),
            class_weights=settings.class_weights,
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
        if epoch % settings.validate_every == 0 or epoch == settings.epochs:
            found = broadcast_object(self._validated(step.progress) if main_process() else None)
            assert found is not None
            record["validation"], value = found
            record["best"] = progress.best is None or value > progress.best
            if record["best"]:
                progress.best, progress.best_epoch = value, epoch
                self._save(step, progress, best=True)
            note += f", {settings.select} {abs(value):.3f} (best {abs(progress.best or 0):.3f}"
            note += f" in epoch {progress.best_epoch})"
        if main_process():
            append_jsonl(self.run.log, record)
        advance(epoch, note)

    def _save(self, step: Step, progress: Progress, *, best: bool = False) -> None:
        state = step.checkpoint()
        if main_process():
            path = self.run.best if best else self.run.last
            path.parent.mkdir(parents=True, exist_ok=True)
            # The best weights are deployed and never trained on: two thirds of a file saved.
            kept = replace(state, optimizer={}) if best else state
            save_checkpoint(path, kept, notes=vars(progress))

    def _validated(self, progress: float) -> tuple[dict[str, dict[str, float | None]], float]:
        """Metrics by task, and the one number by which epochs are compared."""
        if self.recipe.training.select == "loss":
            loss = self._validation_loss(progress)
            return {"all": {"loss": loss}}, -loss
        estimates = {
            name: judge(self._table(name, network), draws=0)
            for name, network in by_task(self.method, self.datasets).items()
        }
        merits = [merit(found, self.recipe.training.select) for found in estimates.values()]
        shown = {
            name: {metric: found[metric]["value"] for metric in SHOWN}
            for name, found in estimates.items()
        }
        return shown, sum(merits) / len(merits)

    def _table(self, name: str, network: nn.Module) -> Any:
        place = [dataset.task.name for dataset in self.datasets].index(name)
        dataset = self.datasets[place]
        loader = Loader([dataset], "validation", batch_size=JUDGED, order=IN_ORDER)
        return tabulate(
            predict(network, loader.epoch(0), device=self.device),
            task=name,
            split="validation",
            classes=dataset.task.classes,
            digests=self.digests[place],
            patients=dataset.patients,
        )

    @torch.no_grad()
    def _validation_loss(self, progress: float) -> float:
        """The method's own losses on validation: for what has no labels to be judged by."""
        loader = Loader(
            self.datasets, "validation", batch_size=self.recipe.training.batch_size, order=IN_ORDER
        )
        self.method.eval()
        total = seen = 0.0
        for batch in loader.epoch(0):
            losses = self.method.losses(placed(batch, self.device), progress)
            total += len(batch) * sum(loss.item() for loss in losses.values())
            seen += len(batch)
        return total / seen

    def _shorten_log(self, checkpoint: Checkpoint | None) -> None:
        """Forget the epochs after the checkpoint: they are gone through again."""
        if not main_process():
            return
        done = checkpoint.step // checkpoint.steps_per_epoch if checkpoint else 0
        write_jsonl(self.run.log, [r for r in read_jsonl(self.run.log) if r["epoch"] <= done])


def by_task(method: Method, datasets: Sequence[Dataset]) -> dict[str, nn.Module]:
    """What a method deploys, by the names of the recipe's roots; only what can be judged."""
    networks = method.deploy()
    if "all" in networks:
        return {datasets[0].task.name: networks["all"]}
    labelled = [d.task.name for d in datasets if d.task.kind != "unlabelled"]
    return {name: networks[name] for name in labelled if name in networks}


def _asks(step: Step) -> bool:
    """Processes agree on a time with a message: not in every step."""
    return step.end_of_epoch or step.step % 50 == 0


def _due(saved: float) -> bool:
    """Whether it is time for a checkpoint; the first process's clock decides for all."""
    return broadcast_object(time.monotonic() - saved > SAVE_SECONDS)
