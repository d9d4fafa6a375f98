"""`evaluate`: judge a deployed network again, on its own images or on somebody else's."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medistill.data.opening import Opened
from medistill.errors import UserError
from medistill.evaluation.judge import judge
from medistill.evaluation.operating import OperatingPoint
from medistill.evaluation.predict import predict
from medistill.modalities import Modality
from medistill.models.deployed import load_deployed
from medistill.recipe import Data, Recipe, read_recipe
from medistill.results import Estimate, RunFolder, read_json, write_metrics, write_predictions
from medistill.runs.console import Console
from medistill.runs.evaluations import evaluation_folder
from medistill.runs.images import open_images
from medistill.runs.load import only_task, outlines, own_images
from medistill.runs.refusing import refuse_unknown_classes
from medistill.runs.shipping import batches, table_of

ALL = "all"


def evaluate(
    run: Path | str,
    *,
    data: Path | str | None = None,
    split: str | None = None,
    classes: Mapping[str, str] | None = None,
    task: str | None = None,
    modality: Modality | None = None,
    console: Console | None = None,
) -> dict[str, Estimate]:
    """Judge a run's deployed network with its own temperature and threshold; nothing is fitted.

    Args:
        run: Folder of a finished run.
        data: Other images: external validation. All of them count, unless a split is named.
        split: Which split; `test` for the run's own images.
        classes: How the other data call the classes, by the run's own names.
        task: Which task, if the run has several.
        modality: `ct` or `mr`: what other volumes are, where both were trained on and their files
            do not tell.
        console: Where to say what happens.

    Returns:
        Metrics with intervals, also written to `RUN/evaluations/`.
    """
    folder, console = RunFolder(Path(run)), console or Console()
    name = only_task(folder, task)
    if outlines(folder, name):
        named = classes or {}
        return _evaluate_volumes(folder, name, data, split, named, modality, console=console)
    if modality is not None:
        raise UserError(f"--modality is for scans, but {name} classifies images. Leave it out.")
    network, config = load_deployed(folder.deployed(name).path)
    recipe = read_recipe(folder.recipe)
    if data is None:
        opened = own_images(folder, name, console)
        part = split or "test"
    else:
        opened = _others(recipe, Path(data), name, console)
        part = split or ALL
        opened = _translated(opened, config["classes"], classes or {})
        _warn_of_own_images(opened, folder, console)
    _refuse_unlabelled(opened)
    if not len(opened.dataset.splits.get(part, ())):
        raise UserError(f"There is no image in the split {part!r}. Try --split train or test.")
    found = predict(network, batches(opened, part))
    table = table_of(found, opened, part, float(config["temperature"]))
    estimates = judge(table, _operating(config), draws=recipe.evaluation.draws)
    place = evaluation_folder(folder, name, data, part)
    write_metrics(place / "metrics.json", {part: {name: estimates}})
    write_predictions(place / "predictions.csv", [table])
    console.say(f"{len(table)} images")
    _print(estimates, place, console)
    return estimates


def _evaluate_volumes(
    folder: RunFolder,
    name: str,
    data: Path | str | None,
    split: str | None,
    classes: Mapping[str, str],
    modality: Modality | None,
    *,
    console: Console,
) -> dict[str, Estimate]:
    from medistill.runs.volumes.evaluating import evaluate_volumes

    elsewhere = None if data is None else Path(data)
    estimates, place = evaluate_volumes(
        folder, name, data=elsewhere, split=split, classes=classes, modality=modality,
        console=console,
    )  # fmt: skip
    _print(estimates, place, console)
    return estimates


def _others(recipe: Recipe, data: Path, name: str, console: Console) -> Opened:
    """Somebody else's images, with all of them in one more split."""
    own = recipe.data
    other = Data.model_validate({
        "roots": {name: str(data)}, "size": own.size, "store": own.store, "skip_unreadable": True,
    })  # fmt: skip
    (opened,) = open_images(recipe.model_copy(update={"data": other}), None, console)
    dataset = opened.dataset
    rows = np.sort(np.concatenate(list(dataset.splits.values())))
    console.say(f"{data}: {len(opened.samples)} images, {len(rows)} of them readable")
    return replace(opened, dataset=replace(dataset, splits={**dataset.splits, ALL: rows}))


def _translated(opened: Opened, classes: list[str], names: Mapping[str, str]) -> Opened:
    """Their labels as the network's classes."""
    refuse_unknown_classes(names, classes)
    places = _places(classes, names)
    theirs = {sample.label for sample in opened.samples if sample.label is not None}
    strange = sorted(theirs - set(places))
    if strange:
        raise UserError(
            f"The data call a class {strange[0]!r}, which the run does not know; its classes are "
            f"{', '.join(classes)}. Say which is which: --classes {classes[0]}={strange[0]}"
        )
    dataset = opened.dataset
    targets = np.array([places.get(s.label or "", -1) for s in opened.samples], dtype=np.int64)
    task = replace(dataset.task, classes=tuple(classes))
    return replace(opened, dataset=replace(dataset, task=task, targets=targets))


def _places(classes: list[str], names: Mapping[str, str]) -> dict[str, int]:
    """Where the network has each class, as the other data call it."""
    found: dict[str, int] = {}
    for place, mine in enumerate(classes):
        theirs = names.get(mine, mine)
        if theirs in found:
            raise UserError(
                f"--classes: {theirs!r} would be {classes[found[theirs]]} and {mine} at once. Say "
                "what the data call each of them."
            )
        found[theirs] = place
    return found


def _refuse_unlabelled(opened: Opened) -> None:
    if not (opened.dataset.targets >= 0).any():
        raise UserError("No image has a label to judge by; `medistill predict` needs none.")


def _warn_of_own_images(opened: Opened, run: RunFolder, console: Console) -> None:
    learnt = {digest for task in read_json(run.sources).values() for digest in task}
    shared = sum(digest in learnt for digest in opened.digests)
    if shared:
        console.warn(f"{shared} of these images were learnt from: the result is too good.")


def _operating(config: Mapping[str, Any]) -> OperatingPoint | None:
    threshold = config.get("threshold")
    if not threshold:
        return None
    wanted, value = float(threshold["sensitivity"]), float(threshold["value"])
    return OperatingPoint(threshold["class"], wanted, value, None, None, "")


def _print(estimates: Mapping[str, Estimate], place: Path, console: Console) -> None:
    for name, estimate in estimates.items():
        value, low, high = estimate["value"], estimate["low"], estimate["high"]
        interval = "" if low is None or high is None else f"  ({low:.3f} to {high:.3f})"
        console.say(f"  {name:28} {'-' if value is None else f'{value:.3f}'}{interval}")
    console.say(f"written to {place}")
