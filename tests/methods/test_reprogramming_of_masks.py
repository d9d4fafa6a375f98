"""RD on volumes: the shared classifier tells what a patch shows, and all scales are aligned."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from medistill.losses.overlap import bce_with_dice
from medistill.losses.similarity import linear_cka
from medistill.methods._settings import Weights
from medistill.methods.reprogramming_distillation import ReprogrammingDistillation
from medistill.models.segmentation_teachers import FrozenSegmenter
from medistill.models.segmenters.base import Answering
from medistill.types import Batch, Output
from tests.tiny_volumes import (
    WORDS,
    tiny_patches,
    tiny_segmentation_teacher,
    tiny_segmenter,
)


class Pooled(FrozenSegmenter):
    """What a cache holds: no maps."""

    map_shape = None
    map_shapes = ()

    def __init__(self, whole: FrozenSegmenter) -> None:
        self.whole, self.width, self.segmenter = whole, whole.width, whole.segmenter

    def __call__(self, batch: Batch) -> Output:
        return self.whole(batch)._replace(maps=())


def rd(**settings: object) -> ReprogrammingDistillation:
    torch.manual_seed(0)
    return ReprogrammingDistillation(tiny_segmenter(), tiny_segmentation_teacher(), **settings)


def test_it_learns_masks_what_a_patch_shows_and_how_the_teacher_sees() -> None:
    method, batch = rd(), tiny_patches()
    losses = method.losses(batch, 0.0)
    assert list(losses) == ["masks", "student", "reprogrammed", "logits", "geometry"]
    assert all(loss.isfinite() for loss in losses.values())
    method.backward(losses)
    for part in (method.reprogram, method.question, method.student.mask_embedding):
        assert all(p.grad is not None and p.grad.any() for p in part.parameters())
    assert all(p.grad is None for p in method.teacher.segmenter.parameters())


def test_masks_and_what_is_shown_are_the_losses_written_out() -> None:
    method, batch = rd().eval(), tiny_patches()
    losses = method.losses(batch, 0.0)
    output = method.student(batch.images, batch.queries)
    each = bce_with_dice(output.logits, batch.masks)
    assert_close(losses["masks"], each[batch.valid].mean())
    there = batch.masks.flatten(2).any(2).float()
    for term, features in (
        ("student", output.features),
        ("reprogrammed", method.reprogram(method.teacher(batch))),
    ):
        scores = method.question.classifier(features).gather(1, batch.queries)
        wanted = F.binary_cross_entropy_with_logits(scores[batch.valid], there[batch.valid])
        assert_close(losses[term], wanted)


def test_every_scale_is_aligned_position_by_position() -> None:
    method, batch = rd(weights=Weights(geometry=2.0)).eval(), tiny_patches()
    output, taught = method.student(batch.images, batch.queries), method.teacher(batch)
    space = output.maps[-1].shape[2:]
    rows = [
        [F.adaptive_avg_pool3d(each, space).flatten(2).mT.flatten(0, 1) for each in maps]
        for maps in (output.maps, taught.maps)
    ]
    found = [linear_cka(a, b) for a, b in zip(*rows, strict=True)]
    assert len(found) == 2
    pooled = linear_cka(output.features, method.reprogram(taught))
    wanted = 2 * (1 - torch.stack([pooled, *found]).mean())
    assert_close(method.losses(batch, 0.0)["geometry"], wanted)


@pytest.mark.parametrize("term", ["logits", "geometry"])
def test_both_ties_fade(term: str) -> None:
    method, batch = rd().eval(), tiny_patches()
    first, half, last = (method.losses(batch, at)[term] for at in (0.0, 0.5, 1.0))
    assert first > 0
    assert_close(half, first / 2)
    assert last == 0


def test_queries_that_fill_up_rows_do_not_count() -> None:
    method, batch = rd().eval(), tiny_patches()
    before = method.losses(batch, 0.0)
    batch.masks[~batch.valid] = 1
    after = method.losses(batch, 0.0)
    assert all(torch.equal(before[term], after[term]) for term in before)


def test_pooled_features_of_a_cache_are_enough() -> None:
    method = ReprogrammingDistillation(tiny_segmenter(), Pooled(tiny_segmentation_teacher()))
    losses = method.losses(tiny_patches(), 0.0)
    method.backward(losses)
    assert losses["geometry"] > 0
    assert all(p.grad is not None for p in method.reprogram.parameters())


def test_nothing_but_the_student_is_deployed() -> None:
    method = rd()
    (deployed,) = method.deploy().values()
    assert isinstance(deployed, Answering)
    assert deployed.classes == WORDS
    assert deployed.segmenter is method.student
