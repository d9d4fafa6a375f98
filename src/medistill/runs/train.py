"""`train`: from a recipe to a judged, exported, documented student."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import yaml

from medistill.assemble import RUN, run_folder
from medistill.errors import UserError
from medistill.recipe import Recipe, dump, validate
from medistill.results import CELLS, RunFolder
from medistill.runs.console import Console
from medistill.runs.finishing import finish
from medistill.runs.learning import Learning
from medistill.runs.preparing import prepare
from medistill.runs.roots import volume_roots
from medistill.runs.together import agreed, main_alone, main_first
from medistill.training.devices import choose_device
from medistill.training.distributed import main_process, process_group


def train(
    recipe: Recipe,
    out: Path | str,
    *,
    resume: bool = False,
    console: Console | None = None,
) -> RunFolder:
    """Train a student, judge it, export it, and describe it.

    Args:
        recipe: Everything that decides the run.
        out: Its folder; a finished run of the same recipe is left as it is.
        resume: Go on where an unfinished run stopped.
        console: Where to say what happens.

    Returns:
        The run's folder.

    Raises:
        UserError: Something is wrong with the recipe, the data or the folder.
    """
    run = RunFolder(Path(out))
    device = choose_device(recipe.training.device)
    if recipe.training.threads:
        torch.set_num_threads(recipe.training.threads)
    with process_group(device):
        console = console or Console(quiet=not main_process())
        if not agreed(lambda: _has_work(recipe, run, resume)):
            console.say(f"{run.path} is finished: nothing to do.")
            return run
        if volume_roots(recipe):
            _outline(recipe, run, device, console)
        else:
            _classify(recipe, run, device, console)
    return run


def _classify(recipe: Recipe, run: RunFolder, device: torch.device, console: Console) -> None:
    job = main_first(lambda: prepare(recipe, run, device, console))
    earlier = Learning(job).learn()
    main_alone(lambda: finish(job, earlier=earlier))


def _outline(recipe: Recipe, run: RunFolder, device: torch.device, console: Console) -> None:
    # Here, so that who classifies images imports nothing of it.
    from medistill.runs.volumes.finishing import finish as finish_volumes
    from medistill.runs.volumes.preparing import prepare as prepare_volumes

    job = main_first(lambda: prepare_volumes(recipe, run, device, console))
    earlier = Learning(job).learn()
    main_alone(lambda: finish_volumes(job, earlier=earlier))


def _has_work(recipe: Recipe, run: RunFolder, resume: bool) -> bool:
    """Whether there is anything to train; a run of another recipe is never touched.

    Raises:
        UserError: The folder holds another recipe's run, or an unfinished one.
    """
    _refuse_place(run.path)
    if not run.recipe.exists():
        return True
    other = difference(run, recipe)
    if other:
        raise UserError(
            f"{run.path} holds a run of another recipe ({other}). Choose another --out."
        )
    if not run.finished and not resume:
        raise UserError(f"{run.path} holds an unfinished run: add --resume to go on with it.")
    return not run.finished


def difference(run: RunFolder, recipe: Recipe) -> str:
    """The first place at which a run's recipe differs from another; empty when none does.

    A key that the run's version did not know has its default there. What a comparison is made of
    concerns none of its runs.
    """
    there = yaml.safe_load(run.recipe.read_text("utf-8"))
    with suppress(UserError):  # a key that is gone: the difference names it
        there = _decided(validate(there))
    return _difference(_located(there, run), _located(_decided(recipe), run))


def _located(document: Any, run: RunFolder) -> Any:
    """The runs that a recipe names by where they lie: beside this one, or in full.

    A comparison is taken up in other words for its folder, or after a move; its stages are beside
    one another in any case.
    """
    if isinstance(document, dict):
        return {key: _located(value, run) for key, value in document.items()}
    folder = run_folder(document) if isinstance(document, str) else None
    if folder is None:
        return document
    beside = folder.parent.name == CELLS == run.path.parent.name
    if beside and (run.path.parent / folder.name).exists():
        return f"{RUN}{folder.name}, beside it"
    return f"{RUN}{folder.resolve()}"


def _decided(recipe: Recipe) -> Any:
    return yaml.safe_load(dump(recipe.model_copy(update={"compare": None})))


def _refuse_place(folder: Path) -> None:
    """Find out before the training that nothing can be written there."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise UserError(f"{folder} cannot be made a folder. Choose another --out.")


def _difference(there: Any, here: Any, path: str = "") -> str:
    """The first place at which two recipes differ; empty when they do not."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in [*there, *(key for key in here if key not in there)]:
            place = f"{path}.{key}" if path else str(key)
            found = _difference(there.get(key), here.get(key), place)
            if found:
                return found
        return ""
    return "" if there == here else f"{path}: {there} there, {here} here"
