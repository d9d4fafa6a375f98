"""The losses of each method on one tiny batch, to four digits; a change here is a decision."""

import pytest
import torch

from medistill import catalog
from medistill.methods.base import Method
from tests.tiny import tiny_batch, tiny_student, tiny_tasks, tiny_teacher

PACKAGE = "medistill.methods"

AT_THREE_QUARTERS = """
direct_reprogramming       | student 1.104  logits 0.01337
feature_distillation       | features 0.9590  geometry 0
linear_probe               | labels 2.232
logit_distillation         | labels 1.104  imitation 0.03290
reprogramming_distillation | student 1.104  reprogrammed 1.180  logits 0.008047  geometry 0.1580
student_alone              | labels 1.104
universal_pretraining      | labels 1.734
"""


def recorded(name: str) -> dict[str, float]:
    (line,) = (line for line in AT_THREE_QUARTERS.splitlines() if line.split(" ")[0] == name)
    words = line.partition("|")[2].split()
    return {term: float(value) for term, value in zip(words[::2], words[1::2], strict=True)}


@pytest.mark.parametrize("name", catalog.available(PACKAGE))
def test_losses_are_as_they_were(name: str) -> None:
    kind = catalog.find(PACKAGE, name, Method)
    torch.manual_seed(0)
    offered = {
        "student": tiny_student(),
        "teacher": tiny_teacher(logits=True),
        "tasks": tiny_tasks(),
    }
    method = kind(*(offered[collaborator] for collaborator in catalog.collaborators(kind)))
    torch.manual_seed(0)
    losses = method.losses(tiny_batch(), progress=0.75)
    found = {term: loss.item() for term, loss in losses.items()}
    assert found == pytest.approx(recorded(name), rel=5e-4)
