"""Runs of a comparison in this very process, which a test has patience for."""

from pathlib import Path

from medistill.errors import UserError
from medistill.recipe import read_recipe
from medistill.runs.console import Console
from medistill.runs.train import train


class Ended:
    """An attempt that is over as soon as it was begun."""

    def __init__(self, code: int) -> None:
        self.code = code

    def poll(self) -> int:
        return self.code

    def kill(self) -> None:
        raise AssertionError("it has ended")

    def wait(self) -> int:
        return self.code


class Here:
    """Begins runs, one after the other.

    Args:
        failing: Parts of the names of those that fail.
    """

    def __init__(self, *failing: str) -> None:
        self.begun: list[str] = []
        self.failing = failing

    def __call__(self, recipe: Path, folder: Path, log: Path) -> Ended:
        self.begun.append(folder.name)
        log.write_text("a step\nits disk is full\n")
        if any(part in folder.name for part in self.failing):
            return Ended(1)
        try:
            train(read_recipe(recipe), folder, resume=True, console=Console(quiet=True))
        except UserError as error:
            log.write_text(str(error))
            return Ended(2)
        return Ended(0)
