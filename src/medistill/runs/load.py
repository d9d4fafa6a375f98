"""What a finished run holds: its network, for use from Python, and its images."""

from pathlib import Path

from torch import nn

from medistill.data.opening import Opened
from medistill.errors import UserError
from medistill.models.deployed import load_deployed, read_config
from medistill.recipe import read_recipe
from medistill.results import RunFolder
from medistill.runs.console import Console
from medistill.runs.images import open_images


def load(run: Path | str, task: str | None = None) -> nn.Module:
    """The deployed network of a run: images in [0, 1] in, `Output` out.

    Of a segmentation it takes patches of prepared volumes, and its logits are those of every voxel.

    Args:
        run: Folder of a finished run.
        task: Which task, if the run has several.
    """
    folder = RunFolder(Path(run))
    name = only_task(folder, task)
    if outlines(folder, name):
        from medistill.models.deployed_segmenters import load_segmenter

        return load_segmenter(folder.deployed(name).path)[0]
    student, _ = load_deployed(folder.deployed(name).path)
    return student.eval()


def outlines(folder: RunFolder, task: str) -> bool:
    """Whether the network of a task outlines organs in volumes."""
    return read_config(folder.deployed(task).path).get("kind") == "segmentation"


def only_task(folder: RunFolder, task: str | None) -> str:
    """The task that is asked for, or the only one there is.

    Raises:
        UserError: The run deployed nothing, nothing of this name, or several to choose from.
    """
    tasks = _deployed_tasks(folder)
    if task is None and len(tasks) == 1:
        return tasks[0]
    if task not in tasks:
        asked = f"no task {task!r}" if task else f"{len(tasks)} tasks"
        raise UserError(f"{folder.path} has {asked}; choose with --task: {', '.join(tasks)}.")
    return task


def _deployed_tasks(folder: RunFolder) -> list[str]:
    if not folder.recipe.exists():
        raise UserError(f"No run at {folder.path} (looked for {folder.recipe.resolve()}).")
    tasks = folder.tasks()
    if not tasks:
        raise UserError(f"{folder.path} holds no deployed network. Is the run finished?")
    return tasks


def own_images(folder: RunFolder, task: str, console: Console) -> Opened:
    """The images of one task of a run, split as they were.

    Raises:
        UserError: The run learnt features, and no classes that images could be judged by.
    """
    recipe = read_recipe(folder.recipe)
    for opened in open_images(recipe, folder, console):
        if opened.dataset.task.name == task:
            return opened
    raise UserError(
        f"{folder.path} learnt features without labels: nothing to judge or export. Start a "
        f"student from it: student.start=run:{folder.path}."
    )
