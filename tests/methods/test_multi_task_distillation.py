"""Multi-task learning beside a foundation model."""

import pytest
from torch.testing import assert_close

from medistill.errors import UserError
from medistill.losses.divergence import feature_kl
from medistill.methods.multi_task import MultiTask
from medistill.methods.multi_task_distillation import MultiTaskDistillation
from medistill.types import Task
from tests.tiny import tiny_batch, tiny_student, tiny_tasks, tiny_teacher

LOOSE = Task("loose", "unlabelled", (), 8)


def test_a_weight_of_0_leaves_plain_multi_task_learning() -> None:
    batch, student = tiny_batch(), tiny_student()
    plain = MultiTask(student, tiny_tasks())
    method = MultiTaskDistillation(student, tiny_teacher(), tiny_tasks(), imitation=0.0)
    method.objective.heads.load_state_dict(plain.objective.heads.state_dict())
    assert_close(sum(method.losses(batch, 0.5).values()), plain.losses(batch, 0.5)["labels"])


def test_the_students_projected_features_imitate_the_teachers_untouched_ones() -> None:
    batch, teacher, student = tiny_batch(), tiny_teacher(width=10), tiny_student().eval()
    method = MultiTaskDistillation(
        student, teacher, tiny_tasks(), temperature=3.0, imitation=0.5
    ).eval()
    own = method.objective.project(student(batch.images).features)
    expected = 0.5 * feature_kl(own, teacher(batch).features, 3.0)
    assert_close(method.losses(batch, 0.5)["imitation"], expected)


def test_images_without_labels_are_imitated_and_deploy_nothing() -> None:
    batch = tiny_batch()
    batch.tasks[:], batch.targets[:] = 2, -1
    method = MultiTaskDistillation(tiny_student(), tiny_teacher(), (*tiny_tasks(), LOOSE))
    losses = method.losses(batch, 0.5)
    method.backward(losses)
    assert losses["labels"] == 0 and losses["imitation"] > 0
    assert method.objective.project.weight.grad.any()
    assert list(method.deploy()) == ["lung", "breast"]


def test_without_any_label_it_says_so() -> None:
    with pytest.raises(UserError, match=r"needs labels, but no task has any \(loose\)"):
        MultiTaskDistillation(tiny_student(), tiny_teacher(), (LOOSE,))


def test_the_projection_stays_behind() -> None:
    method = MultiTaskDistillation(tiny_student(), tiny_teacher(), tiny_tasks())
    kept = {id(p) for network in method.deploy().values() for p in network.parameters()}
    assert id(method.objective.project.weight) not in kept
