"""The losses of each method on one tiny batch, to four digits; a change here is a decision."""

import pytest
import torch

from medistill import catalog
from medistill.methods.base import Method
from tests.tiny import (
    student_for,
    tiny_batch,
    tiny_judges,
    tiny_settings,
    tiny_tasks,
    tiny_teacher,
)

PACKAGE = "medistill.methods"

AT_THREE_QUARTERS = """
adaptformer                | labels 1.264
aligned_mtl                | lung 1.037  breast 1.006
attention_transfer         | labels 1.104  imitation 106.5
crd                        | labels 1.104  contrast 5.353
direct_reprogramming       | student 1.104  logits 0.01337
dist                       | labels 1.104  classes 1.708  samples 0.6803
dkd                        | labels 1.104  target 0.0154  others 0.2126
feature_distillation       | features 0.9590  geometry 0
full_fine_tuning           | labels 1.104
hint                       | labels 1.104  imitation 45.48
knowledge_decomposition    | labels 1.022  imitation 0.03514
knowledge_factorization    | labels 1.241 own 1.085 infomax 0.01741 infomin 5.715e-4 logits 0.009181
linear_probe               | labels 2.232
logit_distillation         | labels 1.104  imitation 0.03290
lora                       | labels 1.106
lpt                        | classes 4.208  labels 0.9509  keys 0.2914
mgd                        | labels 1.104  generation 8.967e-05
mgda                       | lung 1.037  breast 1.006
moco_mtl                   | lung 1.037  breast 1.006
multi_task                 | labels 1.022
multi_task_distillation    | labels 1.022  imitation 0.03514
norm                       | labels 1.105  matching 8.093
pcgrad                     | lung 1.037  breast 1.006
reprogramming_distillation | student 1.104  reprogrammed 1.180  logits 0.008047  geometry 0.1580
rkd                        | labels 1.104  distances 3.128  angles 5.41
semckd                     | labels 1.104  imitation 6.817
similarity_preserving      | labels 1.104  imitation 73.08
single_task                | labels 2.044
single_task_distillation   | labels 2.074  imitation 0.1993
student_alone              | labels 1.104
uncertainty_weighting      | lung 0.5186  breast 0.5029
universal_pretraining      | labels 1.734
vid                        | labels 1.104  imitation 1.618
vpt_deep                   | labels 1.108
vpt_shallow                | labels 1.131
vqt                        | labels 1.142
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
        "student": student_for(kind),
        "teacher": tiny_teacher(logits=True, scales="all" if kind.scales == "all" else "last"),
        "tasks": tiny_tasks(),
        "judges": tiny_judges(),
    }
    chosen = [offered[collaborator] for collaborator in catalog.collaborators(kind)]
    method = kind(*chosen, **tiny_settings(kind))
    torch.manual_seed(0)
    losses = method.losses(tiny_batch(), progress=0.75)
    found = {term: loss.item() for term, loss in losses.items()}
    assert found == pytest.approx(recorded(name), rel=5e-4)
