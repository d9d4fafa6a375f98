"""N-to-one representation matching: methods.md §2.8."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from medistill.losses.supervised import cross_entropy
from medistill.methods.norm import Norm
from medistill.models.networks import Student
from tests.tiny import tiny_batch, tiny_student, tiny_teacher


def trained(method: Norm, steps: int = 5) -> Norm:
    """The method when its norms have statistics, scales and shifts of their own."""
    optimizer = torch.optim.SGD(method.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        method.backward(method.losses(tiny_batch(), 0.5))
        optimizer.step()
    for norm in (module for module in method.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return method


def unfolded(method: Norm, images: Tensor) -> Tensor:
    """What the network says with its detour, layer by layer as the paper draws it."""
    maps = method.student.encoder(images).maps[-1]
    (convolution, norm), (back, last) = method.detour.widen, method.detour.narrow
    matched = maps + last(back(norm(convolution(maps))))
    return method.student.head(matched.mean((2, 3)))


def test_what_is_deployed_says_what_the_detour_says() -> None:
    method = trained(Norm(tiny_student(), tiny_teacher())).eval()
    images = torch.rand(16, 3, 12, 12)
    plain = method.deploy()["all"].eval()
    expected = unfolded(method, images)
    assert_close(plain(images).logits, expected, atol=1e-5, rtol=1e-5)
    without = method.student(images).logits
    assert (without - expected).abs().max() > 0.1  # the detour is no small thing


def test_what_is_deployed_is_a_student_on_the_encoder_with_a_head_of_its_own() -> None:
    method = Norm(tiny_student(), tiny_teacher())
    plain = method.deploy()["all"]
    assert type(plain) is Student and plain.encoder is method.student.encoder
    assert plain.head is not method.student.head
    assert {name for name, _ in plain.named_parameters()} == {
        name for name, _ in method.student.named_parameters()
    }


def test_deploying_in_the_middle_of_a_training_does_not_disturb_it() -> None:
    torch.manual_seed(1)
    method = Norm(tiny_student(), tiny_teacher()).train()
    before, batch = copy.deepcopy(method.state_dict()), tiny_batch()
    first = method.deploy()["all"].head
    kept = first.weight.clone()
    assert all(module.training for module in method.detour.modules())
    assert_close(method.state_dict(), before, rtol=0, atol=0)
    trained(method, steps=1)
    method.backward(method.losses(batch, 0.5))
    assert torch.equal(first.weight, kept) and first.weight.grad is None


@pytest.mark.parametrize("grid", [None, 2])
def test_its_terms_equal_the_formula_with_a_tiled_teacher(grid: int | None) -> None:
    batch, teacher = tiny_batch(), tiny_teacher(width=8, grid=grid)
    method = trained(Norm(tiny_student(), teacher, labels=0.5, matching=2.0, copies=4)).eval()
    widened = method.detour.widen(method.student.encoder(batch.images).maps[-1])
    if grid is not None:
        widened = F.adaptive_max_pool2d(widened, grid)
    tiled = torch.cat([teacher(batch).maps[-1]] * 4, dim=1)
    losses = method.losses(batch, 0.5)
    assert_close(losses["matching"], 2 * 4 * (widened - tiled).pow(2).mean())
    logits = unfolded(method, batch.images)
    assert_close(losses["labels"], 0.5 * cross_entropy(logits, batch.targets, batch.weights))


def test_the_teachers_map_is_pooled_where_it_is_the_larger() -> None:
    batch, teacher = tiny_batch(), tiny_teacher(width=8)
    student = tiny_student()
    student.backbone.network[1].append(nn.MaxPool2d(2))  # 3x3 becomes 1x1
    method = Norm(student, teacher).eval()
    widened = method.detour.widen(student.encoder(batch.images).maps[-1])
    tiled = F.adaptive_max_pool2d(teacher(batch).maps[-1], 1).repeat(1, 8, 1, 1)
    expected = 8 * (widened - tiled).pow(2).mean()
    assert_close(method.losses(batch, 0.5)["matching"], expected)


def test_the_detour_is_as_wide_as_all_copies_together() -> None:
    method = Norm(tiny_student(width=6), tiny_teacher(width=8), copies=3)
    assert method.detour.widen[0].weight.shape == (24, 6, 1, 1)
    assert method.detour.narrow[0].weight.shape == (6, 24, 1, 1)
