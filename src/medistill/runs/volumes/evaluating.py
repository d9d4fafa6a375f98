"""`evaluate` of a segmentation: on its own volumes, or on somebody else's."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medistill.case_results import write_cases
from medistill.data.volumes.findings import find_volume_traps
from medistill.data.volumes.layouts.base import (
    VolumeLayout,
    class_name,
    lays_out,
    open_volumes_root,
)
from medistill.data.volumes.opening import OpenedVolumes
from medistill.errors import UserError
from medistill.modalities import Modality
from medistill.models.deployed_segmenters import load_segmenter
from medistill.models.segmenters.base import Answering
from medistill.recipe import Data, Recipe, Root, read_recipe
from medistill.results import Estimate, RunFolder, read_json, write_metrics
from medistill.runs.console import Console
from medistill.runs.evaluations import evaluation_folder
from medistill.runs.images import counting, heed
from medistill.runs.refusing import refuse_unknown_classes
from medistill.runs.roots import volume_roots
from medistill.runs.volumes.judging import Judge
from medistill.runs.volumes.outlining import Outliner
from medistill.runs.volumes.roots import open_roots
from medistill.scans import Preparation
from medistill.training.devices import choose_device

ALL = "all"


def evaluate_volumes(
    folder: RunFolder,
    name: str,
    *,
    data: Path | None,
    split: str | None,
    classes: Mapping[str, str],
    modality: Modality | None,
    console: Console,
) -> tuple[dict[str, Estimate], Path]:
    """Judge a run's deployed segmenter; nothing is fitted.

    Args:
        folder: Of a finished run.
        name: Of one of its tasks.
        data: Other volumes, of which all count unless a split is named; None for its own.
        split: Which split; `test` of its own.
        classes: How the other data call the classes, by the run's own names.
        modality: Of other volumes that do not tell their own.
        console: Where to say what happens.

    Returns:
        Metrics with intervals, and where they were written.
    """
    network, config = load_segmenter(folder.deployed(name).path)
    recipe = read_recipe(folder.recipe)
    _refuse_modality(modality, data, config)
    if data is None:
        opened, part = own_volumes(folder, name, console), split or "test"
    else:
        opened, part = _others(recipe, data, name, config, modality, console), split or ALL
        network = _asked(network, opened.dataset.task.classes, classes)
        _heed(opened, part, recipe, console)
        _warn_of_own_volumes(opened, folder, console)
    if opened.dataset.task.kind == "unlabelled":
        raise UserError("No volume has a mask to judge by; `medistill predict` needs none.")
    rows = opened.dataset.splits.get(part, ())
    if not len(rows):
        raise UserError(f"There is no volume in the split {part!r}. Try --split train or test.")
    device = choose_device(recipe.training.device)
    a, b, c = config["patch"]
    judge = Judge(Outliner(network, (a, b, c), device), opened, recipe.evaluation.tolerance_mm)
    with counting(console, f"{name}: {part}", len(rows)) as on_progress:
        cases = judge.cases(part, on_progress)
    estimates = judge.estimates(cases, recipe.evaluation.draws)
    place = evaluation_folder(folder, name, data, part)
    write_metrics(place / "metrics.json", {part: {name: estimates}})
    write_cases(place / "cases.csv", cases)
    console.say(f"{len(cases)} volumes")
    return estimates, place


def own_volumes(folder: RunFolder, name: str, console: Console) -> OpenedVolumes:
    """The volumes of one task of a run, split as they were."""
    recipe = read_recipe(folder.recipe)
    (opened,) = open_roots(recipe, {name: volume_roots(recipe)[name]}, folder, console)
    return opened


def _refuse_modality(
    modality: Modality | None, data: Path | None, config: Mapping[str, Any]
) -> None:
    """Refuse a word about volumes that are known, or about which the network knows nothing."""
    known = config.get("modalities") or [config["preparation"]["modality"]]
    if modality is not None and data is None:
        raise UserError("--modality is for --data: the run knows its own volumes. Leave it out.")
    if modality not in (None, *known):
        raise UserError(
            f"--modality {modality}: this network was trained on "
            f"{' and '.join(map(str.upper, known))} alone. Leave it out."
        )


def _others(
    recipe: Recipe,
    data: Path,
    name: str,
    config: Mapping[str, Any],
    modality: Modality | None,
    console: Console,
) -> OpenedVolumes:
    """Somebody else's volumes, prepared as the network's were; all of them in one more split."""
    own = recipe.data.roots[name]
    told: dict[str, Any] = {"root": data, **_called(own, name, data)}
    layouts = volume_roots(_elsewhere(recipe, name, told))
    if not layouts:
        raise UserError(
            f"{data} holds no volumes that medistill recognises, and the run needs some."
        )
    if told["task"]:
        console.say(f"{data}: its volumes of {told['task']}")
    if own.patient_pattern and _matches(own.patient_pattern, layouts[name]):
        told["patient_pattern"] = own.patient_pattern
    elif own.patient_pattern:
        console.warn(f"data.patient_pattern matches no path below {data}: it is left aside there.")
    preparation = Preparation.from_document(config["preparation"])
    if modality is None:
        told["modality"] = own.modality
    else:
        # What a file says of itself still counts.
        preparation = replace(preparation, modality=modality)
    (opened,) = open_roots(
        _elsewhere(recipe, name, told), layouts, None, console, preparation=preparation
    )
    if modality is None:
        _warn_of_unknown_modality(opened, config, console)
    dataset = opened.dataset
    rows = np.sort(np.concatenate(list(dataset.splits.values())))
    console.say(f"{data}: {len(opened.cases)} volumes, {len(rows)} of them usable")
    return replace(opened, dataset=replace(dataset, splits={**dataset.splits, ALL: rows}))


def _called(own: Root, name: str, data: Path) -> dict[str, str | None]:
    """A root's layout and region for somebody else's data, where they have them too."""
    layout = own.layout if lays_out(own.layout, data) else "auto"
    found = open_volumes_root(data, layout)
    known = found.regions() if found else ()
    words = [class_name(word) for word in (own.task, own.region, name) if word]
    return {"layout": layout, "task": next((word for word in words if word in known), None)}


def _elsewhere(recipe: Recipe, name: str, root: Mapping[str, Any]) -> Recipe:
    """The recipe with somebody else's root alone."""
    told = {"roots": {name: root}, "store": recipe.data.store, "skip_unreadable": True}
    return recipe.model_copy(update={"data": Data.model_validate(told)})


def _heed(opened: OpenedVolumes, part: str, recipe: Recipe, console: Console) -> None:
    """Say what is wrong with somebody else's volumes; stop at what would make the result wrong."""
    dataset = opened.dataset
    found = find_volume_traps(
        opened.cases,
        opened.facts,
        # How they would have been split for a training concerns nobody.
        {part: dataset.splits.get(part, np.empty(0, np.int64)).tolist()},
        opened.layout.classes(),
        dataset.preparation,
    )
    allowed = recipe.model_copy(
        update={"data": recipe.data.model_copy(update={"skip_unreadable": True})}
    )
    heed(opened.name, [one for one in found if one.kind != "empty_split"], allowed, console)


def _matches(pattern: str, layout: VolumeLayout) -> bool:
    return any(re.search(pattern, case.image) for case in layout.cases())


def _warn_of_unknown_modality(
    opened: OpenedVolumes, config: Mapping[str, Any], console: Console
) -> None:
    """Say where scans are treated like most training scans for want of a word about them."""
    unknown = sum(
        not (case.modality or facts.modality)
        for case, facts in zip(opened.cases, opened.facts, strict=True)
    )
    if unknown and len(config.get("modalities") or ()) > 1:
        count = opened.dataset.preparation.modality.upper()
        console.warn(
            f"{unknown} volumes do not tell whether they are CT or MR: they count as {count}; "
            "--modality says otherwise."
        )


def _asked(network: Answering, theirs: Sequence[str], names: Mapping[str, str]) -> Answering:
    """The network, asked for the classes of the other data in their order."""
    own = network.segmenter.vocabulary
    refuse_unknown_classes(names, own)
    mine: dict[str, str] = {}
    for name, other in names.items():
        if mine.setdefault(other, name) != name:
            raise UserError(
                f"--classes: {other!r} would be {mine[other]} and {name} at once. Say it of one."
            )
    asked = [mine.get(other, other) for other in theirs]
    strange = [other for other, name in zip(theirs, asked, strict=True) if name not in own]
    if strange:
        raise UserError(
            f"The data call a class {strange[0]!r}, which the run does not know; its classes are "
            f'{", ".join(own)}. Say which is which: --classes "{own[0]}={strange[0]}"'
        )
    return Answering(network.segmenter, asked)


def _warn_of_own_volumes(opened: OpenedVolumes, run: RunFolder, console: Console) -> None:
    learnt = {digest for task in read_json(run.sources).values() for digest in task}
    shared = sum(digest in learnt for digest in opened.digests)
    if shared:
        console.warn(f"{shared} of these volumes were learnt from: the result is too good.")
