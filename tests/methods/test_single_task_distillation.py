"""A network of its own for each task, beside a foundation model."""

import pytest
from torch.testing import assert_close

from medistill.errors import UserError
from medistill.methods._tasks import share_of
from medistill.methods.multi_task_distillation import MultiTaskDistillation
from medistill.methods.single_task_distillation import SingleTaskDistillation
from medistill.types import Task
from tests.tiny import tiny_batch, tiny_student, tiny_tasks, tiny_teacher


def test_each_network_and_projection_learns_as_if_it_were_trained_alone() -> None:
    batch, teacher, student = tiny_batch(), tiny_teacher(), tiny_student()
    method = SingleTaskDistillation(student, teacher, tiny_tasks(), temperature=3.0, imitation=0.5)
    method.backward(method.losses(batch, 0.5))
    for place, task in enumerate(tiny_tasks()):
        alone = MultiTaskDistillation(
            tiny_student(), teacher, (task,), temperature=3.0, imitation=0.5
        )
        alone.load_state_dict(method.methods[place].state_dict())
        alone.network.load_state_dict(student.encoder.state_dict())  # statistics have not moved
        alone.backward(alone.losses(share_of(batch, place), 0.5))
        for ours, theirs in zip(
            method.methods[place].parameters(), alone.parameters(), strict=True
        ):
            assert_close(ours.grad, theirs.grad)


def test_a_task_without_labels_is_refused_by_its_name() -> None:
    tasks = (*tiny_tasks(), Task("loose", "unlabelled", (), 8))
    with pytest.raises(UserError, match=r"single_task_distillation learns .* loose has none"):
        SingleTaskDistillation(tiny_student(), tiny_teacher(), tasks)
