"""A finished run's network, for use from Python."""

from pathlib import Path

from medistill.errors import UserError
from medistill.models.deployed import load_deployed
from medistill.models.networks import Student
from medistill.results import RunFolder


def load(run: Path | str, task: str | None = None) -> Student:
    """The deployed network of a run: images in [0, 1] in, `Output` out.

    Args:
        run: Folder of a finished run.
        task: Which task, if the run has several.
    """
    folder = RunFolder(Path(run))
    student, _ = load_deployed(folder.deployed(only_task(folder, task)).path)
    return student.eval()


def only_task(folder: RunFolder, task: str | None) -> str:
    """The task that is asked for, or the only one there is.

    Raises:
        UserError: The run deployed nothing, nothing of this name, or several to choose from.
    """
    tasks = folder.tasks()
    if not tasks:
        raise UserError(f"{folder.path} holds no deployed network. Is the run finished?")
    if task is None and len(tasks) == 1:
        return tasks[0]
    if task not in tasks:
        asked = f"no task {task!r}" if task else f"{len(tasks)} tasks"
        raise UserError(f"{folder.path} has {asked}; choose with --task: {', '.join(tasks)}.")
    return task
