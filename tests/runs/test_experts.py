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
from medistill.runs.images import open_images
from medistill.runs.subjects import images_of
from tests.report.reading import read
from tests.trained import Phantoms

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
                      "Where it looked: brain", "experts not folded in"):  # fmt: skip
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
