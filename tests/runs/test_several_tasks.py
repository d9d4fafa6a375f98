"""Runs of methods of several tasks, from roots to judged and exported networks."""

from pathlib import Path
from typing import Any

import pytest
import torch

from medistill.assemble import build_student
from medistill.errors import UserError
from medistill.models.backbones.base import build_backbone
from medistill.models.deployed import find_deployed, load_deployed
from medistill.models.networks import Student
from medistill.models.weights import digest
from medistill.recipe import Recipe, read_recipe, validate
from medistill.results import RunFolder, read_json, read_jsonl, read_metrics
from medistill.runs import finishing
from medistill.runs.console import Console
from medistill.runs.export import export
from medistill.runs.preparing import prepare
from medistill.runs.train import train
from tests.trained import Phantoms, write_recipe

from .several import asked

TASKS = ["brain_mr", "chest_xray", "breast"]


@pytest.fixture(scope="module")
def recipe_of(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A recipe for three roots."""

    def made(name: str, **settings: Any) -> Recipe:
        roots = {
            "brain_mr": {"root": str(phantoms.brain)},
            "chest_xray": {"root": str(phantoms.chest), "region": "thorax"},
            "breast": {"root": str(phantoms.breast), "region": "thorax"},
        }
        path = tmp_path_factory.mktemp("recipes") / "recipe.yaml"
        write_recipe(
            path,
            phantoms,
            data={
                "roots": roots, "size": 32, "views": 2, "store": str(phantoms.store),
                "task_sampling": "balanced",
            },
            method={"name": name, **settings},
            training={"epochs": 2, "batch_size": 16, "learning_rate": 1e-3, "threads": 1},
        )  # fmt: skip
        return read_recipe(path)

    return made


def check_whole(run: RunFolder) -> None:
    """Every task is validated in each epoch, judged, and deployed as a plain network."""
    log = read_jsonl(run.log)
    assert [set(record["validation"]) for record in log] == [set(TASKS)] * 2
    metrics = read_metrics(run.metrics)
    assert set(metrics["test"]) == set(metrics["validation"]) == set(TASKS)
    assert run.tasks() == sorted(TASKS)
    assert run.finished


def test_multi_task_deploys_heads_on_one_encoder_and_prints_the_mean(
    recipe_of: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(recipe_of("mtl"), tmp_path / "run")
    check_whole(run)
    networks = {task: load_deployed(run.deployed(task).path) for task in TASKS}
    assert all(config["shared_encoder"] for _, config in networks.values())
    first, other = (networks[task][0].encoder.state_dict() for task in TASKS[:2])
    assert all(torch.equal(first[name], other[name]) for name in first)
    said = capsys.readouterr().out
    assert "mean of 3 tasks: accuracy" in said
    assert "mean of 3 tasks" in run.report.read_text(encoding="utf-8")


def test_gradient_surgery_logs_the_loss_of_each_task(recipe_of: Any, tmp_path: Path) -> None:
    run = train(recipe_of("mgda"), tmp_path / "run")
    check_whole(run)
    assert [set(record["losses"]) for record in read_jsonl(run.log)] == [set(TASKS)] * 2


def test_a_factorized_pair_is_exported_and_rebuilt(recipe_of: Any, tmp_path: Path) -> None:
    recipe = recipe_of("knowledge_factorization", task_network="timm/test_resnet")
    run = train(recipe, tmp_path / "run")
    check_whole(run)
    export(run.path, task="breast")
    assert read_json(run.parity)["breast"]["largest"] < 1e-4
    network, config = load_deployed(run.deployed("breast").path)
    assert isinstance(network, Student)
    assert config["backbone"]["name"] == "pair/timm/test_efficientnet+timm/test_resnet"
    assert not config["shared_encoder"]
    started = {**recipe.model_dump(mode="json"), "student": {"name": f"run:{run.path}"}}
    started["student"]["task"] = "breast"
    again = build_student(validate(started), classes=3)
    assert digest(again.encoder) == digest(network.encoder)
    counted = sum(parameter.numel() for parameter in network.parameters())
    assert read_json(run.cost)["student"]["parameters"] == counted
    started["student"]["task"] = "shared"
    common = build_student(validate(started), classes=3)
    assert common.backbone.spec.name == "timm/test_efficientnet"


def test_a_foundation_run_of_the_same_roots_judges_them_beside_its_features(
    together: Path, phantoms: Phantoms, tmp_path: Path
) -> None:
    (foundation,) = (together / "cells").glob("*--foundation--seed0")
    recipe = asked(
        tmp_path,
        phantoms,
        teacher={"name": f"run:{foundation}", "grid": 1},
        method={"name": "kf", "task_network": "timm/test_resnet"},
    )
    job = prepare(recipe, RunFolder(tmp_path / "run"), torch.device("cpu"), Console(quiet=True))
    known = [
        load_deployed(foundation / "deployed" / one.dataset.task.name)[0] for one in job.opened
    ]
    judges: Any = job.method.judges
    for head, network in zip(judges.heads, known, strict=True):
        assert torch.equal(head.weight, network.head.weight)
    batch = next(job.loader().epoch(0))
    assert job.method.losses(batch, 0.5)["logits"] > 0


def test_one_head_for_all_classes_is_judged_with_and_without_those_of_other_tasks(
    recipe_of: Any, tmp_path: Path
) -> None:
    run = train(recipe_of("foundation"), tmp_path / "run")
    check_whole(run)
    for found in read_metrics(run.metrics)["test"].values():
        among_all = found["unified_accuracy"]["value"]
        assert among_all is not None
        assert among_all <= (found["accuracy"]["value"] or 0)
        assert found["unified_balanced_accuracy"]["low"] is not None
    assert "among the classes of all tasks" in run.report.read_text(encoding="utf-8")


def test_all_is_judged_where_it_was_trained_before_any_goes_to_the_cpu(
    recipe_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []

    def noted(name: str) -> Any:
        wanted = getattr(finishing, name)
        return lambda *args, **keys: (called.append(name), wanted(*args, **keys))[1]

    for name in ("judge_network", "unified_metrics", "deploy"):
        monkeypatch.setattr(finishing, name, noted(name))
    train(recipe_of("foundation"), tmp_path / "run")
    assert called == ["judge_network"] * 3 + ["unified_metrics"] * 3 + ["deploy"] * 3


def test_one_expert_gives_nobody_else_what_it_is(recipe_of: Any, tmp_path: Path) -> None:
    recipe = recipe_of("lorkd", experts={"rank": 2})
    document = recipe.model_dump(mode="json")
    del document["data"]["roots"]["brain_mr"]
    document["training"]["epochs"] = 1
    run = train(validate(document), tmp_path / "run")
    configs = [read_json(run.deployed(task).config) for task in ("breast", "chest_xray")]
    assert [(c["region"], c["shared_encoder"]) for c in configs] == [("thorax", False)] * 2
    with pytest.raises(UserError, match="holds breast, chest_xray, thorax, shared"):
        find_deployed(run.path)
    assert find_deployed(run.path, "thorax") == run.deployed("breast").path


def test_experts_are_shipped_as_plain_networks_and_start_others(
    recipe_of: Any, tmp_path: Path
) -> None:
    experts = {"allocation": "loss_reduction", "rank": 4}
    recipe = recipe_of("lorkd", experts=experts, warmup=0.2)
    run = train(recipe, tmp_path / "run")
    check_whole(run)
    export(run.path, task="breast")
    assert read_json(run.parity)["breast"]["largest"] < 1e-4
    found = (load_deployed(run.deployed(task).path) for task in TASKS)
    networks, configs = zip(*found, strict=True)
    assert [config["region"] for config in configs] == ["brain_mr", "thorax", "thorax"]
    assert not any(config["shared_encoder"] for config in configs)
    backbone = build_backbone("timm/test_efficientnet")
    size = sum(parameter.numel() for parameter in backbone.parameters())
    assert {sum(p.numel() for p in network.encoder.parameters()) for network in networks} == {size}
    whole = sum(parameter.numel() for parameter in networks[0].parameters())
    assert read_json(run.cost)["student"]["parameters"] == whole
    digests = [digest(network.encoder) for network in networks]
    assert digests[1] == digests[2] != digests[0]
    shared = digest(load_deployed(run.deployed("shared").path)[0].encoder)
    assert shared not in digests

    def start(task: str) -> str:
        asked = {**recipe.model_dump(mode="json"), "student": {"name": f"run:{run.path}"}}
        asked["student"]["task"] = task
        return digest(build_student(validate(asked), classes=3).encoder)

    names = ["brain_mr", "thorax", "breast", "shared"]
    assert [start(name) for name in names] == [digests[0], digests[1], digests[1], shared]
    with pytest.raises(UserError, match="holds brain_mr, breast, chest_xray, thorax, shared"):
        start("abdomen")
