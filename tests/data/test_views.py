"""Augmentation as numbered views."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from medistill.data.augmentation import Augmentation
from medistill.data.views import augment

NOTHING = Augmentation(
    rotation_degrees=0.0,
    scale=0.0,
    shift=0.0,
    brightness=0.0,
    contrast=0.0,
    gamma=0.0,
    noise=0.0,
)
ALL = Augmentation(crop=0.3, flip="both", noise=0.05)
SIDE = 37  # no multiple of any vector unit


def _views(images: Tensor, views: list[int], settings: Augmentation, seed: int = 0) -> Tensor:
    samples = torch.arange(len(images)) + 100
    return augment(images, samples, torch.tensor(views), seed=seed, settings=settings)


def _images(count: int, channels: int = 1) -> Tensor:
    return torch.rand(count, channels, SIDE, SIDE)


def test_view_0_is_the_image_bit_for_bit_beside_other_views() -> None:
    images = _images(4)
    seen = _views(images, [0, 1, 0, 2], ALL)
    assert torch.equal(seen[[0, 2]], images[[0, 2]])
    assert not torch.equal(seen[[1, 3]], images[[1, 3]])


def test_the_given_images_are_left_alone() -> None:
    images = _images(3)
    before = images.clone()
    _views(images, [1, 2, 3], ALL)
    assert torch.equal(images, before)


def test_a_view_is_the_same_alone_in_any_batch_and_in_any_place_bit_for_bit() -> None:
    images, views = _images(11), [1, 0, 2, 1, 7, 0, 3, 3, 1, 2, 1]
    together = _views(images, views, ALL)
    samples = torch.arange(11) + 100
    for place in torch.randperm(11).split(3):
        part = augment(
            images[place], samples[place], torch.tensor(views)[place], seed=0, settings=ALL
        )
        assert torch.equal(part, together[place])


def test_a_view_is_the_same_with_any_number_of_threads() -> None:
    images, before = torch.rand(3, 1, 200, 200), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = _views(images, [1, 2, 3], ALL)
        torch.set_num_threads(3)
        assert torch.equal(_views(images, [1, 2, 3], ALL), alone)
    finally:
        torch.set_num_threads(before)


def test_three_equal_channels_show_the_view_of_one() -> None:
    images = _images(3)
    grey, colour = (_views(images.expand(-1, c, -1, -1), [1, 2, 3], ALL) for c in (1, 3))
    assert torch.equal(colour, grey.expand(-1, 3, -1, -1))


def test_seed_sample_and_view_each_give_another_view() -> None:
    image = _images(1).expand(2, -1, -1, -1)
    by_sample = _views(image, [1, 1], ALL)
    by_view = _views(image[:1], [2], ALL)
    by_seed = _views(image[:1], [1], ALL, seed=1)
    distinct = [by_sample[0], by_sample[1], by_view[0], by_seed[0]]
    for place, one in enumerate(distinct):
        assert all(not torch.equal(one, other) for other in distinct[:place])


def test_values_stay_in_zero_to_one() -> None:
    wild = Augmentation(brightness=1.0, contrast=0.9, gamma=1.0, noise=1.0)
    seen = _views(_images(8), list(range(1, 9)), wild)
    assert seen.min() >= 0
    assert seen.max() <= 1


def test_no_augmentation_leaves_the_image_to_float_accuracy() -> None:
    images = _images(2)
    # Sampling positions near 1 are known to 1e-7, times half the side in pixels.
    torch.testing.assert_close(_views(images, [1, 2], NOTHING), images, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("flip", "axis"), [("horizontal", 3), ("vertical", 2)])
def test_a_flip_mirrors_half_of_the_views_along_its_axis(flip: str, axis: int) -> None:
    images = _images(1).expand(200, -1, -1, -1)
    seen = _views(images, list(range(1, 201)), replace(NOTHING, flip=flip))
    mirrored = (seen - images.flip(axis)).abs().amax(dim=(1, 2, 3)) < 1e-4
    kept = (seen - images).abs().amax(dim=(1, 2, 3)) < 1e-4
    assert (mirrored ^ kept).all()
    assert 70 < int(mirrored.sum()) < 130  # four standard deviations


def _point(angle: float, radius: float) -> Tensor:
    """A bright spot at an angle from the centre, on a 101-pixel image."""
    axis = torch.arange(101) - 50.0
    across, down = axis[None, :], axis[:, None]
    distance = (across - radius * math.cos(angle)) ** 2 + (down - radius * math.sin(angle)) ** 2
    return torch.exp(-distance / 20)[None, None]


def _centre(image: Tensor) -> tuple[float, float]:
    axis = torch.arange(101) - 50.0
    mass = image[0] / image.sum()
    return float((mass * axis).sum()), float((mass * axis[:, None]).sum())


def test_rotation_turns_within_its_bound_and_keeps_the_distance() -> None:
    images = _point(0.0, 30.0).expand(40, -1, -1, -1)
    seen = _views(images, list(range(1, 41)), replace(NOTHING, rotation_degrees=20.0))
    polar = [(math.hypot(*_centre(i)), math.degrees(math.atan2(*_centre(i)[::-1]))) for i in seen]
    radii, angles = zip(*polar, strict=True)
    assert max(abs(radius - 30) for radius in radii) < 0.1
    assert max(map(abs, angles)) <= 20.1
    assert min(angles) < -10
    assert max(angles) > 10


def test_shift_moves_within_its_share_of_the_side() -> None:
    images = _point(0.0, 0.0).expand(40, -1, -1, -1)
    seen = _views(images, list(range(1, 41)), replace(NOTHING, shift=0.1))
    moved = np.array([_centre(image) for image in seen])
    assert np.abs(moved).max() <= 10.2
    assert np.abs(moved).max(axis=0).min() > 5


def test_crop_enlarges_and_never_shows_the_border_twice() -> None:
    ramp = torch.linspace(0, 1, 101).expand(1, 1, 101, 101).expand(40, -1, -1, -1)
    seen = _views(ramp, list(range(1, 41)), replace(NOTHING, crop=0.5))
    shown = seen[:, 0, 0, -1] - seen[:, 0, 0, 0]
    assert float(shown.min()) >= 0.49
    steps = seen[:, 0, 0].diff(dim=1)
    torch.testing.assert_close(steps, (shown / 100)[:, None].expand_as(steps), rtol=0, atol=1e-4)


def test_brightness_moves_all_grey_values_by_up_to_its_share() -> None:
    images = torch.full((50, 1, 4, 4), 0.5)
    means = _views(images, list(range(1, 51)), replace(NOTHING, brightness=0.2)).mean((1, 2, 3))
    assert 0.3 - 1e-6 <= float(means.min()) < 0.4
    assert 0.6 < float(means.max()) <= 0.7 + 1e-6


def test_contrast_leaves_mid_grey_where_it_is() -> None:
    images = torch.full((9, 1, 4, 4), 0.5)
    seen = _views(images, list(range(1, 10)), replace(NOTHING, contrast=0.5))
    torch.testing.assert_close(seen, images)


def test_gamma_comes_near_the_power_and_keeps_black_and_white() -> None:
    ramp = torch.linspace(0, 1, 101).expand(1, 1, 101, 101).expand(30, -1, -1, -1)
    seen = _views(ramp, list(range(1, 31)), replace(NOTHING, gamma=0.3))[:, 0, 0]
    torch.testing.assert_close(seen[:, [0, -1]], torch.tensor([[0.0, 1.0]]).expand(30, 2))
    exponents = seen[:, 50].log() / math.log(0.5)
    assert 0.7 - 1e-4 <= float(exponents.min()) < 0.85
    assert 1.15 < float(exponents.max()) <= 1.3 + 1e-4
    # Schlick's curve meets the power at 0, 1/2 and 1, and strays by little between them.
    powers = torch.linspace(0, 1, 101) ** exponents[:, None]
    assert float((seen - powers).abs().max()) < 0.06


def test_noise_is_centred_and_not_stronger_than_its_bound() -> None:
    images = torch.full((60, 1, 64, 64), 0.5)
    noise = _views(images, list(range(1, 61)), replace(NOTHING, noise=0.05)) - 0.5
    spread = noise.std(dim=(1, 2, 3))
    assert float(noise.mean().abs()) < 1e-3
    assert float(spread.max()) < 0.055
    assert 0.02 < float(spread.mean()) < 0.03  # uniform in 0 to the bound


def test_two_views_have_unrelated_noise() -> None:
    images = torch.full((2, 1, 64, 64), 0.5)
    noise = _views(images, [1, 2], replace(NOTHING, noise=0.05)) - 0.5
    relation = np.corrcoef(noise.flatten(1).numpy())[0, 1]
    assert abs(relation) < 0.08  # five standard deviations


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_views_to_float_accuracy() -> None:
    images, samples, views = _images(4), torch.arange(4), torch.tensor([0, 1, 2, 3])
    here = augment(images, samples, views, seed=0, settings=ALL)
    there = augment(images.cuda(), samples.cuda(), views.cuda(), seed=0, settings=ALL)
    torch.testing.assert_close(there.cpu(), here, rtol=0, atol=1e-4)
