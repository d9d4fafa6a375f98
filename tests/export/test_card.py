import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from medistill.export.card import model_card, write_card
from medistill.results import RunFolder, write_json, write_text

from .conftest import CLASSES, config

RECIPE = {
    "data": {"roots": {"breast": {"root": "/home/alice/busi", "layout": "auto"}}, "size": 64},
    "teacher": {"name": "timm/vit_base", "weights": "w.safetensors", "licence": "CC BY-NC-SA 4.0"},
    "student": {"name": "torchvision/resnet18", "start": "run:/home/alice/runs/first"},
    "method": {"name": "reprogramming_distillation", "temperature": 4.0},
    "training": {"epochs": 60, "learning_rate": 0.001, "warmup": None},
}
METRICS = {
    "validation": {"breast": {"accuracy": {"value": 0.999, "low": 0.9, "high": 1.0}}},
    "test": {
        "breast": {
            "balanced_accuracy": {"value": 0.76, "low": 0.7, "high": 0.82},
            "sensitivity/malignant": {"value": 0.9, "low": None, "high": None},
            "auroc": {"value": None, "low": None, "high": None},
        }
    },
}
COST = {
    "teacher": {"parameters": 86_000_000, "macs": 16_900_000_000, "latency_ms_p50": 120.0},
    "student": {"parameters": 11_200_000, "macs": 1_800_000_000, "latency_ms_p50": 20.5},
}


def facts(**changes: Any) -> dict[str, Any]:
    known = {
        "name": "rd-busi",
        "recipe": RECIPE,
        "environment": {"versions": {"medistill": "0.1.0"}},
        "metrics": METRICS,
        "cost": COST,
        "tasks": {"breast": config(images={"train": 530, "validation": 94, "test": 156})},
    }
    return known | changes


def front_matter(card: str) -> dict[str, Any]:
    _, text, _ = card.split("---\n", 2)
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def test_front_matter_is_what_hubs_read() -> None:
    assert front_matter(model_card(facts())) == {
        "license": "cc-by-nc-sa-4.0",
        "pipeline_tag": "image-classification",
        "library_name": "onnx",
        "tags": ["medical-imaging", "knowledge-distillation", "medistill"],
        "datasets": ["busi"],
        "metrics": ["accuracy", "auroc", "balanced_accuracy"],
    }


@pytest.mark.parametrize(
    "words",
    [
        "# rd-busi",
        "`torchvision/resnet18`, taught by `timm/vit_base` (reprogramming distillation)",
        "**Not a medical device.**",
        "- `breast`: benign, malignant, normal",
        "| breast | 530 | 94 | 156 |",
        "Licence of its weights: CC BY-NC-SA 4.0.",
        "forbid commercial use, and this student inherits them",
        "Nothing of the teacher is in the exported file",
        "| temperature | `4.0` |",
        "| training.epochs | `60` |",
        "| student.start | `run:first` |",
        "| balanced accuracy | 0.760 | 0.700 to 0.820 |",
        "| sensitivity/malignant | 0.900 |  |",
        "| Parameters | 86 M | 11.2 M |",
        "| CPU latency, median | 120 ms | 20.5 ms |",
        "resized to 64 x 64 pixels",
        "Few test images: breast.",
        "medistill predict deployed/breast/model.onnx",
    ],
)
def test_card_says(words: str) -> None:
    assert words in model_card(facts())


def test_card_keeps_to_itself_where_files_lay_and_what_choices_were_made_on() -> None:
    card = model_card(facts())

    assert "/home/alice" not in card
    assert "0.999" not in card
    assert "auroc |" not in card  # undefined, so left out of the table


def test_teacher_with_random_weights_is_stamped() -> None:
    recipe = {**RECIPE, "teacher": {"name": "timm/vit_base", "weights": "random"}}
    card = model_card(facts(recipe=recipe))

    assert "**Its weights were random**" in card
    assert "not stated; ask before you share this" in card
    assert front_matter(card)["license"] == "other"


def section_of(card: str, title: str) -> str:
    """What stands below a heading; empty where there is none."""
    _, _, rest = card.partition(f"## {title}\n")
    return rest.partition("\n## ")[0]


class TestWhatTheFileHolds:
    """Of other networks, and on whose terms."""

    def test_a_teacher_that_was_left_aside_is_not_named(self) -> None:
        card = model_card(facts(environment={"versions": {}, "teacher": None}))
        assert "vit_base" not in card and "taught by" not in card
        assert not section_of(card, "Teacher")
        assert front_matter(card)["license"] == "other"
        assert "knowledge-distillation" not in front_matter(card)["tags"]

    def test_the_foundation_model_below_a_probe_is_in_the_file(self) -> None:
        teacher = {"name": "lvm_med_vit", "licences": ["CC-BY-NC-SA-4.0"], "random": False}
        recipe = {**RECIPE, "method": {"name": "linear_probe"}}
        environment = {"versions": {}, "teacher": teacher, "student": None}
        card = model_card(facts(recipe=recipe, environment=environment))
        told = section_of(card, "Weights")
        assert "holds the weights of `lvm_med_vit` as they were" in told
        assert "Licence of its weights: CC-BY-NC-SA-4.0." in told
        assert "forbid commercial use, and this file inherits them" in told
        assert "Nothing of the teacher" not in card and "taught by" not in card
        assert "`lvm_med_vit`, frozen, with a linear layer of its own (linear probe)" in card
        assert "resnet18" not in card and "student.start" not in card
        assert front_matter(card)["license"] == "cc-by-nc-sa-4.0"

    @pytest.mark.parametrize("method", ["lora", "full_fine_tuning", "student_alone"])
    def test_a_foundation_model_that_was_tuned_is_in_the_file(self, method: str) -> None:
        student = {"name": "rad_dino", "weights": "/home/alice/model.safetensors"}
        recipe = {**RECIPE, "student": student, "method": {"name": method}}
        own = {"name": "rad_dino", "licences": ["MIT"]}
        environment = {"versions": {}, "teacher": None, "student": own}
        card = model_card(facts(recipe=recipe, environment=environment))
        told = section_of(card, "Weights")
        assert "holds the weights of `rad_dino`, as training left them." in told
        assert "Licence of its weights: MIT." in told
        assert "alice" not in card and "Nothing of the teacher" not in card
        assert front_matter(card)["license"] == "mit"

    def test_licences_that_a_run_inherited_are_those_of_the_teacher(self) -> None:
        teacher = {"name": "run:/home/alice/tuned", "licence": None, "random": False}
        recipe = {**RECIPE, "teacher": {"name": "run:/home/alice/tuned"}}
        tasks = {"breast": config(licences=["CC-BY-NC-SA-4.0"])}
        for known in (teacher, {**teacher, "licences": ["CC-BY-NC-SA-4.0"]}):
            environment = {"versions": {}, "teacher": known}
            card = model_card(facts(recipe=recipe, environment=environment, tasks=tasks))
            told = section_of(card, "Teacher")
            assert "Licence of its weights: CC-BY-NC-SA-4.0." in told
            assert "not stated" not in told
            assert "this student inherits them" in told

    def test_the_terms_of_teacher_and_start_are_told_apart(self) -> None:
        environment = {
            "versions": {},
            "teacher": {"name": "timm/vit_base", "licences": [], "random": False},
            "student": {"name": "torchvision/resnet18", "licences": ["MIT", "Apache-2.0"]},
        }
        card = model_card(facts(environment=environment))
        assert "not stated; ask before you share this" in section_of(card, "Teacher")
        told = section_of(card, "Weights")
        assert "of `run:first`" in told and "- MIT\n- Apache-2.0" in told
        assert front_matter(card)["license"] == "other"

    def test_weights_that_a_student_has_of_its_teacher_are_not_denied(self) -> None:
        recipe = {**RECIPE, "student": {"name": "timm/vit_base", "weights": "w.safetensors"}}
        told = section_of(model_card(facts(recipe=recipe)), "Teacher")
        assert "Nothing of the teacher" not in told
        assert "weights that began as the teacher's" in told

    def test_a_student_of_random_weights_holds_nobodys(self) -> None:
        student = {"name": "torchvision/resnet18", "weights": "random", "start": None}
        card = model_card(facts(recipe={**RECIPE, "student": student}))
        assert not section_of(card, "Weights")

    def test_a_probe_of_random_weights_says_so(self) -> None:
        teacher = {"name": "timm/vit_base", "licences": [], "random": True}
        environment = {"versions": {}, "teacher": teacher, "student": None}
        assert "**They were random**" in model_card(facts(environment=environment))

    @pytest.mark.parametrize("stretch", [True, False])
    def test_whether_images_are_stretched_is_said(self, stretch: bool) -> None:
        card = model_card(facts(tasks={"breast": config(stretch=stretch)}))
        assert ("stretched from the lowest" in section_of(card, "Preprocessing")) == stretch


def test_run_without_teacher_and_judgement_has_a_card_too() -> None:
    card = model_card({"name": "alone", "tasks": {}})

    assert "# alone" in card
    assert not re.search("## (Teacher|Weights|Results|Data|Method|Size)", card)
    assert "None" not in card


def test_network_that_learned_without_labels_offers_no_file_for_predictions() -> None:
    card = model_card(facts(tasks={"breast": config(classes=[])}))

    assert not re.search("## (Preprocessing|How to use)|probability for each", card)


def test_a_bar_in_a_name_does_not_break_the_table() -> None:
    images = {"a|b": config(classes=["x", "y"], images={"test": 1})}

    assert "| a\\|b | 1 |" in model_card(facts(tasks=images))


def test_card_is_written_from_the_files_of_a_run(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "rd-busi")
    write_text(run.recipe, yaml.safe_dump(RECIPE))
    write_json(run.environment, facts()["environment"])
    write_json(run.metrics, METRICS)
    write_json(run.cost, COST)
    write_json(run.deployed("breast").config, facts()["tasks"]["breast"])

    write_card(run)

    assert run.card.read_text() == model_card(facts())


def test_the_lines_of_python_on_the_card_run(
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (code,) = re.findall("```python\n(.*?)```", model_card(facts()), re.DOTALL)
    folder = tmp_path / "deployed" / "breast"
    folder.mkdir(parents=True)
    (folder / "model.onnx").symlink_to(exported)
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / "image.png")
    monkeypatch.chdir(tmp_path)

    exec(compile(code, "card", "exec"), {})

    assert all(name in capsys.readouterr().out for name in CLASSES[:1])
