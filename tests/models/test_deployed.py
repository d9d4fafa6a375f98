"""A deployed network comes back from its folder alone, and can be another run's start."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import nn

from medistill.errors import UserError
from medistill.models.backbones.base import build_backbone
from medistill.models.deployed import (
    find_deployed,
    load_deployed,
    load_start,
    read_config,
    save_deployed,
)
from medistill.models.networks import Encoder, Student

SMALL = "torchvision/shufflenet_v2_x0_5"
CONFIG: dict[str, Any] = {"task": "lung", "classes": ["healthy", "ill"], "size": 64}


def small_student(name: str = SMALL, **settings: Any) -> Student:
    return Student(Encoder(build_backbone(name), **settings), 2)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that deployed one network, normalised in its own way."""
    student = small_student(mean=0.5, std=0.25)
    save_deployed(student, tmp_path / "deployed" / "lung", CONFIG)
    return tmp_path


def test_what_was_saved_comes_back_without_a_recipe(tmp_path: Path) -> None:
    student = small_student(mean=0.5, std=0.25)
    student(torch.rand(4, 3, 64, 64))  # moves the statistics of batch norms
    save_deployed(student, tmp_path, {**CONFIG, "licence": "Apache-2.0"})
    loaded, config = load_deployed(tmp_path)
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(loaded(images).logits, student.eval()(images).logits)
    assert not loaded.training
    assert config["licence"] == "Apache-2.0"
    assert config["backbone"] == {"name": SMALL, "options": {}}


@pytest.mark.parametrize("stretch", [True, False])
def test_whether_images_are_stretched_comes_back_and_starts_others(
    tmp_path: Path, stretch: bool
) -> None:
    student = small_student(stretch=stretch).eval()
    save_deployed(student, tmp_path, CONFIG)
    loaded, config = load_deployed(tmp_path)
    images = torch.rand(2, 3, 64, 64) / 4
    assert torch.equal(loaded(images).logits, student(images).logits)
    assert loaded.encoder.stretch == config["stretch"] == stretch
    other = small_student(stretch=not stretch)
    load_start(other.encoder, tmp_path)
    assert other.encoder.stretch == stretch


def test_a_network_of_before_anything_was_stretched_is_read(run: Path) -> None:
    path = run / "deployed" / "lung" / "config.json"
    config = json.loads(path.read_text())
    del config["stretch"]
    path.write_text(json.dumps(config))
    assert not load_deployed(path.parent)[0].encoder.stretch


def test_options_and_size_come_back(tmp_path: Path) -> None:
    backbone = build_backbone("timm/vit_tiny_patch16_224", {"img_size": 32})
    save_deployed(Student(Encoder(backbone, size=32), 2), tmp_path, {**CONFIG, "size": 99})
    loaded, config = load_deployed(tmp_path)
    assert (loaded.encoder.size, config["size"]) == (32, 99)
    assert loaded(torch.rand(1, 3, 50, 40)).features.shape == (1, 192)


def test_the_folder_holds_two_whole_files_that_need_no_pickle(run: Path) -> None:
    folder = run / "deployed" / "lung"
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert "encoder.backbone.network.conv1.0.weight" in set(file.keys())


def test_tensors_that_share_memory_are_saved_all_the_same(tmp_path: Path) -> None:
    student = small_student()
    student.encoder.backbone.network.alias = nn.Sequential(student.head)
    student = student.to(memory_format=torch.channels_last)
    save_deployed(student, tmp_path, CONFIG)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        alias = file.get_tensor("encoder.backbone.network.alias.0.weight")
    assert torch.equal(alias, student.head.weight)


def test_a_failure_while_writing_leaves_the_former_network(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run / "deployed" / "lung"
    before = (folder / "model.safetensors").read_bytes()

    def full(path: Path, content: bytes) -> int:
        path.write_text("half")
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space"):
        save_deployed(small_student(), folder, CONFIG)
    assert (folder / "model.safetensors").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_as_many_class_names_as_logits_are_needed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 logits for 1 classes"):
        save_deployed(small_student(), tmp_path, {**CONFIG, "classes": ["ill"]})


def test_a_start_copies_encoder_and_normalisation_but_no_head(run: Path) -> None:
    student = small_student()
    head = student.head.weight.clone()
    config = load_start(student.encoder, run)
    theirs, _ = load_deployed(run / "deployed" / "lung")
    for name, tensor in theirs.encoder.state_dict().items():
        assert torch.equal(student.encoder.state_dict()[name], tensor)
    assert student.encoder.mean == (0.5, 0.5, 0.5)
    assert torch.equal(student.head.weight, head)
    assert config["task"] == "lung"


def test_a_start_of_another_architecture_names_both(run: Path) -> None:
    student = small_student("torchvision/shufflenet_v2_x1_0")
    before = student.encoder.state_dict()["backbone.network.conv5.0.weight"].clone()
    with pytest.raises(UserError, match=r"holds .*x0_5, but the student is .*x1_0\."):
        load_start(student.encoder, run)
    after = student.encoder.state_dict()["backbone.network.conv5.0.weight"]
    assert torch.equal(before, after)


def test_a_start_with_other_options_names_them(run: Path) -> None:
    folder = run / "deployed" / "lung"
    config = read_config(folder)
    config["backbone"]["options"] = {"stages_repeats": [4, 8, 4]}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"x0_5 \{stages_repeats: \[4, 8, 4\]\}"):
        load_start(small_student().encoder, run)


def test_of_several_networks_one_must_be_named(run: Path) -> None:
    save_deployed(small_student(), run / "deployed" / "breast", CONFIG)
    assert find_deployed(run, "lung") == run / "deployed" / "lung"
    with pytest.raises(UserError, match="name one of its tasks; it holds breast, lung"):
        find_deployed(run)
    with pytest.raises(UserError, match="no task 'lnug'; it holds breast, lung"):
        find_deployed(run, "lnug")


def test_a_region_and_what_all_share_are_names_too(run: Path) -> None:
    thorax = {**CONFIG, "region": "thorax"}
    for task, config in {
        "heart": thorax,
        "lung": thorax,
        "shared": {**CONFIG, "classes": []},
    }.items():
        save_deployed(small_student(), run / "deployed" / task, config)
    assert find_deployed(run, "thorax") == run / "deployed" / "heart"
    assert find_deployed(run, "lung") == run / "deployed" / "lung"
    assert find_deployed(run, "shared") == run / "deployed" / "shared"
    with pytest.raises(UserError, match="name one of its tasks; it holds heart, lung, thorax, sh"):
        find_deployed(run)


def test_one_encoder_under_several_heads_is_what_they_share(run: Path) -> None:
    for task in ("heart", "lung"):
        config = {**CONFIG, "shared_encoder": True, "region": task}
        save_deployed(small_student(), run / "deployed" / task, config)
    assert find_deployed(run, "shared") == find_deployed(run) == run / "deployed" / "heart"


def test_the_folder_of_one_network_is_a_run_too(run: Path) -> None:
    assert find_deployed(run / "deployed" / "lung") == run / "deployed" / "lung"


def test_an_empty_run_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"No deployed network in .*looked in"):
        find_deployed(tmp_path)
    with pytest.raises(UserError, match=r"No deployed network at .*looked for"):
        load_deployed(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("config.json", '{"format": 2}', "has format 2, but this medistill reads 1"),
        ("config.json", '{"form', "not valid JSON"),
        ("model.safetensors", "cut off", "missing or damaged"),
    ],
)
def test_a_damaged_folder_is_refused_in_one_line(
    file: str, content: str, says: str, run: Path
) -> None:
    folder = run / "deployed" / "lung"
    (folder / file).write_text(content)
    with pytest.raises(UserError, match=says):
        load_deployed(folder)


def test_tensors_of_another_network_are_refused(run: Path) -> None:
    folder = run / "deployed" / "lung"
    config = read_config(folder)
    config["backbone"]["name"] = "torchvision/shufflenet_v2_x1_0"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="not those of torchvision/shufflenet_v2_x1_0"):
        load_deployed(folder)
