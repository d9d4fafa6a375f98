"""An encoder normalises for itself; a student is an encoder and one Linear."""

import pytest
import torch
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.models.backbones.base import build_backbone
from medistill.models.networks import Encoder, Student
from tests.models.test_backbones import STUDENTS

SMALL = "torchvision/shufflenet_v2_x0_5"


class Logits(nn.Module):
    """The logits alone: what an export writes down."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.student(images).logits
        return logits


def small_encoder(**settings: object) -> Encoder:
    return Encoder(build_backbone(SMALL), **settings).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [*STUDENTS, "timm/mobilenetv2_100"])
def test_features_are_the_average_of_the_last_map(name: str) -> None:
    student = Student(Encoder(build_backbone(name)), 5).eval()
    logits, features, maps = student(torch.rand(2, 3, 64, 64))
    torch.testing.assert_close(features, maps[-1].mean((2, 3)))
    torch.testing.assert_close(logits, student.head(features))
    assert features.shape == (2, student.width)
    assert tuple(m.shape[1] for m in maps) == student.encoder.widths


def test_a_transformer_is_a_student_too() -> None:
    student = Student(Encoder(build_backbone("timm/vit_tiny_patch16_224", {"img_size": 32})), 2)
    logits, features, maps = student(torch.rand(2, 3, 32, 32))
    assert logits is not None
    assert (logits.shape, features.shape, maps[0].shape) == ((2, 2), (2, 192), (2, 192, 2, 2))


def test_images_are_normalised_by_the_encoders_own_numbers() -> None:
    images = torch.rand(2, 3, 32, 32)
    encoder = small_encoder(mean=0.5, std=(0.25, 0.5, 1.0))
    per_channel = torch.tensor([0.25, 0.5, 1.0]).view(3, 1, 1)
    expected = encoder.backbone((images - 0.5) / per_channel)[-1]
    torch.testing.assert_close(encoder(images).maps[-1], expected)
    assert encoder.mean == (0.5, 0.5, 0.5)


def test_normalisation_is_the_backbones_by_default_and_no_part_of_the_state() -> None:
    encoder = small_encoder()
    assert encoder.mean == encoder.backbone.mean
    assert not [name for name in encoder.state_dict() if "mean" in name and "running" not in name]


def test_an_encoder_of_a_stated_size_resizes() -> None:
    encoder = small_encoder(size=64)
    assert encoder(torch.rand(1, 3, 40, 50)).maps[-1].shape[2:] == (2, 2)
    assert encoder.shapes(500)[-1] == (1024, 2, 2)
    assert small_encoder().shapes(96)[-1] == (1024, 3, 3)


def test_an_image_of_the_stated_size_is_left_as_it_is() -> None:
    images = torch.rand(1, 3, 64, 64)
    encoder = small_encoder(size=64)
    as_it_is = encoder.backbone((images - encoder._mean) / encoder._std)[-1]
    assert torch.equal(encoder(images).maps[-1], as_it_is)


@pytest.mark.parametrize("slip", [{"std": 0.0}, {"mean": (0.5, 0.5)}])
def test_an_impossible_normalisation_is_refused(slip: dict[str, object]) -> None:
    with pytest.raises(UserError, match="give"):
        small_encoder(**slip)


def test_a_new_head_stands_on_the_same_encoder() -> None:
    student = Student(small_encoder(), 3)
    other = student.with_classes(7)
    assert other.encoder is student.encoder
    assert other.head.out_features == 7
    assert student.head.out_features == 3


def test_what_is_deployed_is_the_backbone_and_one_linear() -> None:
    student = Student(small_encoder(), 3)
    assert sum(p.numel() for p in student.parameters()) == 341_792 + 1024 * 3 + 3


@pytest.mark.parametrize("name", [SMALL, "timm/efficientnet_b0"])
def test_channels_last_changes_nothing(name: str) -> None:
    student = Student(Encoder(build_backbone(name)), 3).eval()
    images = torch.rand(2, 3, 64, 64)
    plain = student(images).features
    student = student.to(memory_format=torch.channels_last)
    last = student(images.contiguous(memory_format=torch.channels_last)).features
    torch.testing.assert_close(last, plain, atol=1e-4, rtol=1e-4)


def test_bfloat16_works_and_stays_near() -> None:
    student = Student(small_encoder(), 3).eval()
    images = torch.rand(2, 3, 64, 64)
    plain = student(images).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        short = student(images).logits
    assert plain is not None and short is not None
    assert short.dtype == torch.bfloat16
    # bfloat16 has 8 bits, and errors add up over some 50 layers.
    torch.testing.assert_close(short.float(), plain, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("name", [SMALL, "torchvision/resnet18", "timm/efficientnet_b0"])
def test_a_student_is_a_graph_without_choices_by_data(name: str) -> None:
    student = Logits(Student(Encoder(build_backbone(name)), 3)).eval()
    images = torch.rand(1, 3, 64, 64)
    graph = torch.export.export(student, (images,)).module()
    torch.testing.assert_close(graph(images), student(images), atol=1e-5, rtol=1e-4)


def test_a_transformer_is_such_a_graph_too() -> None:
    backbone = build_backbone("timm/vit_tiny_patch16_224", {"img_size": 32})
    student = Logits(Student(Encoder(backbone), 3)).eval()
    images = torch.rand(1, 3, 32, 32)
    graph = torch.export.export(student, (images,)).module()
    torch.testing.assert_close(graph(images), student(images), atol=1e-5, rtol=1e-4)


def test_a_student_says_the_shapes_of_the_maps_of_the_images_that_it_is_shown() -> None:
    student = Student(small_encoder(), 2)
    assert student.map_shapes == student.encoder.shapes(224)
    student.encoder.shown = 64
    maps = student(torch.rand(1, 3, 64, 64)).maps
    assert student.map_shapes == tuple(tuple(each.shape[1:]) for each in maps)


def test_images_that_are_resized_have_maps_of_the_size_they_are_brought_to() -> None:
    student = Student(small_encoder(size=32), 2)
    student.encoder.shown = 64
    maps = student(torch.rand(1, 3, 64, 64)).maps
    assert student.map_shapes == tuple(tuple(each.shape[1:]) for each in maps)


def test_each_image_is_stretched_over_all_its_channels_before_it_is_normalised() -> None:
    encoder = small_encoder(mean=0.5, std=0.25, stretch=True)
    images = torch.rand(2, 3, 32, 32) * torch.tensor([0.1, 0.5]).view(2, 1, 1, 1) + 0.2
    for image, seen in zip(images, encoder.prepared(images), strict=True):
        wanted = ((image - image.min()) / (image.max() - image.min()) - 0.5) / 0.25
        torch.testing.assert_close(seen, wanted, rtol=1e-5, atol=1e-5)


def test_an_image_is_stretched_after_it_is_resized() -> None:
    images = torch.full((1, 3, 64, 64), 0.25)
    images[..., ::2, ::2] = 0.75  # which a smaller image hardly shows
    seen = small_encoder(mean=0.0, std=1.0, stretch=True, size=20).prepared(images)
    assert seen.shape[2:] == (20, 20)
    assert (seen.min(), seen.max()) == (0, 1)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_blank_image_is_stretched_to_black(value: float) -> None:
    images = torch.full((1, 3, 37, 37), value)
    seen = small_encoder(mean=0.0, std=1.0, stretch=True, size=20).prepared(images)
    # Resizing leaves rounding of some 1e-7, a 255th of which is the least that is divided by.
    torch.testing.assert_close(seen, torch.zeros_like(seen), atol=1e-4, rtol=0)


def test_an_encoder_stretches_as_its_backbone_was_trained_unless_told_otherwise() -> None:
    backbone = build_backbone(SMALL)
    assert not Encoder(backbone).stretch
    backbone.stretch = True
    assert Encoder(backbone).stretch
    assert not Encoder(backbone, stretch=False).stretch
