"""Other people's names for the classes, and a threshold that is taken as it was."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medistill.errors import UserError
from medistill.results import Estimate
from medistill.runs import evaluate as module
from medistill.runs.console import Console
from medistill.runs.evaluate import evaluate
from tests.trained import Finished, Phantoms

OWN = ["normal", "smooth", "spiculated"]


class TestNames:
    @pytest.mark.parametrize(
        ("names", "said"),
        [
            ({"smooth": "mass", "spiculated": "mass"}, "'mass' would be smooth and spiculated"),
            ({"smooth": "spiculated"}, "'spiculated' would be smooth and spiculated"),
        ],
    )
    def test_one_that_would_stand_for_two_classes_is_refused_and_nothing_is_written(
        self, finished: Finished, phantoms: Phantoms, names: dict[str, str], said: str
    ) -> None:
        with pytest.raises(UserError) as error:
            evaluate(finished.path, data=phantoms.brain, classes=names, console=Console(quiet=True))
        assert str(error.value).startswith(f"--classes: {said} at once. Say what the data call")
        assert not (finished.path / "evaluations" / f"{phantoms.brain.name}-all").exists()

    def test_two_that_change_places_do(self) -> None:
        places = module._places(OWN, {"smooth": "spiculated", "spiculated": "smooth"})
        assert places == {"normal": 0, "spiculated": 1, "smooth": 2}

    @given(st.permutations([*OWN, "healthy", "mass", ""]))
    def test_each_class_has_a_place_of_its_own_under_any_other_names(
        self, theirs: list[str]
    ) -> None:
        names = dict(zip(OWN, theirs, strict=False))
        places = module._places(OWN, names)
        assert [places[names[mine]] for mine in OWN] == [0, 1, 2]


def test_a_modality_is_no_matter_of_images(finished: Finished, phantoms: Phantoms) -> None:
    with pytest.raises(UserError, match=r"--modality is for scans, but .* classifies images"):
        evaluate(finished.path, data=phantoms.brain, modality="ct", console=Console(quiet=True))


@pytest.mark.parametrize("config", [{}, {"threshold": None}])
def test_where_no_class_stands_out_there_is_no_threshold(config: dict[str, None]) -> None:
    assert module._operating(config) is None


def test_the_threshold_is_that_of_the_run_and_was_fitted_to_nothing_here() -> None:
    said = {"class": "sick", "value": 0.25, "sensitivity": 0.95}
    point = module._operating({"threshold": said})
    assert point is not None
    assert (point.positive, point.threshold, point.wanted) == ("sick", 0.25, 0.95)


def test_what_is_undefined_is_a_dash_and_an_end_that_nobody_knows_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    estimates: dict[str, Estimate] = {
        "auroc": {"value": None, "low": None, "high": None},
        "accuracy": {"value": 0.5, "low": None, "high": 0.9},
        "brier": {"value": 0.25, "low": 0.1, "high": 0.4},
    }
    module._print(estimates, tmp_path, Console())
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert said[:3] == [
        ["auroc", "-"],
        ["accuracy", "0.500"],
        ["brier", "0.250", "(0.100", "to", "0.400)"],
    ]
