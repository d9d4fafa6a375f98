"""By what the epochs of a training are compared."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medistill.data.dataset import Dataset
from medistill.data.layouts.base import open_root
from medistill.data.opening import open_dataset
from medistill.data.splits import SplitRules
from medistill.errors import UserError
from medistill.methods.feature_distillation import FeatureDistillation
from medistill.methods.student_alone import StudentAlone
from medistill.recipe import Training
from medistill.runs.validating import LAST, LOSS, Validation, by_task
from tests.tiny import tiny_student, tiny_teacher
from tests.trained import Phantoms


def validation(phantoms: Phantoms, root: Path, select: str = "accuracy") -> Validation:
    layout = open_root(root)
    opened = open_dataset(
        "it", layout, layout.samples(), size=12, rules=SplitRules(), folder=phantoms.store
    )
    settings = Training(select=select, batch_size=4)
    return Validation([opened.dataset], [opened.digests], settings, torch.device("cpu"))


def without_validation(dataset: Dataset) -> Dataset:
    return replace(dataset, splits={**dataset.splits, "validation": np.array([], dtype=np.int64)})


def features(dataset: Dataset) -> FeatureDistillation:
    return FeatureDistillation(tiny_student(), tiny_teacher(), (dataset.task,))


def test_labels_are_judged_by_the_metric_of_the_recipe(phantoms: Phantoms) -> None:
    asked, method = validation(phantoms, phantoms.brain), StudentAlone(tiny_student())
    assert asked.criterion(method) == "accuracy"
    verdict = asked.verdict(method, 0.5, "accuracy")
    assert verdict.merit == verdict.shown["it"]["accuracy"]


@pytest.mark.parametrize("part", ["brain", "flat"])
def test_what_deploys_no_judge_of_the_classes_is_judged_by_its_loss(
    phantoms: Phantoms, part: str
) -> None:
    asked = validation(phantoms, getattr(phantoms, part))
    method = features(asked.datasets[0])
    assert asked.criterion(method) == LOSS
    verdict = asked.verdict(method, 0.5, LOSS)
    assert verdict.merit == -verdict.shown["all"][LOSS]  # type: ignore[operator]


def test_the_loss_can_be_asked_for_by_name(phantoms: Phantoms) -> None:
    asked, method = validation(phantoms, phantoms.brain, LOSS), StudentAlone(tiny_student())
    asked.refuse_unknown_metric()
    assert asked.criterion(method) == LOSS
    assert asked.verdict(method, 0.5, LOSS).merit < 0


def test_the_last_epoch_can_be_asked_for_whatever_its_metrics_are(phantoms: Phantoms) -> None:
    asked, method = validation(phantoms, phantoms.brain, LAST), StudentAlone(tiny_student())
    asked.refuse_unknown_metric()
    assert asked.criterion(method) == LAST
    merits = [asked.verdict(method, progress, LAST).merit for progress in (0.2, 0.6, 0.9)]
    assert merits == sorted(merits)


def test_a_metric_that_nobody_knows_is_refused_before_the_training(phantoms: Phantoms) -> None:
    with pytest.raises(UserError, match="Did you mean 'accuracy'"):
        validation(phantoms, phantoms.brain, "acuracy").refuse_unknown_metric()


def test_a_metric_that_the_labels_leave_undefined_is_refused_before_the_training(
    phantoms: Phantoms,
) -> None:
    asked = validation(phantoms, phantoms.brain, "auroc")
    (dataset,) = asked.datasets
    rows = dataset.splits["validation"]
    alike = rows[dataset.targets[rows] == dataset.targets[rows[0]]]
    assert 0 < len(alike) < len(rows)
    asked.refuse_unknown_metric()
    one_class = replace(dataset, splits={**dataset.splits, "validation": alike})
    poor = Validation([dataset, one_class], 2 * asked.digests, asked.settings, asked.device)
    with pytest.raises(UserError, match=rf"it: auroc is undefined on its {len(alike)} validation"):
        poor.refuse_unknown_metric()


def test_an_empty_validation_split_is_refused(phantoms: Phantoms) -> None:
    full = validation(phantoms, phantoms.brain)
    datasets = [without_validation(full.datasets[0])]
    empty = Validation(datasets, full.digests, full.settings, full.device)
    for method in (StudentAlone(tiny_student()), features(datasets[0])):
        with pytest.raises(UserError, match="it: there is no validation image"):
            empty.criterion(method)


def test_what_one_task_deploys_bears_the_name_of_its_root(phantoms: Phantoms) -> None:
    datasets = validation(phantoms, phantoms.brain).datasets
    assert list(by_task(StudentAlone(tiny_student()).deploy(), datasets)) == ["it"]
    assert not by_task(features(datasets[0]).deploy(), datasets)
