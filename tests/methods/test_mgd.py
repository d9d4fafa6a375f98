"""Masked generative distillation: methods.md §2.7."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from medistill.errors import Advice
from medistill.methods import _words
from medistill.methods.mgd import Mgd
from medistill.models.networks import Student
from medistill.models.teachers import Frozen
from tests.tiny import SIZE, tiny_batch, tiny_student, tiny_teacher


class Seeing(nn.Module):
    """A generator that keeps what it was shown, and returns it."""

    def forward(self, shown: Tensor) -> Tensor:
        self.shown = shown
        return shown


def copy_of(student: Student) -> Frozen:
    return Frozen(copy.deepcopy(student.encoder), image_shape=(3, SIZE, SIZE))


def test_a_student_like_its_teacher_with_nothing_hidden_has_nothing_to_learn() -> None:
    student = tiny_student().eval()
    method = Mgd(student, copy_of(student), masked=0.0).eval()
    assert isinstance(method.align, nn.Identity)
    method.generate = nn.Identity()
    assert method.losses(tiny_batch(), 0.5)["generation"] == 0


def test_the_error_is_a_sum_over_the_map_and_a_mean_over_the_batch() -> None:
    batch, teacher = tiny_batch(), tiny_teacher(width=8)
    method = Mgd(tiny_student(width=6), teacher, masked=0.0, generation=0.5).eval()
    aligned = method.align(method.student(batch.images).maps[-1])
    apart = method.generate(aligned) - teacher(batch).maps[-1]
    expected = 0.5 * sum(each.pow(2).sum() for each in apart) / len(batch)
    assert_close(method.losses(batch, 0.5)["generation"], expected)


def test_whole_channels_are_hidden_at_the_share_that_is_asked_and_the_others_stay() -> None:
    method = Mgd(tiny_student(width=128), tiny_teacher(width=128), masked=0.15).eval()
    method.generate = seen = Seeing()
    method.align = nn.Identity()
    batch = tiny_batch(size=64)
    method.losses(batch, 0.5)
    whole = method.student(batch.images).maps[-1]
    hidden = (seen.shown == 0).flatten(2).all(2) & (whole != 0).flatten(2).any(2)
    alive = (whole != 0).flatten(2).any(2)
    # Some 8000 draws: four standard deviations of the share are 0.016.
    assert_close(hidden[alive].float().mean().item(), 0.15, atol=0.016, rtol=0)
    # Plain 0 and 1, without dropout's 1/(1 - λ).
    assert_close(seen.shown[~hidden], whole[~hidden], rtol=0, atol=0)
    assert not torch.equal(hidden[0], hidden[1])


def test_the_students_map_is_brought_to_the_teachers_size() -> None:
    batch, teacher = tiny_batch(), tiny_teacher(width=8, grid=2)
    method = Mgd(tiny_student(width=6), teacher, masked=0.0, generation=1.0).eval()
    aligned = method.align(method.student(batch.images).maps[-1])
    resized = F.interpolate(aligned, (2, 2), mode="bilinear", align_corners=False)
    expected = (method.generate(resized) - teacher(batch).maps[-1]).pow(2).sum() / len(batch)
    assert_close(method.losses(batch, 0.5)["generation"], expected)


def test_the_generator_is_as_published_or_as_thin_as_asked() -> None:
    def weights(width: int | None) -> int:
        method = Mgd(tiny_student(), tiny_teacher(width=8), width=width)
        return sum(p.numel() for p in method.generate.parameters() if p.ndim > 1)

    assert weights(None) == 18 * 8**2
    assert weights(3) == 18 * 8 * 3


def test_a_generator_heavier_than_students_are_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_words, "HEAVY", 1000)
    with pytest.warns(Advice, match=r"mgd: its generator has 0\.0 M weights .* 8 channels"):
        Mgd(tiny_student(), tiny_teacher(width=8))
    Mgd(tiny_student(), tiny_teacher(width=8), width=2)
