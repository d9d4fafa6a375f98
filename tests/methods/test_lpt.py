"""LPT: shared prompts in the first half, groups in the second, and cosines throughout."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from medistill.errors import UserError
from medistill.methods._tuning import Groups
from medistill.methods.lpt import Lpt
from medistill.models.adapters.deep_prompts import DeepPrompts
from medistill.models.adapters.prompt_pool import PromptPool
from medistill.models.networks import Student
from medistill.types import Batch
from tests.tiny import CLASSES, tiny_batch, tiny_vit


@pytest.fixture
def method() -> Lpt:
    return Lpt(tiny_vit(), prompts=2, groups=Groups(count=5)).eval()


@pytest.fixture
def batch() -> Batch:
    return tiny_batch()


def learnt(method: Lpt, batch: Batch, progress: float) -> set[str]:
    """What gets a gradient, by the last part of its name but one."""
    method.zero_grad(set_to_none=True)
    method.backward(method.losses(batch, progress))
    names = [name for name, p in method.named_parameters() if p.grad is not None]
    return {name.removeprefix("student.").removeprefix("encoder.").split(".")[0] for name in names}


def test_shared_prompts_learn_first_and_groups_with_their_keys_after(
    method: Lpt, batch: Batch
) -> None:
    assert learnt(method, batch, 0.0) == learnt(method, batch, 0.49) == {"prompts", "head"}
    assert learnt(method, batch, 0.5) == learnt(method, batch, 1.0) == {"groups", "keys", "head"}


def test_what_is_deployed_is_of_the_phase_and_says_what_the_method_says(
    method: Lpt, batch: Batch
) -> None:
    for progress, kind in ((0.3, DeepPrompts), (0.7, PromptPool)):
        losses = method.losses(batch, progress)
        deployed = method.deploy()["all"]
        assert isinstance(deployed, Student) and type(deployed.encoder) is kind
        logits = deployed(batch.images).logits
        term = "labels" if kind is DeepPrompts else "classes"
        weights = 1 / torch.bincount(batch.targets)[batch.targets]
        each = F.cross_entropy(logits, batch.targets, reduction="none")
        wanted = each.mean() if kind is DeepPrompts else (weights * each).sum() / weights.sum()
        assert_close(losses[term], wanted)


def test_logits_are_scaled_cosines(method: Lpt, batch: Batch) -> None:
    output = method.deploy()["all"](batch.images)
    weight = method.student.head.weight
    cosines = F.cosine_similarity(output.features[:, None], weight[None], dim=2)
    assert_close(output.logits, 20 * cosines)
    assert output.logits.shape == (len(batch), CLASSES)


def test_the_phase_survives_a_checkpoint(method: Lpt, batch: Batch) -> None:
    method.losses(batch, 0.9)
    again = Lpt(tiny_vit(), prompts=2, groups=Groups(count=5))
    again.load_state_dict(method.state_dict())
    assert type(again.deploy()["all"].encoder) is PromptPool


def test_the_loss_of_single_images_fades_and_nearer_keys_cost_less(
    method: Lpt, batch: Batch
) -> None:
    early, late = method.losses(batch, 0.5), method.losses(batch, 0.75)
    assert_close(late["labels"], early["labels"] / 2)
    assert method.losses(batch, 1.0)["labels"] == 0
    with torch.no_grad():
        pool = method.student.encoder
        pool.keys.copy_(pool.with_shared_alone(batch.images).features.mean(0).expand(5, -1))
    assert method.losses(batch, 0.5)["keys"] < early["keys"]


def test_more_groups_cannot_be_chosen_than_there_are() -> None:
    with pytest.raises(UserError, match=r"groups\.chosen is 6, but there are 5"):
        Lpt(tiny_vit(), groups=Groups(count=5, chosen=6))
    with pytest.raises(UserError, match=r"groups\.first_block is 4, but the student has 4 blocks"):
        Lpt(tiny_vit(), groups=Groups(first_block=4))
