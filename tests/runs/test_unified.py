"""The classes of all tasks compete: published foundation models with one head are judged so."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from medistill.data.layouts.base import open_root
from medistill.data.opening import Opened, open_dataset
from medistill.data.splits import SplitRules
from medistill.evaluation.predict import predict
from medistill.models.networks import Student
from medistill.runs.shipping import batches
from medistill.runs.unified import joined, unified_metrics
from tests.tiny import SIZE, tiny_student
from tests.trained import Phantoms

CPU = torch.device("cpu")


@pytest.fixture
def opened(phantoms: Phantoms) -> dict[str, Opened]:
    found = {}
    for name in ("brain", "chest"):
        layout = open_root(getattr(phantoms, name))
        found[name] = open_dataset(
            name, layout, layout.samples(), size=SIZE, rules=SplitRules(), folder=phantoms.store
        )
    return found


@pytest.fixture
def networks(opened: dict[str, Opened]) -> dict[str, Student]:
    torch.manual_seed(3)
    first = tiny_student()
    return {
        name: first.with_classes(len(one.dataset.task.classes)).eval()
        for name, one in opened.items()
    }


@pytest.mark.parametrize(("name", "first"), [("brain", 0), ("chest", None)])
def test_it_is_the_argmax_over_all_classes(
    opened: dict[str, Opened], networks: dict[str, Student], name: str, first: int | None
) -> None:
    one = opened[name]
    start = len(opened["brain"].dataset.task.classes) if first is None else first
    found = predict(joined(networks), batches(one, "test"))
    right = found.logits.argmax(1) == found.targets + start
    expected = np.mean([right[found.targets == c].mean() for c in np.unique(found.targets)])
    told = unified_metrics(networks, one, draws=20, device=CPU)
    assert told["unified_accuracy"]["value"] == pytest.approx(right.mean())
    assert told["unified_balanced_accuracy"]["value"] == pytest.approx(expected)


def test_one_that_names_another_tasks_class_is_wrong(
    opened: dict[str, Opened], networks: dict[str, Student]
) -> None:
    with torch.no_grad():
        networks["chest"].head.bias += 1000
    told = {
        name: unified_metrics(networks, one, draws=0, device=CPU)["unified_accuracy"]["value"]
        for name, one in opened.items()
    }
    assert told["brain"] == 0.0
    assert told["chest"] > 0


def test_the_parts_are_rows_of_the_whole(networks: dict[str, Student]) -> None:
    images = torch.rand(2, 3, SIZE, SIZE)
    whole = joined(networks)(images).logits
    parts = torch.cat([network(images).logits for network in networks.values()], 1)
    assert_close(whole, parts)
