"""Runs that students start from: which network of each, and what is said where there is none."""

from pathlib import Path
from typing import Any

import pytest

from medistill.errors import UserError
from medistill.models.deployed import FORMAT
from medistill.recipe import dump, validate
from medistill.results import RunFolder, write_json, write_text
from medistill.runs.comparing.origins import origin

from .made import BASE, grid


def leave(folder: Path, *tasks: str, finished: bool = True, **config: Any) -> RunFolder:
    """A run that deployed networks of some tasks, all but the first of the region torso."""
    run = RunFolder(folder)
    roots = {task: {"root": task, **({"region": "torso"} if n else {})} for n, task in
             enumerate(tasks)}  # fmt: skip
    write_text(run.recipe, dump(validate({**BASE, "data": {"roots": roots}})))
    for task in tasks:
        known = {"format": FORMAT, "backbone": {"name": "timm/test_efficientnet"}, **config}
        write_json(run.deployed(task).config, known)
    if finished:
        run.finish()
    return run


def said(run: RunFolder, **more: Any) -> dict[str, Any]:
    return {"name": f"run:{run.path}", **more}


class TestOrigin:
    def test_of_a_run_of_one_task_is_its_network_whatever_the_region(self, tmp_path: Path) -> None:
        run = leave(tmp_path / "run", "brain")
        assert origin(said(run), "knee", "leg", 0).student == said(run)

    @pytest.mark.parametrize("tasks", [("brain",), ("brain", "breast")])
    def test_of_one_expert_is_the_shared_backbone_where_it_fits_not(
        self, tmp_path: Path, tasks: tuple[str, ...]
    ) -> None:
        # Runs of before said that their one encoder serves any start.
        run = leave(tmp_path / "run", *tasks, shared_encoder=True)
        write_json(run.deployed("shared").config, {"format": FORMAT})
        foreign, own = (origin(said(run), "set", region, 0) for region in ("leg", "brain"))
        assert (foreign.student, foreign.shared) == (said(run, task="shared"), True)
        assert (own.student, own.shared) == (said(run, task="brain"), False)

    def test_of_several_tasks_is_the_first_network_of_the_region(self, tmp_path: Path) -> None:
        run = leave(tmp_path / "run", "brain", "breast", "chest")
        assert origin(said(run), "covid", "torso", 0).student == said(run, task="breast")

    def test_of_heads_on_one_encoder_is_any_of_them(self, tmp_path: Path) -> None:
        run = leave(tmp_path / "run", "brain", "breast", shared_encoder=True)
        found = origin(said(run), "knee", "leg", 0)
        assert found.student == said(run)
        assert not found.shared

    def test_that_is_named_by_set_is_that_and_others_go_by_region(self, tmp_path: Path) -> None:
        run = leave(tmp_path / "run", "brain", "breast")
        named = said(run, task={"covid": "brain"})
        assert origin(named, "covid", "torso", 0).student == said(run, task="brain")
        assert origin(named, "other", "torso", 0).student == said(run, task="breast")

    @pytest.mark.parametrize(
        ("task", "why"),
        [
            (None, "has no network of leg, only of brain, torso."),
            ("spine", "has no task 'spine', only of brain, torso."),
        ],
    )
    def test_that_is_not_there_is_told_with_what_is(
        self, tmp_path: Path, task: str | None, why: str
    ) -> None:
        run = leave(tmp_path / "run", "brain", "breast", "chest")
        found = origin(said(run, **({"task": task} if task else {})), "knee", "leg", 0)
        assert found.student is None
        assert found.why == f"{run.path} {why}"

    def test_of_a_run_that_was_stopped_is_none(self, tmp_path: Path) -> None:
        run = leave(tmp_path / "run", "brain", finished=False)
        found = origin(said(run), "knee", "leg", 0)
        assert (found.student, found.why) == (None, f"there is no finished run at {run.path}.")

    def test_each_seed_has_its_own_run_where_the_name_says_so(self, tmp_path: Path) -> None:
        run = leave(tmp_path / "run--seed3", "brain")
        name = {"name": f"run:{tmp_path}/run--seed{{seed}}"}
        assert origin(name, "knee", "leg", 3).student == name
        assert origin(name, "knee", "leg", 4).student is None
        assert run.finished


class TestEntries:
    @pytest.mark.parametrize("value", ["runs/best", {"name": "timm/resnet18"}, {}])
    def test_what_names_no_run_is_refused(self, tmp_path: Path, value: Any) -> None:
        with pytest.raises(UserError, match=r"^compare\.pretrained\.x = .*: name a run, as in run"):
            grid(tmp_path, pretrained={"x": value})

    @pytest.mark.parametrize("name", ["student_alone", "RD"])
    def test_what_is_called_like_another_is_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(UserError, match=f"pretrained.{name} is called like another entry"):
            grid(tmp_path, pretrained={name: "run:x"})

    def test_learn_as_the_student_alone_from_their_run_of_the_seed(self, tmp_path: Path) -> None:
        from medistill.runs.comparing.grid import wanted

        for seed in (0, 1):
            leave(tmp_path / f"run{seed}", "images")
        found = grid(tmp_path, pretrained={"x": f"run:{tmp_path}/run{{seed}}"})
        cells = [cell for cell in wanted(found, {}) if cell.entry == "x"]
        names = [found.recipe(cell).student.name for cell in cells]
        assert names == [f"run:{tmp_path}/run{seed}" for seed in (0, 1)]
        assert {found.recipe(cell).method["name"] for cell in cells} == {"student_alone"}
        assert found.entries["x"].makes_student

    def test_another_network_than_the_student_is_no_rival_of_it(self, tmp_path: Path) -> None:
        leave(tmp_path / "run", "images", backbone={"name": "timm/large"})
        assert (
            not grid(tmp_path, pretrained={"x": f"run:{tmp_path}/run"}).entries["x"].makes_student
        )
