"""Plain multi-task learning."""

import torch
from torch.testing import assert_close

from medistill.losses.supervised import cross_entropy
from medistill.methods.multi_task import MultiTask
from tests.structure import on_meta, parameters, tasks_of
from tests.tiny import tiny_batch, tiny_student, tiny_tasks


def test_of_one_task_it_is_the_student_alone() -> None:
    batch, student = tiny_batch(), tiny_student()
    batch.tasks[:] = 0
    method = MultiTask(student, tiny_tasks()[:1])
    method.objective.heads.linears[0].load_state_dict(student.head.state_dict())
    alone = cross_entropy(student(batch.images).logits, batch.targets, batch.weights)
    assert_close(method.losses(batch, 0.5), {"labels": alone})


def test_large_tasks_dominate_by_their_share_of_the_batch() -> None:
    batch, method = tiny_batch(), MultiTask(tiny_student(), tiny_tasks()).eval()
    batch.tasks[:] = torch.tensor([0] * 6 + [1] * 2)
    whole = method.losses(batch, 0.0)["labels"]
    by_task = []
    for task in (0, 1):
        part = tiny_batch()
        part.images[:], part.tasks[:] = batch.images, batch.tasks
        part.targets[batch.tasks != task] = -1
        by_task.append(method.losses(part, 0.0)["labels"])
    assert_close(whole, 6 / 8 * by_task[0] + 2 / 8 * by_task[1])


def test_what_it_deploys_shares_one_encoder() -> None:
    lung, breast = MultiTask(tiny_student(), tiny_tasks()).deploy().values()
    assert lung.encoder is breast.encoder
    assert lung.head is not breast.head


def test_it_holds_one_backbone_whatever_the_number_of_tasks() -> None:
    method = on_meta(lambda student: MultiTask(student, tasks_of(11)))
    assert parameters(method, without=("heads",)) == 1_253_604
