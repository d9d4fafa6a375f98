"""Recipe -> objects: what is built, what is refused, what is left aside."""

from pathlib import Path
from typing import Any

import pytest
import torch

from medistill import assemble
from medistill.data.loading import Views
from medistill.errors import UserError
from medistill.models.backbones.base import build_backbone
from medistill.models.deployed import load_deployed, save_deployed
from medistill.models.networks import Encoder, Student
from medistill.models.weights import digest
from medistill.recipe import Recipe, TeacherSource, validate
from medistill.types import Task
from tests.tiny import tiny_student, tiny_teacher
from tests.trained import Finished, Phantoms

TASKS = (Task("it", "classification", ("a", "b", "c"), 8),)


def recipe(**sections: Any) -> Recipe:
    return validate({"data": {"root": "images", "size": 32}, **sections})


def source(**changes: Any) -> TeacherSource:
    return TeacherSource(**{"name": "timm/test_resnet", "weights": "random", **changes})


def test_a_method_gets_the_collaborators_that_it_takes_and_its_settings() -> None:
    student, teacher = tiny_student(), tiny_teacher()
    asked = recipe(method={"name": "rd", "temperature": 2, "weights": {"geometry": 0}})
    method: Any = assemble.build_method(asked, student=student, teacher=teacher, tasks=TASKS)
    assert (method.student, method.teacher) == (student, teacher)
    assert method.temperature == 2.0
    assert method.weights.geometry == 0.0
    assert method.weights.logits == 1.0


def test_a_method_bound_to_the_batch_size_has_the_trainings_unless_the_recipe_differs() -> None:
    bound = recipe(method="semckd", training={"batch_size": 12})
    assert assemble.method_settings(bound)["batch_size"] == 12
    other = recipe(method={"name": "semckd", "batch_size": 16}, training={"batch_size": 12})
    assert assemble.method_settings(other)["batch_size"] == 16
    assert "batch_size" not in assemble.method_settings(recipe(method="rd"))


@pytest.mark.parametrize(
    ("method", "shapes"),
    [
        ("rd", ((96, 2, 2),)),
        ("at", ((32, 8, 8), (48, 4, 4), (192, 2, 2), (96, 2, 2))),
        ("semckd", ((32, 8, 8), (48, 8, 8), (192, 4, 4), (96, 2, 2))),
        ("hint", ((32, 1, 1), (48, 8, 8), (192, 1, 1), (96, 2, 2))),
    ],
)
def test_a_teacher_is_asked_for_the_maps_that_the_method_looks_at(
    method: str, shapes: tuple[tuple[int, ...], ...]
) -> None:
    asked = recipe(method=method, teacher=vars(source(size=64, grid=2)))
    foundation = assemble.build_foundation(asked.teacher, size=32)
    student = assemble.build_student(asked, classes=2)
    assert assemble.freeze(asked, foundation, student).map_shapes == shapes


def test_a_student_coarser_than_its_teacher_by_two_meets_the_hint_as_it_is() -> None:
    asked = recipe(method="hint", teacher=vars(source(size=64)))
    foundation = assemble.build_foundation(asked.teacher, size=32)
    student = assemble.build_student(asked, classes=2)
    teacher = assemble.freeze(asked, foundation, student)
    method: Any = assemble.build_method(asked, student=student, teacher=teacher, tasks=TASKS)
    assert isinstance(method.regress[0], torch.nn.ConvTranspose2d)


def test_an_alias_is_as_good_as_a_name() -> None:
    assert assemble.method_name(recipe(method="rd")) == "reprogramming_distillation"
    with pytest.raises(UserError, match="Did you mean 'student_alone'"):
        assemble.method_class(recipe(method="student_alon"))


@pytest.mark.parametrize(
    ("said", "file"),
    [
        ("KD", "logit_distillation"),
        ("DKD", "dkd"),
        ("DIST", "dist"),
        ("FitNets", "hint"),
        ("AT", "attention_transfer"),
        ("SP", "similarity_preserving"),
        ("SemCKD", "semckd"),
        ("NORM", "norm"),
        ("RD", "reprogramming_distillation"),
        ("Direct", "direct_reprogramming"),
        ("MeLo", "lora"),
        ("AdaptFormer", "adaptformer"),
        ("VPT-deep", "vpt_deep"),
        ("vpt shallow", "vpt_shallow"),
        ("LPT", "lpt"),
        ("LoRKD", "knowledge_decomposition"),
        ("MTL-KD", "multi_task_distillation"),
        ("Aligned-MTL", "aligned_mtl"),
    ],
)
def test_a_method_is_known_as_papers_spell_it(said: str, file: str) -> None:
    assert assemble.method_name(recipe(method=said)) == file


def test_a_slip_in_an_alias_is_answered_with_the_alias() -> None:
    with pytest.raises(UserError, match="Did you mean 'fitnet'"):
        assemble.method_class(recipe(method="fitnetz"))


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("student_alone", ["student_alone takes no teacher: timm/t is left aside."]),
        ("linear_probe", ["linear_probe takes no student: torchvision/resnet18 is left aside."]),
        ("rd", []),
    ],
)
def test_what_a_method_does_not_look_at_is_named(method: str, said: list[str]) -> None:
    heard: list[str] = []
    assemble.check_collaborators(recipe(method=method, teacher="timm/t"), ["it"], heard.append)
    assert heard == said


def test_a_method_that_lacks_a_teacher_or_has_too_many_roots_is_refused() -> None:
    with pytest.raises(UserError, match="reprogramming_distillation needs a teacher"):
        assemble.check_collaborators(recipe(method="rd"), ["it"], print)
    with pytest.raises(UserError, match="trains one task, but the recipe has 2 roots: a, b"):
        assemble.check_collaborators(recipe(method="student_alone"), ["a", "b"], print)


def test_a_teacher_that_takes_any_size_sees_the_images_as_they_are() -> None:
    assert assemble.build_foundation(source(), size=32).encoder.size is None


def test_a_teacher_of_one_size_gets_that_size() -> None:
    foundation = assemble.build_foundation(source(name="timm/test_coatnet"), size=32)
    assert foundation.encoder.size == 160


def test_the_size_that_a_recipe_says_wins() -> None:
    assert assemble.build_foundation(source(size=64), size=32).encoder.size == 64


def test_a_student_that_cannot_take_the_images_is_refused() -> None:
    with pytest.raises(UserError, match="does not take images of 32 pixels"):
        assemble.build_student(recipe(student="timm/test_coatnet"), classes=2)


def test_a_random_teacher_is_the_same_one_in_every_process_and_draws_nothing() -> None:
    torch.manual_seed(1)
    first = assemble.build_foundation(source(), size=32)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn)
    torch.manual_seed(2)
    assert digest(assemble.build_foundation(source(), size=32).encoder) == digest(first.encoder)
    assert first.random


def test_the_normalisation_of_a_recipe_is_the_networks() -> None:
    foundation = assemble.build_foundation(source(mean=0.5, std=[0.1, 0.2, 0.3]), size=32)
    assert foundation.encoder.mean == (0.5, 0.5, 0.5)
    student = {"name": "timm/test_efficientnet", "mean": 0.25, "std": 0.5}
    built = assemble.build_student(recipe(student=student), classes=2)
    assert built.encoder.mean == (0.25, 0.25, 0.25)


def test_a_teacher_without_weights_is_refused() -> None:
    with pytest.raises(UserError, match=r"teacher\.weights is missing"):
        assemble.build_foundation(source(weights=None), size=32)


def test_a_run_is_teacher_student_or_start(finished: Finished) -> None:
    name = f"run:{finished.path}"
    foundation = assemble.build_foundation(TeacherSource(name=name), size=32)
    assert isinstance(foundation.encoder, Encoder)
    assert not foundation.random
    started = {"name": "timm/test_efficientnet", "start": name}
    students = [
        assemble.build_student(recipe(student=student), classes=4) for student in (name, started)
    ]
    for student in students:
        assert student.head.out_features == 4
        for key, tensor in student.encoder.state_dict().items():
            assert torch.equal(tensor, foundation.encoder.state_dict()[key]), key


def test_a_run_of_one_network_judges_by_itself_and_one_of_several_does_not(
    finished: Finished, tmp_path: Path
) -> None:
    foundation = assemble.build_foundation(TeacherSource(name=f"run:{finished.path}"), size=32)
    network, config = load_deployed(finished.path / "deployed" / "breast")
    assert foundation.head is not None
    assert torch.equal(foundation.head.weight, network.head.weight)
    assert foundation.classes == tuple(config["classes"])
    for task in ("brain", "chest"):
        save_deployed(network, tmp_path / "deployed" / task, {**config, "shared_encoder": True})
    several = assemble.build_foundation(TeacherSource(name=f"run:{tmp_path}"), size=32)
    assert (several.head, several.classes) == (None, ())
    assert list(several.heads) == ["brain", "chest"]


def test_heads_on_one_encoder_judge_the_tasks_of_their_names_and_classes(tmp_path: Path) -> None:
    config = {"task": "it", "size": 32, "shared_encoder": True}
    encoder = Encoder(build_backbone("timm/test_efficientnet"))
    networks = {name: Student(encoder, 2) for name in ("ct", "xray")}
    for name, network in networks.items():
        folder = tmp_path / "deployed" / name
        save_deployed(network, folder, {**config, "classes": ["a", "b"]})
    foundation = assemble.build_foundation(TeacherSource(name=f"run:{tmp_path}"), size=32)
    tasks = [
        Task(name, "classification", classes, 8)
        for name, classes in (("xray", ("a", "b")), ("ct", ("b", "a")), ("new", ("a", "b")))
    ]
    settings = {"name": "kf", "task_network": "timm/test_resnet"}
    method: Any = assemble.build_method(
        recipe(method=settings),
        student=tiny_student(),
        teacher=tiny_teacher(),
        tasks=tasks,
        foundation=foundation,
    )
    head, *others = method.judges.heads
    assert torch.equal(head.weight, networks["xray"].head.weight)
    assert others == [None, None]


def test_heads_of_separate_networks_judge_nothing(tmp_path: Path) -> None:
    config = {"task": "it", "size": 32, "classes": ["a", "b"]}
    for name in ("ct", "xray"):
        network = Student(Encoder(build_backbone("timm/test_efficientnet")), 2)
        save_deployed(network, tmp_path / "deployed" / name, config)
    assert assemble._heads(tmp_path) == {}


def test_one_of_a_runs_networks_is_student_or_start(tmp_path: Path) -> None:
    encoders = {name: Encoder(build_backbone("timm/test_efficientnet")) for name in ("ct", "xray")}
    config = {"task": "it", "classes": ["a", "b"], "size": 32}
    for name, encoder in encoders.items():
        save_deployed(Student(encoder, 2), tmp_path / "deployed" / name, config)
    run = f"run:{tmp_path}"
    for source in ({"name": run}, {"name": "timm/test_efficientnet", "start": run}):
        student = assemble.build_student(recipe(student={**source, "task": "xray"}), classes=4)
        assert digest(student.encoder) == digest(encoders["xray"])
        with pytest.raises(UserError, match="holds ct, xray"):
            assemble.build_student(recipe(student=source), classes=4)


@pytest.mark.parametrize(("size", "edges"), [(None, [64, 32, 16, 8, 4]), (48, [24, 12, 6, 3, 2])])
def test_a_student_from_a_run_sees_images_as_large_as_they_are_now(
    tmp_path: Path, size: int | None, edges: list[int]
) -> None:
    encoder = Encoder(build_backbone("timm/test_efficientnet"), size=size)
    config = {"task": "it", "classes": ["a", "b"], "size": 32}
    save_deployed(Student(encoder, 2), tmp_path / "deployed" / "it", config)
    run = f"run:{tmp_path}"
    asked = validate({"data": {"root": "images", "size": 128}, "student": {"name": run}})
    student = assemble.build_student(asked, classes=2)
    assert student.encoder.size == size
    assert [shape[-1] for shape in student.map_shapes] == edges


def test_a_network_of_one_size_keeps_it_when_another_run_starts_from_it(tmp_path: Path) -> None:
    encoder = Encoder(build_backbone("timm/test_coatnet"))
    config = {"task": "it", "classes": ["a", "b"], "size": 160}
    save_deployed(Student(encoder, 2), tmp_path / "deployed" / "it", config)
    student = {"name": f"run:{tmp_path}"}
    asked = validate({"data": {"root": "images", "size": 128}, "student": student})
    assert assemble.build_student(asked, classes=2).encoder.size == 160


def test_a_task_of_no_run_is_refused() -> None:
    asked = recipe(student={"name": "timm/test_efficientnet", "task": "lung"})
    with pytest.raises(
        UserError, match=r"student\.task lung .* no run is named\. Add student\.start"
    ):
        assemble.build_student(asked, classes=2)


@pytest.mark.parametrize("name", ["shared", "all"])
def test_no_root_is_called_as_what_several_have_in_common(name: str) -> None:
    with pytest.raises(UserError, match=rf"called '{name}'.*Rename data\.roots\.{name}"):
        assemble.check_collaborators(recipe(method="mtl"), ["lung", name], print)


@pytest.mark.parametrize("method", ["mtl", "student_alone"])
def test_a_lone_root_called_shared_would_make_a_run_without_tasks(method: str) -> None:
    with pytest.raises(UserError, match=r"called 'shared'.* \(of a single root: data\.name\)"):
        assemble.check_collaborators(recipe(method=method), ["shared"], print)
    assemble.check_collaborators(recipe(method=method), ["all"], print)


@pytest.mark.parametrize("key", ["weights", "options", "mean", "std", "stretch", "size"])
def test_a_run_takes_no_orders_about_its_network(key: str) -> None:
    values = {"weights": "a.safetensors", "options": {"img_size": 32}, "stretch": True}
    value = values.get(key, 32)
    with pytest.raises(UserError, match=rf"teacher\.{key} cannot stand beside .* run:somewhere"):
        assemble.build_foundation(TeacherSource(name="run:somewhere", **{key: value}), size=32)
    asked = recipe(student={"name": "run:somewhere", key: value})
    with pytest.raises(UserError, match=rf"student\.{key} cannot stand beside .* run:somewhere"):
        assemble.build_student(asked, classes=2)


def test_adapters_in_a_network_that_knows_nothing_must_be_asked_for() -> None:
    name = "timm/test_vit"
    with pytest.raises(UserError, match=r"lora tunes .*student\.weights is missing: name timm/t"):
        assemble.check_collaborators(recipe(method="melo", student=name), ["it"], print)
    for named in ({"weights": "random"}, {"start": "run:somewhere"}):
        asked = recipe(method="melo", student={"name": name, **named})
        assemble.check_collaborators(asked, ["it"], print)


def test_adapters_in_a_student_without_blocks_are_refused_before_images_are_read() -> None:
    asked = recipe(method="vqt", student="timm/test_efficientnet")
    with pytest.raises(UserError, match="do not fit into timm/test_efficientnet"):
        assemble.build_student(asked, classes=2)


def test_views_are_what_the_recipe_says() -> None:
    data = {"root": "x", "views": 3, "view_seed": 7, "augmentation": {"flip": "both"}}
    views = assemble.views(validate({"data": data}))
    assert isinstance(views, Views)
    assert (views.count, views.seed, views.augmentation.flip) == (3, 7, "both")


def test_roots_are_listed_with_the_patients_of_their_pattern(phantoms: Phantoms) -> None:
    data = {"root": str(phantoms.brain), "patient_pattern": r"(\d+)\.png"}
    ((_, samples),) = assemble.open_layouts(validate({"data": data})).values()
    assert {sample.patient for sample in samples} == {f"{number:04d}" for number in range(8)}


def test_a_missing_root_is_found_before_the_first_is_decoded(
    phantoms: Phantoms, tmp_path: Path
) -> None:
    data = {"roots": [str(phantoms.brain), str(tmp_path / "none")]}
    with pytest.raises(UserError, match="none' does not exist"):
        assemble.open_layouts(validate({"data": data}))
