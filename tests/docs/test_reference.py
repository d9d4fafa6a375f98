"""The reference is generated, and as the code is now."""

import runpy
from pathlib import Path

import pytest

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
SCRIPT = runpy.run_path(str(REFERENCE / "generate.py"))


@pytest.mark.parametrize("name", ["recipe.md", "methods.md", "commands.md", "run-folder.md"])
def test_a_page_is_what_the_code_says(name: str) -> None:
    written = (REFERENCE / name).read_text(encoding="utf-8")
    assert SCRIPT["pages"]()[name] == written, "run: python docs/reference/generate.py"


def test_no_other_page_is_among_them() -> None:
    assert {path.name for path in REFERENCE.glob("*.md")} == set(SCRIPT["pages"]())


def test_every_setting_of_a_recipe_has_its_line() -> None:
    lines = SCRIPT["pages"]()["recipe.md"].splitlines()
    rows = [line for line in lines if line.startswith("| `")]
    assert rows and all(row.split(" | ")[-1].strip(" |") for row in rows)
