"""What holds for all methods that tune a foundation model: what learns, and what rests."""

import re

import pytest
import torch
from torch.testing import assert_close

from medistill import catalog
from medistill.methods.adaptformer import Adaptformer
from medistill.methods.base import Method
from medistill.methods.full_fine_tuning import FullFineTuning
from medistill.methods.lora import Lora
from medistill.methods.vpt_deep import VptDeep
from medistill.models.networks import Encoder, Student
from medistill.types import Batch
from tests.tiny import tiny_batch, tiny_student, tiny_vit, tiny_windowed_vit

TRAINED = {
    "adaptformer": r"mlp\.bottleneck\.[03]\.(weight|bias)",
    "lora": r"attn\.qkv\.(down|up)",
    "lpt": r"encoder\.(prompts\.\d+\.values|groups|keys)",
    "vpt_deep": r"encoder\.prompts\.\d+\.values",
    "vpt_shallow": r"encoder\.prompts\.values",
    "vqt": r"encoder\.queries\.\d+\.values",
}


@pytest.fixture
def batch() -> Batch:
    return tiny_batch()


def tuning(name: str, student: Student) -> Method:
    return catalog.find("medistill.methods", name, Method)(student)  # type: ignore[call-arg, type-abstract]


def perturbed(method: Method) -> None:
    """Draw all that is trained anew: adapters begin at nothing."""
    with torch.no_grad():
        for parameter in method.parameters():
            if parameter.requires_grad:
                parameter.normal_()


def test_every_method_for_transformers_says_what_it_trains() -> None:
    kinds = {
        name: catalog.find("medistill.methods", name, Method)
        for name in catalog.available("medistill.methods")
    }
    assert {name for name, kind in kinds.items() if kind.family == "vit"} == set(TRAINED)


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("make", [tiny_vit, tiny_windowed_vit])
def test_adapters_and_head_alone_get_gradients(
    name: str, make: type[Student], batch: Batch
) -> None:
    method = tuning(name, make())
    touched = set()
    for progress in (0.2, 0.8):
        method.backward(method.losses(batch, progress))
        touched |= {key for key, p in method.named_parameters() if p.grad is not None}
    wanted = re.compile(rf".*({TRAINED[name]}|student\.head\.\w+)")
    assert touched and all(wanted.fullmatch(key) for key in touched), touched
    assert touched == {key for key, p in method.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("name", TRAINED)
def test_the_foundation_model_itself_never_moves(name: str, batch: Batch) -> None:
    student = tiny_vit(drop_path_rate=0.5)
    before = {key: tensor.clone() for key, tensor in student.encoder.state_dict().items()}
    method = tuning(name, student)
    optimizer = torch.optim.AdamW(method.parameters(), lr=0.1, weight_decay=0.1)
    for progress in (0.2, 0.8):
        method.train()
        assert not any(type(m).__name__ == "DropPath" and m.training for m in method.modules())
        optimizer.zero_grad()
        method.backward(method.losses(batch, progress))
        optimizer.step()
    assert_close(dict(student.encoder.state_dict()), before, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["adaptformer", "lora"])
def test_adapters_that_have_not_learnt_leave_a_probe_on_the_foundation_model(
    name: str, batch: Batch
) -> None:
    student = tiny_vit()
    deployed = tuning(name, student).deploy()["all"]
    assert isinstance(deployed, Student)
    features = student.eval().encoder(batch.images).features
    assert torch.equal(deployed.eval()(batch.images).logits, deployed.head(features))


def test_lora_is_deployed_as_the_plain_foundation_model(batch: Batch) -> None:
    method = Lora(tiny_vit(), rank=2, alpha=1.0)
    perturbed(method)
    deployed = method.deploy()["all"]
    assert isinstance(deployed, Student) and type(deployed.encoder) is Encoder
    assert deployed.encoder.state_dict().keys() == tiny_vit().encoder.state_dict().keys()
    wanted = method.student(batch.images).logits
    assert_close(deployed(batch.images).logits, wanted, rtol=1e-5, atol=1e-5)
    assert deployed.encoder.shown == method.student.encoder.shown


def test_adaptformers_norm_is_folded_into_the_head(batch: Batch) -> None:
    method = Adaptformer(tiny_vit())
    perturbed(method)
    for _ in range(5):
        method.train()
        method.losses(batch, 0.5)
    method.eval()
    features = method.student.encoder(batch.images).features
    assert method.norm.running_mean is not None and method.norm.running_mean.any()
    wanted = method.student.head(method.norm(features))
    assert_close(method.deploy()["all"](batch.images).logits, wanted)


def test_prompts_may_be_read_through_the_patches(batch: Batch) -> None:
    deployed = VptDeep(tiny_vit(), pooling="patches").deploy()["all"]
    output = deployed(batch.images)
    assert torch.equal(output.features, output.maps[-1].flatten(2).mean(2))


def test_full_fine_tuning_trains_all_of_any_network(batch: Batch) -> None:
    for student in (tiny_student(), tiny_vit()):
        method = FullFineTuning(student)
        method.backward(method.losses(batch, 0.5))
        assert all(parameter.grad is not None for parameter in student.parameters())
        assert method.deploy() == {"all": student}
