"""Tuning keeps its promises on windowed transformers, at every depth and on volumes' sides."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from medistill import catalog
from medistill.errors import UserError
from medistill.methods._tuning import Groups
from medistill.methods.adaptformer import EPS, Adaptformer
from medistill.methods.base import Method
from medistill.methods.lora import Lora
from medistill.methods.lpt import Lpt, _class_weights
from medistill.methods.vqt import Vqt
from medistill.models.networks import Encoder, Student
from medistill.types import Batch
from tests.tiny import CLASSES, tiny_batch, tiny_vit, tiny_windowed_vit

BOTH: list[Callable[..., Student]] = [tiny_vit, tiny_windowed_vit]
NAMES = ["adaptformer", "lora", "lpt", "vpt_deep", "vpt_shallow", "vqt"]


def tuned(name: str, student: Student, **settings: Any) -> Method:
    """Drawn anew wherever it learns, as if it had been trained."""
    made: Method = catalog.find("medistill.methods", name, Method)(student, **settings)  # type: ignore[call-arg, type-abstract]
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.5)
    return made


def logits(network: torch.nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = network.eval()(images).logits
    return found


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_judged_alike_in_any_company(name: str, make: Callable[..., Student]) -> None:
    network, images = tuned(name, make()).deploy()["all"], torch.rand(4, 3, 12, 12)
    together = logits(network, images)
    for row in range(4):
        # Prompts are copied and averaged window by window: the company changes the order of sums.
        alone = logits(network, images[row : row + 1])
        assert_close(together[row : row + 1], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_deployed_says_what_was_trained_and_has_one_head(
    name: str, make: Callable[..., Student]
) -> None:
    method, images = tuned(name, make()).eval(), torch.rand(3, 3, 12, 12)
    networks = method.deploy()
    assert list(networks) == ["all"]
    assert isinstance(networks["all"], Student)
    found = logits(networks["all"], images)
    assert found.shape == (3, CLASSES) and found.isfinite().all()
    assert torch.equal(logits(method.deploy()["all"], images), found)  # asked again, the same


@pytest.mark.parametrize("make", BOTH)
def test_lora_adds_nothing_that_is_deployed(make: Callable[..., Student]) -> None:
    method, images = tuned("lora", make(), rank=3, alpha=2.0).eval(), torch.rand(2, 3, 12, 12)
    assert isinstance(method, Lora)
    deployed = method.deploy()["all"]
    assert type(deployed.encoder) is Encoder
    assert_close(logits(deployed, images), logits(method.student, images), rtol=1e-4, atol=1e-4)
    weights = sum(parameter.numel() for parameter in make().parameters())
    assert sum(parameter.numel() for parameter in deployed.parameters()) == weights


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_the_update_of_lora_has_its_rank_and_no_more(rank: int) -> None:
    student = tiny_vit()
    deployed = tuned("lora", student, rank=rank).deploy()["all"]
    for before, after in zip(
        student.backbone.network.blocks, deployed.backbone.network.blocks, strict=True
    ):
        queries, keys, values = (after.attn.qkv.weight - before.attn.qkv.weight).chunk(3)
        # A weight near 1 is rounded at 1e-7 when the update is added to it.
        ranks = [int(torch.linalg.matrix_rank(part, atol=1e-5)) for part in (queries, keys, values)]
        assert ranks == [rank, 0, rank]
        assert torch.equal(after.attn.qkv.bias, before.attn.qkv.bias)


@pytest.mark.parametrize(("rank", "alpha"), [(2, 1.0), (4, 4.0), (4, 16.0)])
def test_the_update_of_lora_is_alpha_over_rank_times_its_factors(rank: int, alpha: float) -> None:
    method = tuned("lora", tiny_vit(), rank=rank, alpha=alpha)
    before: Any = tiny_vit().backbone.network
    trained: Any = method.student.encoder.backbone.network  # type: ignore[union-attr]
    after: Any = method.deploy()["all"].encoder.backbone.network  # type: ignore[union-attr]
    layer = trained.blocks[0].attn.qkv
    update = after.blocks[0].attn.qkv.weight - before.blocks[0].attn.qkv.weight
    assert_close(update[:12], alpha / rank * layer.up[0] @ layer.down[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["adaptformer", "lora", "vpt_deep", "vqt"])
@pytest.mark.parametrize("make", BOTH)
def test_blocks_before_the_first_are_left_as_they_are(
    name: str, make: Callable[..., Student]
) -> None:
    student = make()
    images = torch.rand(2, 3, 12, 12)
    before = student.eval().encoder(images)
    method = tuned(name, student, first_block=3)
    with torch.no_grad():
        after = method.eval().student.encoder(images)  # type: ignore[union-attr]
    for early, late in zip(before.maps[:-1], after.maps[:-1], strict=True):
        assert_close(early, late)
    assert torch.allclose(before.maps[-1], after.maps[-1], atol=1e-5) == (name == "vqt")


@pytest.mark.parametrize("name", ["adaptformer", "lora", "vpt_deep", "vqt"])
def test_a_first_block_that_is_not_there_is_refused_before_anything_is_frozen(name: str) -> None:
    kind = catalog.find("medistill.methods", name, Method)
    with pytest.raises(UserError, match="first_block is 4, but the student has 4 blocks"):
        kind(tiny_vit(), first_block=4)  # type: ignore[call-arg, type-abstract]


def test_the_folded_norm_of_adaptformer_is_that_of_the_running_statistics() -> None:
    method = tuned("adaptformer", tiny_windowed_vit())
    assert isinstance(method, Adaptformer)
    method.norm.running_mean = torch.linspace(-2, 2, method.student.width)
    method.norm.running_var = torch.linspace(0.1, 9, method.student.width)
    deployed, images = method.deploy()["all"].eval(), torch.rand(3, 3, 12, 12)
    output = deployed(images)
    normed = (output.features - method.norm.running_mean) / (method.norm.running_var + EPS).sqrt()
    assert_close(output.logits, method.student.head(normed), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("queries", "first_block"), [(1, 0), (3, 0), (2, 3)])
def test_the_head_of_vqt_is_as_wide_as_what_its_queries_find(
    queries: int, first_block: int
) -> None:
    method = Vqt(tiny_windowed_vit(), queries=queries, first_block=first_block)
    width = tiny_windowed_vit().width + (4 - first_block) * queries * 12
    assert method.student.head.in_features == method.student.width == width


def test_classes_of_a_batch_weigh_alike_in_the_second_phase_of_lpt() -> None:
    targets = torch.tensor([0, 2, 2, 1, 2, 0])
    weights = _class_weights(targets)
    totals = torch.zeros(3).index_add(0, targets, weights)
    assert_close(totals, torch.ones(3))


def test_lpt_has_the_terms_of_its_phase_and_each_phase_fades_into_the_next() -> None:
    method = tuned("lpt", tiny_vit(), prompts=2, groups=Groups(count=4))
    assert isinstance(method, Lpt)
    batch: Batch = tiny_batch()
    assert set(method.losses(batch, 0.49)) == {"labels"} and not method.second_phase
    begun, ended = method.losses(batch, 0.5), method.losses(batch, 1.0)
    assert set(begun) == {"classes", "labels", "keys"} and method.second_phase
    assert begun["labels"] > 0 and ended["labels"] == 0


def test_one_group_is_chosen_by_every_image() -> None:
    method = tuned("lpt", tiny_vit(), prompts=2, groups=Groups(count=1, chosen=1))
    method.losses(tiny_batch(), 0.9)
    assert logits(method.deploy()["all"], torch.rand(2, 3, 12, 12)).isfinite().all()
    with pytest.raises(UserError, match=r"groups.chosen is 2, but there are 1 to choose from"):
        Lpt(tiny_vit(), groups=Groups(count=1))
