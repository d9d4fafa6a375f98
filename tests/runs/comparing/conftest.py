"""Comparisons of tiny runs: two ways of making a student, two seeds, one epoch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medistill.recipe import Recipe, read_recipe
from medistill.runs.compare import compare
from medistill.runs.console import Console
from tests.attempts import Here
from tests.trained import Phantoms, quick_finish, refuse_network, write_recipe

BLOCK = {"methods": ["rd"], "seeds": [0, 1]}


class Noted(Console):
    """Says everything to a file."""

    def __init__(self, file: Path) -> None:
        super().__init__(quiet=True)
        self.file = file

    def say(self, text: str) -> None:
        with self.file.open("a", encoding="utf-8") as lines:
            lines.write(f"{text}\n")


def asked(folder: Path, phantoms: Phantoms, **changes: Any) -> Recipe:
    """The tiny recipe with a block of its own."""
    return read_recipe(recipe_file(folder, phantoms, **changes))


def recipe_file(folder: Path, phantoms: Phantoms, **changes: Any) -> Path:
    training = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3, "threads": 1}
    file = folder / "recipe.yaml"
    return write_recipe(file, phantoms, training=training, compare={**BLOCK, **changes})


@pytest.fixture(scope="session")
def compared(tmp_path_factory: pytest.TempPathFactory, phantoms: Phantoms) -> Iterator[Path]:
    """The folder of a finished comparison, of which one set was not there."""
    folder = tmp_path_factory.mktemp("compared")
    data = {
        "breast": {"root": str(phantoms.breast)},
        "busi": {"root": str(folder / "nowhere"), "where": "Its authors give it out."},
    }
    with pytest.MonkeyPatch.context() as patch:
        refuse_network(patch)
        quick_finish(patch)
        recipe = asked(folder, phantoms, data=data)
        noted = Noted(folder / "said.txt")
        compare(recipe, folder / "out", max_ms=5, console=noted, begin=Here())
    yield folder / "out"
