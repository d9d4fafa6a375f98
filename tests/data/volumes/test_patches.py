"""Patches are cut where something is, shown alike again, and asked about what is known."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medistill.data.volumes.changing import PatchAugmentation
from medistill.data.volumes.dataset import VolumeDataset
from medistill.data.volumes.drawing import Drawing
from medistill.data.volumes.marking import some_places
from medistill.data.volumes.patches import Patches, PatchLoader, check_patch, cut
from medistill.errors import UserError
from medistill.scans import Preparation
from medistill.types import Batch, Task
from tests.data.volumes.test_opening import opened
from tests.volumes import write_msd

PATCH = (8, 8, 8)


class Held:
    """Volumes in memory."""

    def __init__(self, images: list[np.ndarray], labels: list[np.ndarray]) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def image(self, row: int) -> np.ndarray:
        return self.images[row]

    def label(self, row: int) -> np.ndarray:
        return self.labels[row]

    def places(self, row: int) -> np.ndarray:
        return some_places(self.labels[row])


def dataset(
    name: str = "ends",
    classes: tuple[str, ...] = ("head", "tail"),
    count: int = 4,
    shape: tuple[int, int, int] = (20, 16, 12),
    **changes: Any,
) -> VolumeDataset:
    """Volumes whose voxels are numbered, with one small block of each class."""
    random = np.random.default_rng(len(name))
    numbers = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 1000
    labels = [np.zeros(shape, np.uint8) for _ in range(count)]
    for each in labels:
        for place in range(len(classes)):
            at = [int(random.integers(0, n - 2)) for n in shape]
            each[tuple(slice(a, a + 2) for a in at)] = place + 1
    rows = np.arange(count)
    settings = {
        "task": Task(name, "segmentation", classes, count),
        "volumes": Held([numbers + np.float32(row) for row in rows], labels),
        "splits": {"train": rows[:-1], "validation": rows[-1:]},
        "patients": (None,) * count,
        "preparation": Preparation(spacing_mm=(1.0, 1.0, 1.0)),
        "traces": (None,) * count,
        "known": (tuple(range(len(classes))),) * count,
    }
    return VolumeDataset(**{**settings, **changes})


def loader(*datasets: VolumeDataset, split: str = "train", **settings: Any) -> PatchLoader:
    drawing = {"batch_size": 4, "steps": 6, **_of(Drawing, settings)}
    patches = {"shape": PATCH, **_of(Patches, settings)}
    rest = {name: value for name, value in settings.items() if name in ("rank", "world")}
    return PatchLoader(
        datasets or (dataset(),), split,
        drawing=Drawing(**drawing), patches=Patches(**patches), **rest,
    )  # fmt: skip


def _of(kind: type, settings: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in settings.items() if name in names}


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(getattr(one, k), v) for k, v in vars(other).items())


def test_a_batch_holds_patches_masks_and_queries() -> None:
    batch = next(loader().epoch(0))
    assert batch.images.shape == (4, 1, *PATCH)
    assert batch.masks is not None
    assert batch.masks.shape == (4, 2, *PATCH)
    assert batch.masks.dtype == torch.uint8
    assert batch.queries is not None
    assert batch.queries.tolist() == [[0, 1]] * 4
    assert (batch.targets == 0).all()


def test_a_patch_lies_where_its_masks_lie() -> None:
    one = dataset()
    held = one.volumes
    for batch in loader(one, augment=False).epoch(0):
        assert batch.masks is not None
        for image, masks, row in zip(batch.images, batch.masks, batch.samples, strict=True):
            # Voxels are numbered: the first one tells where the patch was cut.
            first = round((float(image[0, 0, 0, 0]) - int(row)) * 1000)
            start = np.unravel_index(first, held.image(int(row)).shape)
            truth = cut(held.label(int(row)), [int(at) for at in start], PATCH)
            assert (masks[0].numpy() == (truth == 1)).all()


def test_every_patch_of_foreground_holds_some() -> None:
    for batch in loader(foreground=1.0, augment=False).epoch(0):
        assert batch.masks is not None
        assert batch.masks.flatten(1).any(dim=1).all()


def test_without_foreground_patches_lie_anywhere() -> None:
    batches = list(loader(foreground=0.0, augment=False, steps=30).epoch(0))
    corners = torch.cat([b.images[:, 0, 0, 0, 0] - b.samples for b in batches])
    assert len(corners.unique()) > 80


def test_a_small_volume_stands_in_the_middle_of_zeros() -> None:
    small = dataset(shape=(4, 6, 8))
    batch = next(loader(small, augment=False).epoch(0))
    held = small.volumes.image(int(batch.samples[0]))
    assert (batch.images[0, 0, 2:6, 1:7].numpy() == held).all()
    assert not batch.images[0, 0, :2].any()
    assert not batch.images[0, 0, :, 7:].any()


def test_a_batch_is_a_pure_function_of_seed_epoch_and_step() -> None:
    first, again = list(loader().epoch(2)), list(loader().epoch(2))
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert not same(first[0], next(loader().epoch(3)))
    assert not same(first[0], next(loader(seed=1).epoch(2)))


def test_two_processes_see_what_one_sees() -> None:
    whole = next(loader().epoch(0))
    halves = [next(loader(rank=rank, world=2).epoch(0)) for rank in (0, 1)]
    assert same(halves[0], whole.at(slice(0, None, 2)))
    assert same(halves[1], whole.at(slice(1, None, 2)))


def test_a_patch_is_a_pure_function_of_sample_and_view() -> None:
    seen: dict[tuple[int, int], torch.Tensor] = {}
    repeated = 0
    for number in range(2):
        for batch in loader(views=2).epoch(number):
            for image, *key in zip(batch.images, batch.samples, batch.views, strict=True):
                name = (int(key[0]), int(key[1]))
                repeated += name in seen
                assert torch.equal(seen.setdefault(name, image), image)
    assert len(seen) == 6
    assert repeated > 0


def test_samples_count_through_all_data_sets() -> None:
    both = (dataset(), dataset("heart", ("chamber",), count=6))
    found = loader(*both)
    assert found.rows == 10
    assert found.samples.tolist() == [0, 1, 2, 4, 5, 6, 7, 8]
    for batch in found.epoch(0):
        assert ((batch.samples >= 4) == (batch.tasks == 1)).all()


def test_a_list_of_several_data_sets_is_drawn_as_each_of_them_would_be() -> None:
    rows = {"large": 16, "small": 4}
    joined = dataset(
        count=20,
        splits={"train": np.arange(20)},
        sources=tuple(name for name, count in rows.items() for _ in range(count)),
    )
    counts = {}
    for one in (joined, replace(joined, sources=("large",) * 20)):
        batches = loader(one, steps=30, batch_size=4, sampling="square_root").epoch(0)
        drawn = torch.cat([batch.samples for batch in batches])
        counts[len({*one.sources})] = int((drawn >= 16).sum())
    # By the roots of 16 and of 4; as one set, by their numbers.
    assert counts == {2: 40, 1: 24}


def test_queries_are_places_in_the_vocabulary_and_padding_is_invalid() -> None:
    both = (dataset(), dataset("heart", ("tail", "chamber", "wall")))
    for batch in loader(*both).epoch(0):
        assert batch.queries is not None
        assert batch.valid is not None
        assert batch.masks is not None
        for task, queries, valid in zip(batch.tasks, batch.queries, batch.valid, strict=True):
            assert queries.tolist() == ([1, 2, 3] if task else [0, 1, 0])
            assert valid.tolist() == ([True] * 3 if task else [True, True, False])
        assert not batch.masks[~batch.valid].any()


def test_of_too_many_classes_those_in_the_patch_are_asked_first() -> None:
    names = tuple("abcdef")
    for batch in loader(dataset("many", names), max_queries=3, steps=20).epoch(0):
        assert batch.masks is not None
        assert batch.queries is not None
        assert batch.masks.shape[1] == 3
        assert all(len(set(row.tolist())) == 3 for row in batch.queries)
    whole = dataset("many", names, shape=(8, 8, 8))
    for batch in loader(whole, max_queries=6, augment=False).epoch(0):
        fewer = next(loader(whole, max_queries=5, augment=False).epoch(0))
        assert fewer.masks is not None
        assert fewer.masks.flatten(2).any(2).sum() == min(5, 6) * len(batch)
        break


def test_classes_that_were_not_looked_for_are_not_asked() -> None:
    partly = dataset(known=((0, 1), (1,), (1,), (1,)))
    for batch in loader(partly).epoch(0):
        assert batch.valid is not None
        assert batch.queries is not None
        for row, queries, valid in zip(batch.samples, batch.queries, batch.valid, strict=True):
            assert queries[valid].tolist() == ([1] if row else [0, 1])


def test_overlapping_masks_are_cut_class_by_class() -> None:
    overlapping = np.zeros((2, 20, 16, 12), np.uint8)
    overlapping[0, 4:12, 4:12, 2:10], overlapping[1, 6:9, 6:9, 4:7] = 1, 1
    one = dataset(count=2)
    held = Held(one.volumes.images, [overlapping] * 2)  # type: ignore[attr-defined]
    for batch in loader(dataset(count=2, volumes=held), foreground=1.0).epoch(0):
        assert batch.masks is not None
        assert not (batch.masks[:, 1] > batch.masks[:, 0]).any()
        assert batch.masks[:, 0].any()


@pytest.mark.parametrize("mixing", ["mixed", "region"])
def test_regions_are_mixed_or_not(mixing: str) -> None:
    both = (dataset(), dataset("heart"))
    kinds = [len(batch.tasks.unique()) for batch in loader(*both, mixing=mixing).epoch(0)]
    assert max(kinds) == (2 if mixing == "mixed" else 1)


def test_augmented_patches_differ_and_masks_stay_masks() -> None:
    every = PatchAugmentation(chance=1.0)
    plain, changed = (next(loader(augment=a).epoch(0)) for a in (False, every))
    assert not torch.equal(plain.images, changed.images)
    assert changed.masks is not None
    assert set(changed.masks.unique().tolist()) <= {0, 1}
    assert changed.images.dtype == torch.float32
    assert torch.isfinite(changed.images).all()


def test_zoom_moves_image_and_mask_together() -> None:
    shape = (16, 16, 16)
    values = np.zeros(shape, np.uint8)
    values[5:11, 5:11, 5:11] = 1
    held = Held([values.astype(np.float32)], [values])
    one = dataset("block", ("block",), count=1, shape=shape, volumes=held)
    one = VolumeDataset(**{**vars(one), "splits": {"train": np.arange(1)}})
    zoom = PatchAugmentation(chance=1.0, zoom=0.4, scale=0.0, gamma=0.0, noise=0.0)
    sizes = set()
    for batch in loader(one, shape=shape, augment=zoom).epoch(0):
        assert batch.masks is not None
        seen, mask = batch.images[:, 0] > 0.5, batch.masks[:, 0] > 0
        # Half-way between tissue and none the two may round to different sides.
        assert (seen != mask).float().mean() < 0.03
        sizes |= set(mask.flatten(1).sum(1).tolist())
    assert min(sizes) < 6**3 < max(sizes)


def test_an_augmentation_that_never_happens_changes_nothing() -> None:
    still = PatchAugmentation(chance=0.0)
    assert same(next(loader(augment=still).epoch(0)), next(loader(augment=False).epoch(0)))


def test_sides_that_a_network_cannot_halve_are_refused() -> None:
    check_patch((48, 32, 16), (16, 16, 16))
    with pytest.raises(UserError, match=r"50 is no multiple of 16.*choose 48 or 64"):
        check_patch((48, 50, 16), (16, 16, 16))
    with pytest.raises(UserError, match="choose 16"):
        check_patch((4, 16, 16), (16, 16, 16))


def test_batches_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match="which 3 processes cannot share"):
        loader(world=3)
    with pytest.raises(UserError, match="test split has no volume"):
        loader(split="test")


def test_volumes_of_a_store_are_cut_likewise(tmp_path: Path) -> None:
    found = opened(write_msd(tmp_path)).dataset
    batch = next(loader(found, foreground=1.0).epoch(0))
    assert batch.masks is not None
    assert batch.masks.flatten(1).any(dim=1).all()


class TestPatchesThatComeAgain:
    def test_every_patch_comes_once(self) -> None:
        made = loader(dataset(), dataset("others"), views=3)
        batches = list(made.every_patch(4))
        pairs = [
            pair for b in batches for pair in zip(b.samples.tolist(), b.views.tolist(), strict=True)
        ]
        assert sorted(pairs) == [(s, v) for s in made.samples.tolist() for v in range(3)]
        assert [len(b) for b in batches] == [4, 4, 4, 4, 2]

    def test_they_are_those_of_the_training_whatever_its_seed(self) -> None:
        told = {
            (s, v): (image, masks, queries)
            for batch in loader(views=2, seed=5).every_patch(3)
            for s, v, image, masks, queries in zip(
                batch.samples.tolist(), batch.views.tolist(), batch.images, batch.masks,
                batch.queries, strict=True,
            )
        }  # fmt: skip
        for order in (0, 1):
            drawing = Drawing(batch_size=4, steps=6, seed=order)
            patches = Patches(shape=PATCH, views=2, seed=5)
            training = PatchLoader((dataset(),), "train", drawing=drawing, patches=patches)
            for batch in training.epoch(1):
                for place, key in enumerate(
                    zip(batch.samples.tolist(), batch.views.tolist(), strict=True)
                ):
                    image, masks, queries = told[key]
                    assert torch.equal(batch.images[place], image)
                    assert torch.equal(batch.masks[place], masks)
                    assert torch.equal(batch.queries[place], queries)
