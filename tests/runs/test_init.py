"""A recipe to start from is one, whatever the folder is called."""

from pathlib import Path

import pytest

from medistill.documents import parse_yaml
from medistill.errors import UserError
from medistill.recipe import read_recipe, validate
from medistill.runs import init as module
from medistill.runs.init import init

ODD = [
    "plain", "with space", "a #1", "study: 2", "2024", "1e3", "2024-01-31", "yes", "null", "~",
    "it's", '"quoted"', "{braces}", "[list]", "- dash", "*star", "&and", "!bang", "%d", "@at",
    "Ünïcode ☃", "back\\slash", "tab\there", "new\nline", "#", "a: {b}", "trailing ", "|",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_a_folder_of_any_name_is_read_back_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    init(Path(name), Path("recipe.yaml"))
    recipe = read_recipe("recipe.yaml")
    assert [root.root for root in recipe.data.roots.values()] == [Path(name)]


@pytest.mark.parametrize("template", [module.TEMPLATE, module.FOR_VOLUMES])
def test_both_templates_say_nothing_that_a_recipe_does_not_know(template: str) -> None:
    recipe = validate(parse_yaml(template.format(root="images", out="r.yaml"), "recipe"))
    assert recipe.training.seed == 0
    assert list(recipe.data.roots) == ["images"]


def test_what_it_says_next_can_be_pasted_into_a_shell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "my recipes" / "one.yaml"
    init(tmp_path, out)
    assert f"medistill check '{out}', then medistill train '{out}'" in capsys.readouterr().out


def test_no_data_is_a_slip_that_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        init(Path("nowhere"), Path("r.yaml"))
    assert str(error.value) == f"No data at nowhere (looked for {tmp_path / 'nowhere'})."
    assert not Path("r.yaml").exists()


def test_a_folder_in_the_place_of_the_recipe_is_no_place_for_it(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").mkdir()
    with pytest.raises(UserError, match=r"recipe\.yaml is there already; name another with --out"):
        init(tmp_path, tmp_path / "recipe.yaml")
