"""Grad-CAM: equal to the class activation map where a global average and one Linear end it."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from medistill.analysis.gradcam import grad_cam
from medistill.models.backbones.base import build_backbone
from medistill.models.networks import Encoder, Student
from medistill.types import Output
from tests.tiny import tiny_student


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
