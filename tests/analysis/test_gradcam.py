"""Grad-CAM: equal to the class activation map where a global average and one Linear end it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from medistill import catalog
from medistill.analysis.gradcam import grad_cam
from medistill.models.adapters.base import PACKAGE, blocks_of, with_adapters
from medistill.models.backbones.base import build_backbone
from medistill.models.deployed import load_deployed, save_deployed
from medistill.models.networks import Encoder, Student
from medistill.types import Output
from tests.tiny import CLASSES, SIZE, tiny_student, tiny_vit, tiny_windowed_vit

ADAPTERS = catalog.available(PACKAGE)
GRID = (3, 3)


def vit() -> Student:
    backbone = build_backbone("timm/test_vit", {"img_size": 32})
    return Student(Encoder(backbone, size=32), 3)


@pytest.mark.parametrize("make", [tiny_student, vit])
def test_it_is_the_class_activation_map_over_the_number_of_places(make: object) -> None:
    student = make().eval()  # type: ignore[operator]
    images, classes = torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 2, 1])
    last = student(images).maps[-1].detach()
    activation = torch.einsum("bc,bchw->bhw", student.head.weight[classes], last)

    found = grad_cam(student, images, classes)

    places = last.shape[2] * last.shape[3]
    assert activation.relu().max() > 0
    assert_close(found, activation.relu().detach() / places)


def test_an_image_has_the_map_it_has_alone() -> None:
    student = tiny_student().eval().requires_grad_(False)  # frozen weights do not hinder it
    images, classes = torch.rand(3, 3, 12, 12), torch.tensor([2, 0, 1])
    together = grad_cam(student, images, classes)
    alone = [grad_cam(student, images[i : i + 1], classes[i : i + 1]) for i in range(3)]
    assert_close(together, torch.cat(alone))
    assert all(parameter.grad is None for parameter in student.parameters())


class Deep(nn.Module):
    """Not linear after its average: gradients differ from image to image."""

    def forward(self, images: Tensor) -> Output:
        last = images * 1
        features = last.flatten(2).mean(2)
        return Output(features.square(), features, (last,))


def test_it_weighs_channels_by_the_mean_gradient() -> None:
    images = torch.rand(1, 3, 4, 4)
    # Of the square of channel 1's mean m the gradient is 2 m / 16 at each of 16 places.
    expected = (2 * images[0, 1].mean() / 16) * images[:, 1]
    assert_close(grad_cam(Deep().eval(), images, torch.tensor([1])), expected)


def test_a_network_in_training_is_refused() -> None:
    with pytest.raises(ValueError, match="call eval"):
        grad_cam(tiny_student().train(), torch.rand(2, 3, 12, 12), torch.tensor([0, 1]))


def test_volumes_have_maps_too() -> None:
    volumes = torch.rand(2, 3, 4, 5, 6)
    assert grad_cam(Deep().eval(), volumes, torch.tensor([0, 2])).shape == (2, 4, 5, 6)


def adapted(name: str, make: Callable[[], Student] = tiny_vit, **settings: Any) -> Student:
    """A tuned transformer, its adapters' numbers drawn anew."""
    encoder = make().encoder
    known = {id(parameter) for parameter in encoder.parameters()}
    student = Student(with_adapters(encoder, name, settings), CLASSES)
    with torch.no_grad():
        for parameter in student.parameters():
            if id(parameter) not in known:
                parameter.normal_()
    return student.eval().requires_grad_(False)


class Nudged(nn.Module):
    """A norm to whose tokens something is added, where they are as many as are nudged.

    Args:
        norm: What the block has.
        nudge: A gradient by it is a gradient by the tokens.
    """

    def __init__(self, norm: nn.Module, nudge: Tensor) -> None:
        super().__init__()
        self.norm, self.nudge = norm, nudge
        self.seen = nudge

    def forward(self, tokens: Tensor) -> Tensor:
        normed: Tensor = self.norm(tokens)
        if normed.shape != self.nudge.shape:
            return normed
        self.seen = normed
        return normed + self.nudge


class TestTunedTransformers:
    images, classes = torch.rand(3, 3, SIZE, SIZE), torch.tensor([2, 0, 1])

    @pytest.mark.parametrize("make", [tiny_vit, tiny_windowed_vit])
    @pytest.mark.parametrize("name", ADAPTERS)
    def test_all_of_them_have_evidence_before_and_after_a_file(
        self, name: str, make: Callable[[], Student], tmp_path: Path
    ) -> None:
        student = adapted(name, make)
        found = grad_cam(student, self.images, self.classes)
        assert found is not None
        assert found.shape == (3, *GRID)
        assert found.max() > 0
        alone = grad_cam(student, self.images[:1], self.classes[:1])
        assert_close(alone, found[:1])
        config = {"task": "it", "classes": ["a", "b", "c"], "size": SIZE}
        save_deployed(student, tmp_path, config)
        again = grad_cam(load_deployed(tmp_path)[0], self.images, self.classes)
        assert_close(again, found)

    @pytest.mark.parametrize(
        ("name", "joining"),
        [("deep_prompts", 5), ("prompt_pool", 20), ("query_tokens", 0), ("shallow_prompts", 5)],
    )
    def test_a_class_token_saw_what_the_last_block_attends_to(
        self, name: str, joining: int
    ) -> None:
        student = adapted(name)
        found = grad_cam(student, self.images, self.classes)

        block = blocks_of(student.encoder.backbone)[-1]
        nudge = torch.zeros(3, joining + 1 + 9, block.norm1.normalized_shape[0])
        block.norm1 = nudged = Nudged(block.norm1, nudge.requires_grad_())
        logits = student(self.images).logits.gather(1, self.classes[:, None])
        (slope,) = torch.autograd.grad(logits.sum(), nudge)
        # The nine patches come last, after prompts and the class token.
        expected = torch.einsum("bc,bpc->bp", slope[:, -9:].mean(1), nudged.seen[:, -9:].detach())
        assert_close(found, expected.relu().reshape(3, *GRID))

    def test_where_nothing_of_the_image_is_left_there_is_none(self) -> None:
        student = adapted("deep_prompts")
        # Without its attention the last block tells the class token nothing of the patches.
        blocks_of(student.encoder.backbone)[-1].norm1 = Blind()
        assert grad_cam(student, self.images, self.classes) is None


class Blind(nn.Module):
    """Sees nothing."""

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.zeros_like(tokens)
