"""Segmentation as an objective, and the methods that serve it as they serve classes."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from medistill import catalog
from medistill.errors import UserError
from medistill.losses.overlap import bce_with_dice, bernoulli_kl
from medistill.methods._objectives import Imitated, Labels
from medistill.methods._segmenting import Segmenting
from medistill.methods.base import Method
from medistill.methods.multi_task_distillation import MultiTaskDistillation
from medistill.methods.student_alone import StudentAlone
from medistill.models.segmentation_teachers import FrozenSegmenter
from medistill.models.segmenters.base import Answering
from medistill.types import Batch, Output
from tests.tiny_volumes import (
    REGIONS,
    WORDS,
    tiny_patches,
    tiny_segmentation_teacher,
    tiny_segmenter,
)

PACKAGE = "medistill.methods"
KINDS = [catalog.find(PACKAGE, name, Method) for name in catalog.available(PACKAGE)]


def asked(segmenter: torch.nn.Module, batch: Batch) -> Output:
    return segmenter(batch.images, batch.queries)


def build(kind: type[Method], teacher: FrozenSegmenter | None = None) -> Method:
    offered = {
        "student": tiny_segmenter(),
        "teacher": teacher or tiny_segmentation_teacher(),
        "tasks": REGIONS,
    }
    return kind(*(offered[name] for name in catalog.collaborators(kind)))


@pytest.mark.parametrize("kind", [k for k in KINDS if k.volumes], ids=lambda kind: kind.__name__)
class TestEveryMethodThatServesVolumes:
    def test_loss_falls_on_one_batch_to_the_last_moment(self, kind: type[Method]) -> None:
        method, batch = build(kind), tiny_patches()
        optimizer = torch.optim.Adam(method.parameters(), lr=1e-2)
        history = []
        for _ in range(12):
            optimizer.zero_grad()
            losses = method.losses(batch, 0.9)
            method.backward(losses)
            optimizer.step()
            history.append(sum(loss.item() for loss in losses.values()))
        assert history[-1] < history[0]

    def test_what_it_deploys_answers_the_classes_of_each_task(self, kind: type[Method]) -> None:
        deployed = build(kind).deploy()
        expected = {task.name: task.classes for task in REGIONS}
        found = {name: network.classes for name, network in deployed.items() if name in expected}
        assert found == expected or deployed["all"].classes == WORDS
        assert all(type(network) is Answering for network in deployed.values())

    def test_it_comes_back_from_its_state(self, kind: type[Method]) -> None:
        teacher, batch = tiny_segmentation_teacher(), tiny_patches()
        method, again = build(kind, teacher).eval(), build(kind, teacher).eval()
        again.load_state_dict(method.state_dict())
        assert_close(again.losses(batch, 0.9), method.losses(batch, 0.9))


def test_the_mean_is_pooled_over_all_valid_pairs_and_not_over_samples_first() -> None:
    batch, student = tiny_patches(), tiny_segmenter()
    judged = Segmenting(student, REGIONS).labels(asked(student, batch), batch)
    each = bce_with_dice(asked(student, batch).logits, batch.masks)
    valid = [each[i, j] for i, row in enumerate(batch.valid) for j, v in enumerate(row) if v]
    pooled = (judged.each * judged.weights).sum() / judged.weights.sum()
    assert_close(pooled, torch.stack(valid).mean())
    assert judged.tasks.tolist() == [0, 0, 1, 1, 0, 0, 1, 1]


def test_a_query_that_nobody_asks_changes_nothing() -> None:
    batch, student = tiny_patches(), tiny_segmenter().eval()
    method = StudentAlone(student)
    other = replace(batch, masks=batch.masks | (~batch.valid)[..., None, None, None])
    assert not torch.equal(other.masks, batch.masks)
    assert_close(method.losses(other, 0.5), method.losses(batch, 0.5))


def test_queries_in_another_order_cost_the_same() -> None:
    batch, method = tiny_patches(), StudentAlone(tiny_segmenter().eval())
    turned = replace(batch, queries=batch.queries.flip(1), valid=batch.valid.flip(1),
                     masks=batch.masks.flip(1))  # fmt: skip
    assert_close(method.losses(turned, 0.5), method.losses(batch, 0.5))


def test_masks_of_the_teacher_are_imitated_where_they_are_asked_for() -> None:
    batch, student, teacher = tiny_patches(), tiny_segmenter(), tiny_segmentation_teacher()
    method = MultiTaskDistillation(student, teacher, REGIONS).eval()
    each = bernoulli_kl(asked(student, batch).logits, teacher(batch).logits)
    assert_close(method.losses(batch, 0.5)["imitation"], 0.1 * each[batch.valid].mean())


def test_a_teacher_with_another_order_of_classes_says_the_same() -> None:
    teacher, batch = tiny_segmentation_teacher(), tiny_patches()
    other = tiny_segmentation_teacher(("liver", *reversed(WORDS)))
    own = teacher.segmenter.state_dict()
    vectors = other.segmenter.state_dict()["queries.vectors"].clone()
    vectors[1:] = own["queries.vectors"].flip(0)
    other.segmenter.load_state_dict({**own, "queries.vectors": vectors})
    assert_close(other(batch).logits, teacher(batch).logits)


def test_a_teacher_that_lacks_a_class_is_refused_by_its_name() -> None:
    with pytest.raises(UserError, match="'ventricle' is none of those"):
        tiny_segmentation_teacher(("head", "tail"))


def test_a_teacher_never_learns() -> None:
    teacher, batch = tiny_segmentation_teacher(), tiny_patches()
    method = MultiTaskDistillation(tiny_segmenter(), teacher, REGIONS)
    method.train()
    method.backward(method.losses(batch, 0.5))
    assert not teacher.segmenter.training
    assert all(parameter.grad is None for parameter in teacher.segmenter.parameters())


def test_equation_7_as_printed_pools_the_overlap_of_all_classes() -> None:
    batch, student = tiny_patches(), tiny_segmenter()
    printed = Segmenting(student, REGIONS, labels=Labels(dice="pooled"))
    each = printed.labels(asked(student, batch), batch).each.view(4, 2)
    expected = bce_with_dice(asked(student, batch).logits, batch.masks, pooled_over=batch.valid)
    assert_close(each, expected)


def test_a_divergence_of_features_is_refused_for_masks() -> None:
    with pytest.raises(UserError, match=r"imitated\.loss 'cos' compares features"):
        Segmenting(tiny_segmenter(), REGIONS, imitated=Imitated(loss="cos"))
