"""What classification asks of a network with experts, and which objective serves which tasks."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from medistill.errors import UserError
from medistill.methods._classifying import TEMPERATURE, Classifying
from medistill.methods._judges import judged_classes, judgement
from medistill.methods._kinds import objective_of
from medistill.methods._maps import required_maps
from medistill.methods._objectives import Imitated, Labels
from medistill.methods.hint import Hint
from medistill.methods.logit_distillation import LogitDistillation
from medistill.methods.student_alone import StudentAlone
from medistill.models.networks import Student
from medistill.types import Batch, Output, Task
from tests.tiny import CLASSES, tiny_batch, tiny_encoder, tiny_student, tiny_tasks, tiny_teacher

THREE = (*tiny_tasks(), Task("loose", "unlabelled", (), 8))
MASKS = Task("heart", "segmentation", ("ventricle",), 8)


def objective(tasks: tuple[Task, ...] = THREE, **settings: Any) -> Classifying:
    return Classifying(tiny_student(), tiny_teacher(), tasks, **settings)


def mixed() -> Batch:
    """All three tasks; the loose one, and one more sample, have no label."""
    batch = tiny_batch()
    tasks = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    targets = torch.tensor([0, 1, -1, 2, -1, -1, 1, 0])
    return replace(batch, tasks=tasks, targets=targets, weights=torch.linspace(0.5, 2, 8))


def test_each_sample_is_judged_by_its_task_and_weighs_only_with_a_label() -> None:
    made, batch = objective(), mixed()
    output = made.network(batch.images)
    judged = made.labels(output, batch)
    assert torch.equal(judged.weights, batch.weights * (batch.targets >= 0))
    assert torch.equal(judged.tasks, batch.tasks)
    for row in (0, 1, 3, 6, 7):
        logits = made.heads.linears[batch.tasks[row]](output.features[row])
        assert_close(judged.each[row], F.cross_entropy(logits, batch.targets[row]))


def test_the_joint_head_tells_the_classes_of_all_tasks_apart() -> None:
    made, batch = objective(labels=Labels(global_head=0.25)), mixed()
    output = made.network(batch.images)
    assert made.joint is not None and made.joint.out_features == 2 * CLASSES
    plain = made.heads(output.features, batch)
    joint = F.cross_entropy(made.joint(output.features)[7], torch.tensor(CLASSES + 0))
    judged = made.labels(output, batch)
    assert_close(judged.each[7] - plain[7], 0.25 * joint)
    # What has no label has none in the joint head either.
    assert not judged.each[[2, 4, 5]].any()


def test_the_joint_head_is_not_deployed() -> None:
    networks = objective(labels=Labels(global_head=1.0)).networks([tiny_encoder()] * 3)
    assert {name: network.head.out_features for name, network in networks.items()} == {  # type: ignore[union-attr]
        "lung": CLASSES, "breast": CLASSES,
    }  # fmt: skip


@pytest.mark.parametrize("projection", ["student", "fixed_teacher"])
@pytest.mark.parametrize("loss", ["kl", "mse", "cos"])
def test_features_that_are_the_teacher_s_already_cost_nothing(loss: str, projection: str) -> None:
    made = objective(imitated=Imitated(loss=loss, projection=projection))  # type: ignore[arg-type]
    features, wanted = torch.randn(4, 6), torch.randn(4, 8)
    if projection == "student":
        wanted = made.project(features)
    else:
        features = made.carry(wanted)
    found = made.imitation(Output(None, features), tiny_batch(4), Output(None, wanted))
    assert_close(found, torch.tensor(0.0), atol=1e-5, rtol=0)
    moved = Output(None, features + torch.randn_like(features))
    assert made.imitation(moved, tiny_batch(4), Output(None, wanted)) > 1e-4


def test_dimensions_are_compared_as_if_they_were_classes_at_the_temperature() -> None:
    made = objective(imitated=Imitated(temperature=3.0))
    output, taught = Output(None, torch.randn(4, 6)), Output(None, torch.randn(4, 8))
    ours, theirs = made.project(output.features) / 3, taught.features / 3
    each = (theirs.softmax(1) * (theirs.log_softmax(1) - ours.log_softmax(1))).sum(1)
    assert_close(made.imitation(output, tiny_batch(4), taught), 9 * each.mean())
    assert objective().imitated.temperature is None and TEMPERATURE == 10


def test_a_projection_of_the_teacher_stays_as_it_fell() -> None:
    made = objective(imitated=Imitated(projection="fixed_teacher"))
    assert not any(parameter.requires_grad for parameter in made.carry.parameters())
    assert all(parameter.requires_grad for parameter in objective().project.parameters())


@pytest.mark.parametrize("projection", ["student", "fixed_teacher"])
def test_the_shared_network_gives_the_features_that_it_learnt_to_give(projection: str) -> None:
    made = objective(imitated=Imitated(projection=projection))  # type: ignore[arg-type]
    encoder, images = tiny_encoder().eval(), tiny_batch(3).images
    found = made.shared(encoder).eval()(images).logits
    assert_close(found, made.project(encoder(images).features))


def test_the_network_is_none_of_the_objective_s_own_parameters() -> None:
    made = objective()
    own = {id(parameter) for parameter in made.parameters()}
    assert not own & {id(parameter) for parameter in made.network.parameters()}
    assert {name.split(".")[0] for name in made.state_dict()} == {"heads", "project"}


def test_a_loss_of_masks_is_refused_for_classes() -> None:
    with pytest.raises(UserError, match=r"imitated.loss literal compares masks"):
        objective(imitated=Imitated(loss="literal"))


def test_tasks_without_labels_do_not_decide_the_kind() -> None:
    assert isinstance(objective_of(tiny_student(), tiny_teacher(), THREE), Classifying)
    assert isinstance(objective_of(tiny_student(), None, THREE[1:]), Classifying)


@pytest.mark.parametrize("tasks", [(THREE[0], MASKS), (THREE[2],), ()])
def test_labels_of_several_kinds_or_of_none_are_refused_with_their_roots(
    tasks: tuple[Task, ...],
) -> None:
    with pytest.raises(UserError, match="learns labels of one kind") as raised:
        objective_of(tiny_student(), tiny_teacher(), tasks)
    assert all(f"{task.name}: {task.kind}" in str(raised.value) for task in tasks)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("teacher", "told"),
    [
        (tiny_teacher(), "but it gives features alone. Fit a probe on it"),
        (tiny_teacher(logits=True, classes=5), "but it has 5. Fit a probe on it"),
    ],
)
def test_a_teacher_that_does_not_judge_the_students_classes_is_refused(
    teacher: Any, told: str
) -> None:
    with pytest.raises(UserError, match=f"logit_distillation needs a teacher .* 3 classes, {told}"):
        LogitDistillation(tiny_student(), teacher)


def test_a_teacher_that_judges_them_is_asked_for_its_logits() -> None:
    teacher, student, batch = tiny_teacher(logits=True), tiny_student(), tiny_batch()
    assert judged_classes(StudentAlone(student), student, teacher) == CLASSES
    assert torch.equal(judgement(teacher, batch), teacher(batch).logits)


def test_a_teacher_without_maps_is_refused_by_what_compares_them() -> None:
    with pytest.raises(UserError, match=r"^hint needs the teacher's maps, .* Set teacher\.grid"):
        Hint(tiny_student(), tiny_teacher(grid=1))
    teacher = tiny_teacher(scales="all")
    assert required_maps(StudentAlone(tiny_student()), teacher) == tuple(teacher.map_shapes)


def test_a_student_alone_learns_what_its_task_says_and_is_deployed_as_it_is() -> None:
    student, batch = tiny_student(), tiny_batch()
    method = StudentAlone(student).eval()
    (loss,) = method.losses(batch, 0.5).values()
    assert_close(loss, F.cross_entropy(student(batch.images).logits, batch.targets))
    assert method.deploy() == {"all": student}
    assert isinstance(method.deploy()["all"], Student)
