"""`analyze` on runs of several tasks: what their networks have in common, and what they cost."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from medistill.cli.main import run
from medistill.errors import UserError
from medistill.models.deployed import load_deployed
from medistill.results import RunFolder, read_json, write_json
from medistill.runs import experts
from medistill.runs.analyze import Depth, analyze
from medistill.runs.bills import costs_of_several
from medistill.runs.console import Console
from medistill.runs.experts import Panel
from medistill.runs.images import open_images
from medistill.runs.subjects import images_of
from tests.report.reading import read
from tests.tiny import tiny_student
from tests.trained import Phantoms

from .opened import open_breast
from .several import asked

QUIET, CPU = Console(quiet=True), torch.device("cpu")
TASKS = ["brain", "breast", "chest"]


def cell(together: Path, entry: str) -> RunFolder:
    return RunFolder(next((together / "cells").glob(f"*--{entry}--seed0")))


@pytest.fixture(scope="module")
def looked(together: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is found of experts, of networks on one encoder, and of the model that taught."""
    place = tmp_path_factory.mktemp("looked") / "why"
    runs = [cell(together, name).path for name in ("LoRKD", "multi_task")]
    analyze(runs, out=place, depth=Depth(overlays=3), console=QUIET)
    return place


class TestFound:
    def test_experts_differ_and_networks_on_one_encoder_do_not(self, looked: Path) -> None:
        found = read_json(looked / "experts.json")
        assert found["tasks"] == TASKS
        names = [panel["name"] for panel in found["panels"]]
        assert names[0] == "teacher"
        assert [name.rpartition("--")[0].rpartition("--")[2] for name in names[1:]] == [
            "LoRKD", "multi_task",
        ]  # fmt: skip
        alike = [panel["one_encoder"] for panel in found["panels"]]
        assert alike == [True, False, True]
        for panel in found["panels"]:
            matrix = torch.tensor(panel["cka"])
            assert_close(matrix, matrix.T)
            assert_close(matrix.diagonal(), torch.ones(3))
            assert bool((matrix == 1).all()) == panel["one_encoder"]
            # Experts of one backbone, and heads on one encoder, have dimensions in common.
            assert_close(torch.tensor(panel["covariance"]).diagonal(), torch.ones(3))

    def test_tasks_of_one_region_share_an_expert(self, looked: Path) -> None:
        panel = read_json(looked / "experts.json")["panels"][1]
        assert panel["cka"][1][2] == pytest.approx(1.0)
        assert panel["cka"][0][1] < 1

    def test_the_gap_is_of_the_task_and_of_the_classes_of_each(self, looked: Path) -> None:
        gaps = read_json(looked / "experts.json")["panels"][1]["gap"]
        assert set(gaps) == {"all features", "10 principal directions"}
        facts = {"task", *(f"class of {task}" for task in TASKS)}
        assert all(set(gap["by_factor"]) == facts for gap in gaps.values())

    def test_pictures_and_a_section_of_the_page(self, looked: Path) -> None:
        assert len(list(looked.glob("experts-*.png"))) == 3
        assert len(list(looked.glob("experts/*/*.png"))) == 3
        page = read(looked / "report.html")
        assert not page.unbalanced
        said = page.text
        for words in ("How alike the experts are", "One feature, one fact",
                      "Where it looked: brain", "of rank 2 and 2 not folded in"):  # fmt: skip
            assert words in said
        assert str(looked.parent) not in said

    def test_a_task_by_name_is_looked_at_as_before(self, together: Path, tmp_path: Path) -> None:
        found = [str(cell(together, "LoRKD").path), "--task", "brain", "--out", str(tmp_path / "o")]
        assert run(["analyze", *found, "--triplets", "0", "--overlays", "1"]) == 0
        names = read_json(tmp_path / "o" / "analysis.json")["overlays"]["names"]
        assert names[0] == "teacher", "the foundation run judges this task by a head of its own"

    def test_too_few_images_are_a_slip(self, together: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="brain: the split 'elsewhere' has fewer than 3"):
            analyze([cell(together, "LoRKD").path], out=tmp_path / "o", split="elsewhere")


def test_probes_are_as_many_of_each_task_and_features_those_of_the_network_alone(
    together: Path,
) -> None:
    folder = cell(together, "LoRKD")
    opened = experts._opened([folder], "test", QUIET)
    rows = experts._probes(opened, "test")
    assert len({len(each) for each in rows.values()}) == 1
    network, _ = load_deployed(folder.deployed("chest").path)
    found = experts._features(network, opened, rows, CPU)
    with torch.no_grad():
        alone = network.encoder(images_of(opened["chest"], rows["chest"])).features
    assert_close(found[-len(alone) :], alone)


def test_a_class_is_a_fact_of_its_own_task_alone(together: Path) -> None:
    opened = experts._opened([cell(together, "LoRKD")], "test", QUIET)
    rows = experts._probes(opened, "test")
    count = len(rows["brain"])
    factors = experts._factors(opened, rows)
    assert factors["task"].tolist() == np.repeat(range(3), count).tolist()
    breast = factors["class of breast"].view(3, count)
    assert breast[[0, 2]].eq(-1).all()
    assert breast[1].tolist() == opened["breast"].dataset.targets[rows["breast"]].tolist()


class TestCosts:
    def test_every_network_stands_beside_what_all_take_together(self, together: Path) -> None:
        for entry, whole in (("single_task", 3.0), ("multi_task", 1.0)):
            found = read_json(cell(together, entry).cost)
            assert set(found["tasks"]) == set(TASKS)
            parts = [each["parameters"] for each in found["tasks"].values()]
            heads = 0.05  # of an encoder: what heads may add
            assert whole <= found["together"]["parameters"] / (sum(parts) / 3) < whole + heads

    def test_experts_not_folded_in_are_factors_beside_one_backbone(self, together: Path) -> None:
        folder = cell(together, "LoRKD")
        found = read_json(folder.cost)["unfused"]
        encoder = load_deployed(folder.deployed("shared").path)[0].encoder
        assert found["ranks"] == [2, 2]
        factors = sum(
            2 * conv.kernel_size[0] ** 2 * (conv.in_channels + conv.out_channels)
            for conv in encoder.modules()
            if isinstance(conv, torch.nn.Conv2d) and conv.groups == 1
        )
        heads = sum(
            load_deployed(folder.deployed(task).path)[0].head.weight.numel() + 3 for task in TASKS
        )
        backbone = sum(parameter.numel() for parameter in encoder.parameters())
        assert found["parameters"] == backbone + 2 * factors + heads
        assert found["macs"] > read_json(folder.cost)["student"]["macs"]

    def test_of_one_task_there_is_nothing_to_add(self, tmp_path: Path) -> None:
        folder = RunFolder(tmp_path)
        write_json(folder.deployed("breast").config, {})
        assert costs_of_several(folder, 32, {}) == {}


def test_images_are_those_of_the_run(together: Path, phantoms: Phantoms, tmp_path: Path) -> None:
    opened = experts._opened([cell(together, "multi_task")], "test", QUIET)
    own = open_images(asked(tmp_path, phantoms), None, QUIET)
    assert [one.digests for one in own] == [one.digests for one in opened.values()]


class TestNames:
    def test_a_run_that_is_called_teacher_is_a_run(
        self, phantoms: Phantoms, tmp_path: Path
    ) -> None:
        panel = Panel("teacher", {"breast": tiny_student().eval()}, {"breast": 1.0})
        found = experts._overlays(
            [panel], {"breast": open_breast(phantoms)}, "test", 2, tmp_path, CPU, QUIET
        )
        assert found["breast"]["names"] == ["teacher"]
        assert len(list((tmp_path / "experts" / "1").glob("*.png"))) == 2

    def test_its_cost_stands_beside_that_of_the_model_that_taught(self, tmp_path: Path) -> None:
        run = RunFolder(tmp_path / "teacher")
        write_json(run.cost, {"teacher": {"macs": 9}, "student": {"macs": 1}})
        other = RunFolder(tmp_path / "teacher-2")
        write_json(other.cost, {"teacher": {"macs": 9}, "student": {"macs": 2}})
        found = [(line["name"], line["macs"]) for line in experts.costs([run, other])]
        assert found == [("teacher", 9), ("teacher, one task", 1), ("teacher-2, one task", 2)]

    def test_another_teacher_is_named_after_its_run(self, tmp_path: Path) -> None:
        for name, macs in (("a", 9), ("b", 8)):
            write_json(RunFolder(tmp_path / name).cost, {"teacher": {"macs": macs}})
        runs = [RunFolder(tmp_path / name) for name in "ab"]
        assert [line["name"] for line in experts.costs(runs)] == ["teacher", "teacher of b"]

    def test_networks_are_alike_where_every_number_of_their_encoders_is(self) -> None:
        one, two = tiny_student(), tiny_student()
        two.encoder.load_state_dict(one.encoder.state_dict())
        ones = {"a": 1.0, "b": 1.0}
        assert Panel("x", {"a": one, "b": two}, ones).alike
        with torch.no_grad():
            two.encoder.get_buffer("backbone.network.0.1.running_mean").add_(1)
        assert not Panel("x", {"a": one, "b": two}, ones).alike

    def test_dimensions_are_common_to_experts_of_the_backbone_that_lies_beside_them(self) -> None:
        networks = {"a": tiny_student(), "b": tiny_student()}
        ones = {"a": 1.0, "b": 1.0}
        assert not Panel("stl", networks, ones).one_space
        assert Panel("lorkd", networks, ones, backbone="tiny/tiny").one_space
        # The common network of pairs is another than they.
        assert not Panel("kf", networks, ones, backbone="timm/test_resnet").one_space
        assert Panel("mtl", {"a": networks["a"], "b": networks["a"]}, ones).one_space

    def test_networks_that_were_trained_apart_have_no_covariances(self, together: Path) -> None:
        folder = cell(together, "single_task")
        opened = experts._opened([folder], "test", QUIET)
        panel = experts._panel(folder, "stl", opened, CPU)
        rows = experts._probes(opened, "test")
        found = experts._of_panel(panel, opened, rows, CPU, lambda *_: None)
        assert found["covariance"] is None
        assert len(found["cka"]) == 3

    @pytest.mark.parametrize(
        ("tasks", "several"),
        [([["a", "b"], ["a", "b"]], True), ([["a"], ["a"]], False), ([["a", "b"], ["a"]], False)],
    )
    def test_runs_of_the_same_several_tasks_alone_are_looked_at_together(
        self, tmp_path: Path, tasks: list[list[str]], several: bool
    ) -> None:
        runs = [RunFolder(tmp_path / str(number)) for number in range(len(tasks))]
        for each, names in zip(runs, tasks, strict=True):
            for name in names:
                write_json(each.deployed(name).config, {})
        assert experts.several_tasks(runs) is several
