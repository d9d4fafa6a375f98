from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float

from medistill.errors import UserError
from medistill.windows import Rule, gaussian, segment

Volume = Float[np.ndarray, "x y z"]
Patches = Float[np.ndarray, "batch 1 a b c"]


def network(classes: int) -> Callable[[Patches], np.ndarray]:
    """Probabilities that depend on a voxel and on where in its patch it lies."""
    rng = np.random.default_rng(classes)
    slopes = rng.normal(size=(classes, 1, 1, 1)).astype(np.float32) * 2

    def run(patches: Patches) -> np.ndarray:
        ramp = np.linspace(-1, 1, patches.shape[-3], dtype=np.float32)[:, None, None]
        shape = (len(patches), classes, *patches.shape[2:])
        tilt = np.linspace(-1, 1, classes, dtype=np.float32)[:, None, None, None]
        return np.broadcast_to(1 / (1 + np.exp(-(slopes * patches + tilt * ramp))), shape)

    return run


def naive(
    run: Callable[[Patches], np.ndarray], image: Volume, patch: tuple[int, int, int]
) -> np.ndarray:
    """Mean probabilities by sums over the whole volume, in double, with patch after patch."""
    starts = []
    for length, side in zip(image.shape, patch, strict=True):
        found = list(range(0, length, max(side // 2, 1)))
        starts.append(sorted({max(min(at, length - side), 0) for at in found}))
    weights, total, count = gaussian(patch).astype(float), 0.0, 0.0
    for corner in product(*starts):
        window = tuple(slice(at, at + side) for at, side in zip(corner, patch, strict=True))
        answer = run(image[window][None, None])[0]
        one, weight = np.zeros((len(answer), *image.shape)), np.zeros(image.shape)
        one[(slice(None), *window)], weight[window] = weights * answer, weights
        total, count = total + one, count + weight
    return total / count


def labels_of(means: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    return np.where(means.max(0) > threshold, means.argmax(0) + 1, 0).astype(np.uint8)


def random_image(*shape: int) -> Volume:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(31, 17, 12), (13, 40, 9), (12, 11, 37), (8, 8, 8)])
@pytest.mark.parametrize("batch", [1, 5])
def test_labels_are_those_of_sums_over_the_whole_volume(
    shape: tuple[int, int, int], batch: int
) -> None:
    image, run = random_image(*shape), network(4)
    means = naive(run, image, (8, 8, 8))

    assert np.array_equal(
        segment(run, image, patch=(8, 8, 8), classes=4, batch=batch), labels_of(means)
    )
    masks = segment(run, image, patch=(8, 8, 8), classes=4, batch=batch, rule=Rule(per_class=True))
    assert np.array_equal(masks, means > 0.5)
    assert masks.sum(0).max() > 1  # they do overlap


@pytest.mark.parametrize("shape", [(40, 22, 19), (9, 30, 11), (5, 7, 33), (6, 6, 6)])
@pytest.mark.parametrize("patch", [(16, 12, 8), (7, 9, 11)])
def test_labels_equal_those_of_monai(
    shape: tuple[int, int, int], patch: tuple[int, int, int]
) -> None:
    from monai.inferers import sliding_window_inference

    image, run = random_image(*shape), network(3)
    means = sliding_window_inference(
        torch.from_numpy(image)[None, None],
        patch,
        2,
        lambda patches: torch.from_numpy(run(patches.numpy()).copy()),
        overlap=0.5,
        roi_weight_map=torch.from_numpy(gaussian(patch)),
    )[0].numpy()

    assert np.array_equal(segment(run, image, patch=patch, classes=3), labels_of(means))


def test_weights_are_those_of_monai_but_for_its_floor() -> None:
    from monai.data.utils import compute_importance_map

    theirs = compute_importance_map((16, 12, 9), mode="gaussian", sigma_scale=1 / 8).numpy()
    ours = gaussian((16, 12, 9))

    assert np.allclose(np.maximum(ours / 10, 1e-3), theirs, atol=1e-6)
    assert ours.min() > 0
    assert ours.max() <= 10
    assert gaussian((9, 9, 9)).max() == 10


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(*[st.integers(1, 20)] * 3),
    patch=st.tuples(*[st.integers(3, 9)] * 3),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.8]),
    answer=st.sampled_from([0.2, 0.49, 0.51, 0.9]),
)
def test_a_constant_network_gives_that_constant(
    shape: tuple[int, int, int], patch: tuple[int, int, int], overlap: float, answer: float
) -> None:
    def run(patches: Patches) -> np.ndarray:
        return np.full((len(patches), 2, *patch), [[[[0.1]]], [[[answer]]]], np.float32)

    found = segment(
        run, random_image(*shape), patch=patch, classes=2, rule=Rule(overlap=overlap), batch=3
    )

    assert found.shape == shape
    assert found.dtype == np.uint8
    assert (found == (2 if answer > 0.5 else 0)).all()


def test_of_equal_classes_the_first_one_wins() -> None:
    run = lambda patches: np.full((1, 3, 4, 4, 4), 0.8, np.float32)  # noqa: E731

    assert (segment(run, random_image(9, 4, 4), patch=(4, 4, 4), classes=3) == 1).all()


def test_the_threshold_is_of_the_mean_probability() -> None:
    image, run = random_image(20, 9, 8), network(3)
    means = naive(run, image, (8, 8, 8))

    found = segment(run, image, patch=(8, 8, 8), classes=3, rule=Rule(threshold=0.7))
    assert np.array_equal(found, labels_of(means, 0.7))
    assert not np.array_equal(found, labels_of(means))


def test_a_small_volume_lies_in_the_middle_of_zeros() -> None:
    seen = []

    def run(patches: Patches) -> np.ndarray:
        seen.append(patches)
        return np.where(patches > 0, 0.9, 0.1).astype(np.float32)

    image = np.ones((3, 4, 9), np.float32)
    found = segment(run, image, patch=(6, 4, 8), classes=1)

    assert (found == 1).all()
    assert found.flags.c_contiguous
    assert [patches.sum() for patches in seen] == [96, 96]
    assert (seen[0][0, 0, 1:4] == 1).all()


def test_memory_is_a_slab_of_sums_and_not_the_volume() -> None:
    import tracemalloc

    classes, patch = 16, (8, 16, 16)
    image = np.zeros((256, 32, 32), np.float32)
    answer = np.full((1, classes, *patch), 0.7, np.float32)
    tracemalloc.start()
    segment(lambda patches: answer, image, patch=patch, classes=classes)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    slab, labels = 4 * classes * patch[0] * 32 * 32, image.size
    assert peak < slab + labels + 200_000  # a patch, its weights and a plane are small


def test_planes_are_labelled_while_patches_still_come() -> None:
    told = []
    segment(
        network(2), random_image(8, 8, 40), patch=(8, 8, 8), classes=2, batch=4,
        on_progress=lambda *at: told.append(at),
    )  # fmt: skip

    assert told == [(4, 9), (8, 9), (9, 9)]


def test_answers_may_be_read_only_and_stay_as_they_are() -> None:
    answer = np.full((1, 2, 4, 4, 4), 0.6, np.float32)
    answer.setflags(write=False)

    assert (segment(lambda _: answer, random_image(7, 4, 4), patch=(4, 4, 4), classes=2) == 1).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": 256}, "256 classes do not fit"),
        ({"patch": (4, 4)}, "three sides"),
        ({"patch": (4, 0, 4)}, "three sides"),
        ({"rule": Rule(overlap=1.0)}, "overlap 1.0"),
        ({"classes": 2}, r"gives \(1, 3, 4, 4, 4\)"),
    ],
)
def test_slips_are_named(changes: dict[str, object], message: str) -> None:
    settings = {"patch": (4, 4, 4), "classes": 3} | changes
    with pytest.raises(UserError, match=message):
        segment(network(3), random_image(4, 4, 4), **settings)
