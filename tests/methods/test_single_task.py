"""A network of its own for each task."""

import copy
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from medistill.errors import UserError
from medistill.losses.supervised import cross_entropy
from medistill.methods._apart import resting_norms
from medistill.methods._tasks import share_of
from medistill.methods.single_task import SingleTask
from medistill.types import Task
from tests.structure import on_meta, parameters, tasks_of
from tests.tiny import tiny_batch, tiny_student, tiny_tasks


def test_each_network_learns_as_if_it_were_trained_alone() -> None:
    batch, method = tiny_batch(), SingleTask(tiny_student(), tiny_tasks())
    alone = copy.deepcopy(method.deploy())
    method.backward(method.losses(batch, 0.5))
    for place, (name, network) in enumerate(alone.items()):
        share = share_of(batch, place)
        logits = network(share.images).logits
        cross_entropy(logits, share.targets, share.weights).backward()
        together = dict(method.deploy()[name].named_parameters())
        for key, parameter in network.named_parameters():
            assert_close(together[key].grad, parameter.grad)


def test_networks_start_alike_and_share_nothing() -> None:
    student = tiny_student()
    lung, breast = SingleTask(student, tiny_tasks()).deploy().values()
    assert_close(lung.encoder.state_dict(), breast.encoder.state_dict(), rtol=0, atol=0)
    assert_close(lung.encoder.state_dict(), student.encoder.state_dict(), rtol=0, atol=0)
    assert {*map(id, lung.parameters())}.isdisjoint({*map(id, breast.parameters())})


def test_the_network_of_a_task_that_is_absent_stays_as_it_is() -> None:
    batch, method = tiny_batch(), SingleTask(tiny_student(), tiny_tasks())
    batch.tasks[:] = 0
    lung, breast = method.deploy().values()
    before = copy.deepcopy(breast.state_dict())
    method.backward(method.losses(batch, 0.5))
    assert all(p.grad is None for p in breast.parameters())
    assert_close(breast.state_dict(), before, rtol=0, atol=0)  # batch statistics too
    assert all(p.grad is not None for p in lung.parameters())


def test_a_task_without_labels_is_refused_by_its_name() -> None:
    with pytest.raises(UserError, match="single_task learns from labels alone, but loose"):
        SingleTask(tiny_student(), (*tiny_tasks(), Task("loose", "unlabelled", (), 8)))


def test_it_holds_as_many_backbones_as_there_are_tasks() -> None:
    method = on_meta(lambda student: SingleTask(student, tasks_of(11)))
    assert parameters(method, without=("heads",)) == 13_789_644


def test_losses_are_those_of_all_tasks_together() -> None:
    batch, method = tiny_batch(), SingleTask(tiny_student(), tiny_tasks()).eval()
    whole = method.losses(batch, 0.5)["labels"]
    parts = []
    for task in (0, 1):
        share = share_of(batch, task)
        share.tasks[:] = task
        parts.append(method.losses(share, 0.5)["labels"])
    assert_close(whole, torch.stack(parts).sum())


def test_a_task_whose_only_sample_could_not_be_normalised_waits_for_another() -> None:
    batch, method = tiny_batch(), SingleTask(tiny_student(), tiny_tasks())
    batch.tasks[:] = 0
    batch.tasks[-1] = 1
    batch = replace(batch, images=batch.images[..., :4, :4])  # the last map has one pixel
    method.backward(method.losses(batch, 0.5))
    lung, breast = method.deploy().values()
    assert all(p.grad is None for p in breast.parameters())
    assert all(p.grad is not None for p in lung.parameters())


def test_where_every_task_has_a_lone_sample_norms_judge_by_what_they_know() -> None:
    batch, method = tiny_batch(2), SingleTask(tiny_student(), tiny_tasks())
    batch = replace(batch, images=batch.images[..., :4, :4])  # the last map has one pixel
    assert method.deploy()["lung"].eval()(batch.images).maps[-1].shape[2:] == (1, 1)
    before = copy.deepcopy(dict(method.named_buffers()))
    method.train()
    method.backward(method.losses(batch, 0.5))
    assert all(p.grad is not None for p in method.parameters())
    assert_close(dict(method.named_buffers()), before, rtol=0, atol=0)
    assert all(module.training for module in method.modules())


def test_norms_that_rest_come_back_as_they_were() -> None:
    network = tiny_student().train()
    first, second = (m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d))
    first.eval()
    with pytest.raises(KeyError), resting_norms(network):
        assert not second.training
        raise KeyError
    assert (first.training, second.training) == (False, True)
