"""`medistill compare`: its flags, and slips before anything runs."""

from pathlib import Path

import pytest

from medistill.cli.main import run
from tests.trained import Phantoms, write_recipe


@pytest.fixture
def recipe(phantoms: Phantoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_recipe(tmp_path / "recipe.yaml", phantoms)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--seeds", "0,one"), "--seeds '0,one': write numbers, as in 0,1,2."),
        (("--fractions", "a"), "--fractions 'a': write numbers"),
        (("--methods", ","), "--methods ',' names nothing."),
        (("--jobs", "0"), "--jobs 0: at least 1."),
        (("--methods", "rdd"), "Unknown method 'rdd'. Did you mean"),
        (("--data", "nowhere"), "Nothing is left to compare. nowhere: there is nothing at nowhere"),
        (("--set", "compare.tune=0"), "compare.tune = 0"),
        (("--set", "compare.metrik=auroc"), "Did you mean 'metric'?"),
    ],
)
def test_a_slip_ends_in_one_line_and_runs_nothing(
    recipe: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], said: str
) -> None:
    assert run(["compare", str(recipe), *flags]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert said in errors
    assert not list(Path("runs").rglob("finished"))


def test_every_flag_reaches_the_comparison(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def catch(parsed, out, **given):
        asked.update(given, out=out, **dict(parsed.compare))

    monkeypatch.setattr("medistill.runs.compare.compare", catch)
    words = (
        "--out o --data a=x --methods kd,rd --teachers t=run:t --students s=timm/s --jobs 3 "
        "--fractions 0.5,1 --seeds 4,5 --tune 3 --max-mb 10 --max-ms 2.5"
    )
    assert run(["compare", str(recipe), *words.split()]) == 0
    assert asked == {
        "out": Path("o"), "data": {"a": "x"}, "methods": ("kd", "rd"), "teachers": {"t": "run:t"},
        "students": {"s": "timm/s"}, "jobs": 3, "fractions": (0.5, 1.0), "seeds": (4, 5),
        "tune": 3, "max_mb": 10.0, "max_ms": 2.5, "starts": (), "variants": {}, "pretrained": {},
        "metric": None,
    }  # fmt: skip


def test_the_folder_is_named_after_the_recipe(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = []
    monkeypatch.setattr("medistill.runs.compare.compare", lambda _, out: places.append(out))
    assert run(["compare", str(recipe)]) == 0
    assert places == [Path("runs/recipe")]
