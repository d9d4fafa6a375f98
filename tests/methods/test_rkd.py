"""Relational distillation: methods.md §2.9."""

from torch.testing import assert_close

from medistill.losses.relational_distances import angle_discrepancy, distance_discrepancy
from medistill.losses.supervised import cross_entropy
from medistill.methods.rkd import Rkd
from tests.tiny import tiny_batch, tiny_student, tiny_teacher


def test_its_terms_relate_the_pooled_features() -> None:
    batch, teacher = tiny_batch(), tiny_teacher(width=8)
    method = Rkd(tiny_student(width=6), teacher, labels=0.5).eval()
    _, features, _ = student = method.student(batch.images)
    wanted = teacher(batch).features
    losses = method.losses(batch, 0.5)
    labels = cross_entropy(student.logits, batch.targets, batch.weights)
    assert_close(losses["labels"], 0.5 * labels)
    assert_close(losses["distances"], 25 * distance_discrepancy(features, wanted))
    assert_close(losses["angles"], 50 * angle_discrepancy(features, wanted))


def test_the_same_image_twice_in_a_batch_leaves_every_gradient_small() -> None:
    batch, method = tiny_batch(), Rkd(tiny_student(), tiny_teacher(), labels=0.0)
    batch.images[1:4] = batch.images[0].clone()
    method.backward(method.losses(batch, 0.5))
    gradients = [parameter.grad for parameter in method.student.encoder.parameters()]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert max(gradient.abs().max() for gradient in gradients) < 1e3
