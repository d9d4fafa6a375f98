"""Semantic calibration: methods.md §2.5."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

import medistill.methods.semckd as module
from medistill.errors import Advice, UserError
from medistill.methods import _words
from medistill.methods.semckd import Semckd
from medistill.models.networks import Encoder, Student
from tests.tiny import CLASSES, Telling, TinyBackbone, tiny_batch, tiny_student


class OneScale(TinyBackbone):
    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return super().forward(images)[-1:]


def taught(student: Student | None = None, maps: int = 3, **settings: float) -> Semckd:
    teacher = Telling(*(torch.rand(8, 5 + scale, 4, 4) for scale in range(maps)))
    return Semckd(student or tiny_student(), teacher, batch_size=8, **settings)


def test_its_imitation_is_the_formula_written_sample_by_sample() -> None:
    method, batch = taught(imitation=10.0).eval(), tiny_batch()
    ours, theirs = method.student(batch.images).maps, method.teacher(batch).maps
    total = 0.0
    for b in range(8):
        for i, own in enumerate(ours):
            query = F.normalize(method.queries[i](own.flatten(1) @ own[b].flatten()), dim=0)
            keys = [
                F.normalize(method.keys[j](t.flatten(1) @ t[b].flatten()), dim=0)
                for j, t in enumerate(theirs)
            ]
            shares = torch.stack([query @ key for key in keys]).softmax(0)
            for j, offered in enumerate(theirs):
                edge = min(own.shape[-1], 4)
                project = method.projections[len(theirs) * i + j]
                guess = project(F.adaptive_avg_pool2d(own, edge))[b]
                wanted = F.adaptive_avg_pool2d(offered, edge)[b]
                total += shares[j] * ((guess - wanted) ** 2).mean()
    expected = 10 * torch.as_tensor(total) / (8 * len(ours))
    assert_close(method.losses(batch, 0.0)["imitation"], expected)


def test_the_shares_of_the_teachers_stages_sum_to_1_and_differ_by_sample() -> None:
    method, batch = taught(), tiny_batch()
    shares = method._attention(method.student(batch.images).maps, method.teacher(batch).maps)
    assert shares.shape == (8, 2, 3)
    assert_close(shares.sum(2), torch.ones(8, 2))
    assert shares.std(0).max() > 0


def test_of_one_stage_each_it_is_a_mean_squared_error() -> None:
    student = Student(Encoder(OneScale()), CLASSES)
    method, batch = taught(student, maps=1, imitation=1.0).eval(), tiny_batch()
    (own,), (offered,) = method.student(batch.images).maps, method.teacher(batch).maps
    wanted = F.adaptive_avg_pool2d(offered, 3)
    assert_close(
        method.losses(batch, 0.0)["imitation"], F.mse_loss(method.projections[0](own), wanted)
    )


def test_gradients_flow_through_the_attention() -> None:
    method = taught()
    method.losses(tiny_batch(), 0.0)["imitation"].backward()
    for embed in (*method.queries, *method.keys):
        assert all(p.grad is not None for p in embed.parameters())
        assert embed[0].weight.grad.any()


def test_processes_that_hold_parts_of_a_batch_attend_as_one_would(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method, batch = taught().eval(), tiny_batch()
    maps = method.student(batch.images).maps, method.teacher(batch).maps
    expected = method._attention(*maps)
    whole = {each[0].numel(): each.flatten(1) for side in maps for each in side}
    monkeypatch.setattr(module, "whole_batch", lambda rows: whole[rows.shape[1]])
    part = method._attention(*(tuple(each[2:5] for each in side) for side in maps))
    assert_close(part, expected[2:5])


def test_a_batch_of_another_size_is_refused_in_one_line() -> None:
    method = taught()
    method.teacher = Telling(*(each[:6] for each in method.teacher.maps))
    with pytest.raises(UserError, match=r"batches of 8, but got one of 6.*batch_size to 6") as said:
        method.losses(tiny_batch(6), 0.0)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize(("hidden", "inside"), [(None, 10), (256, 10), (7, 7)])
def test_a_projection_has_twice_the_teachers_channels_inside_up_to_a_limit(
    hidden: int | None, inside: int
) -> None:
    widen, _, _, mix, _, _, out = taught(hidden=hidden).projections[0]
    assert (widen.in_channels, widen.out_channels) == (4, inside)
    assert mix.weight.shape == (inside, inside, 3, 3)
    assert (out.in_channels, out.out_channels) == (inside, 5)


def test_heavy_projections_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_words, "HEAVY", 1000)
    with pytest.warns(Advice, match=r"semckd: its projections have 0\.0 M weights, as published"):
        taught()
