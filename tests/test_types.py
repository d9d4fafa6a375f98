"""The nouns that all packages share."""

import torch

from medistill.types import Batch, Task, vocabulary


def segmented(count: int) -> Batch:
    """A batch of patches with one query each."""
    numbers = torch.arange(count)
    return Batch(
        torch.rand(count, 1, 4, 4, 4), torch.zeros_like(numbers), numbers, numbers, numbers,
        torch.ones(count), numbers[:, None], torch.ones(count, 1, dtype=torch.bool),
        torch.zeros(count, 1, 4, 4, 4, dtype=torch.uint8),
    )  # fmt: skip


def classified(count: int) -> Batch:
    """A batch of images, which asks no queries."""
    numbers = torch.arange(count)
    images = torch.rand(count, 3, 4, 4)
    return Batch(images, numbers, numbers, numbers, numbers, torch.ones(count))


def test_a_task_lies_in_a_region_of_its_own_unless_somebody_says() -> None:
    assert Task("lung", "classification", ("a",), 1).region == "lung"
    assert Task("xray", "classification", ("a",), 1, "lung").region == "lung"


def test_a_class_that_two_tasks_ask_for_is_one_word() -> None:
    tasks = (Task("ct", "segmentation", ("liver", "spleen"), 1),
             Task("mr", "segmentation", ("kidney", "liver"), 1))  # fmt: skip
    assert vocabulary(tasks) == ("liver", "spleen", "kidney")


def test_some_samples_of_a_batch_keep_their_queries() -> None:
    some = segmented(4).at(torch.tensor([3, 1]))
    assert some.queries is not None and some.masks is not None
    assert some.samples.tolist() == some.queries.flatten().tolist() == [3, 1]
    assert len(some.masks) == 2


def test_images_without_queries_move_without_them() -> None:
    batch = classified(2).at(slice(1)).to("cpu", memory_format=torch.channels_last)
    assert batch.queries is None and len(batch) == 1
