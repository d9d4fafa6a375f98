"""One head for the classes of all tasks: how a task fares when those of the others compete."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from medistill.data.opening import Opened
from medistill.evaluation.judge import judge
from medistill.evaluation.predict import predict, tabulate
from medistill.models.networks import Student
from medistill.results import Estimate
from medistill.runs.shipping import batches

PREFIX = "unified_"
ASKED = ("accuracy", "balanced_accuracy")
ELSEWHERE = "a class of another task"


def unified_metrics(
    networks: Mapping[str, Student], opened: Opened, *, draws: int, device: torch.device
) -> dict[str, Estimate]:
    """Metrics of one task on test where an image may be called by the classes of all tasks.

    Foundation models with one classifier are judged so by LoRKD's paper: the argmax is over all
    classes, and whoever names one of another task is wrong.

    Args:
        networks: By task, on one encoder; their heads are parts of one.
        opened: The images of the task.
        draws: Of the bootstrap.
        device: Where to compute.
    """
    task = opened.dataset.task
    found = predict(joined(networks), batches(opened, "test"), device=device)
    widths = [network.head.out_features for network in networks.values()]
    first = sum(widths[: list(networks).index(task.name)])
    own, others = np.split(np.roll(found.logits, -first, axis=1), [len(task.classes)], axis=1)
    # The best of the others stands for all: then the argmax is that over all classes.
    logits = np.concatenate([own, others.max(axis=1, keepdims=True)], axis=1)
    table = tabulate(
        replace(found, logits=logits),
        task=task.name,
        split="test",
        classes=(*task.classes, ELSEWHERE),
        digests=opened.digests,
        patients=opened.dataset.patients,
    )
    estimates = judge(table, draws=draws)
    return {PREFIX + name: estimates[name] for name in ASKED}


@torch.no_grad()
def joined(networks: Mapping[str, Student]) -> Student:
    """The one network of which each is a part: their heads one above the other."""
    heads = [network.head for network in networks.values()]
    whole = next(iter(networks.values())).with_classes(sum(head.out_features for head in heads))
    whole.head.weight.copy_(torch.cat([head.weight for head in heads]))
    whole.head.bias.copy_(torch.cat([head.bias for head in heads]))
    return whole
