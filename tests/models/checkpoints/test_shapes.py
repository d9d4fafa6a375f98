"""Files of exactly the published keys and shapes, whole and broken, without a number in them."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch

from medistill import catalog
from medistill.models.backbones.base import Backbone
from medistill.models.checkpoints.base import CHECKPOINTS, Checkpoint, Edition
from medistill.models.matching import COUNTER, Match
from tests.models.checkpoints import published
from tests.models.checkpoints.published import State

WHOLE = (2, 5, 8, 11)  # the blocks of SAM's ViT-B that look at the whole image
FILES: dict[str, Callable[[], Any]] = {
    "biomedclip": published.biomedclip,
    "chexnet": lambda: published.chexnet()["state_dict"],
    "lvm_med_resnet50": lambda: published.hollow(published.resnet50()),
    "lvm_med_vit": lambda: published.hollow(published.sam(absolute=False, whole=WHOLE)),
    "medsam": lambda: published.medsam(whole=WHOLE),
    "pmc_clip": lambda: published.pmc_clip()["state_dict"],
    "rad_dino": published.rad_dino,
    "rad_dino of transformers": published.rad_dino_of_transformers,
    "radimagenet_densenet121": published.radimagenet_densenet121,
    "radimagenet_inceptionv3": lambda: published.radimagenet_inceptionv3(auxiliary=True),
    "radimagenet_resnet50": published.radimagenet_resnet50,
    "radimagenet_resnet50 of Keras": published.radimagenet_port,
    "torchxrayvision_densenet121": published.torchxrayvision,
}
WRAPPERS = ("module.", "_orig_mod.", "module.model.")
FEW = 3  # tensors of each file that are broken, from all over it


@cache
def released(edition_of: type[Checkpoint], number: int) -> Backbone:
    return edition_of.editions[number].released()


@cache
def _file(name: str) -> State:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(published, "filled", published.hollow)
        state: State = FILES[name]()
    return state


def file(name: str) -> State:
    """A copy, to be broken."""
    return dict(_file(name))


def model_of(name: str) -> type[Checkpoint]:
    return catalog.find(CHECKPOINTS, name.partition(" ")[0], Checkpoint)


def edition_of(name: str, state: State) -> tuple[Edition, Backbone]:
    model = model_of(name)
    edition = model.edition_of(state)
    return edition, released(model, model.editions.index(edition))


def matched(name: str, state: State) -> Match:
    return model_of(name).match(*edition_of(name, state), state)


@cache
def whole(name: str) -> Match:
    return matched(name, file(name))


def some(name: str) -> list[str]:
    """Keys of an encoder, from all over it; counters may be missing."""
    found = whole(name).found
    keys = [key for tensor, keys in found.items() if not tensor.endswith(COUNTER) for key in keys]
    return keys[:: len(keys) // FEW]


def test_every_released_model_is_here() -> None:
    assert {name.partition(" ")[0] for name in FILES} == {*catalog.available(CHECKPOINTS)}


@pytest.mark.parametrize("name", FILES)
def test_as_it_is_published_each_tensor_finds_its_place(name: str) -> None:
    wanted = edition_of(name, file(name))[1].network.state_dict()
    found = whole(name)
    assert found.complaints == []
    assert all(tensor.endswith(COUNTER) for tensor in wanted.keys() - found.found.keys())


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("name", FILES)
def test_below_the_name_of_a_wrapper_it_is_the_same(name: str, wrapper: str) -> None:
    found = matched(name, published.prefixed(wrapper, file(name)))
    assert found.complaints == []
    assert found.prefix == wrapper + whole(name).prefix
    assert found.found.keys() == whole(name).found.keys()


@pytest.mark.parametrize("name", FILES)
def test_without_any_one_tensor_it_is_refused(name: str) -> None:
    for key in some(name):
        state = file(name)
        del state[key]
        told = key.removeprefix(whole(name).prefix)
        assert matched(name, state).complaints == [f"{told} is not in the file"]


@pytest.mark.parametrize("name", FILES)
def test_with_any_one_tensor_of_another_shape_it_is_refused(name: str) -> None:
    for key in some(name):
        state = file(name)
        state[key] = torch.empty(*state[key].shape, 2, device="meta")
        (complaint,) = matched(name, state).complaints
        assert key.removeprefix(whole(name).prefix) in complaint
        assert " in the file, not " in complaint


@pytest.mark.parametrize("name", FILES)
def test_with_a_tensor_that_nobody_knows_it_is_refused(name: str) -> None:
    for stranger in (f"{whole(name).prefix}stranger.weight", f"{some(name)[0]}_again"):
        state = {**file(name), stranger: torch.empty(3, device="meta")}
        assert matched(name, state).complaints == [f"{stranger} is unknown"]


@pytest.mark.parametrize(
    ("name", "tensors", "parameters", "size"),
    [
        ("medsam", 12 * 14 + 3, 89_670_912 - 787_456, 256),  # of SAM's encoder less its neck
        ("biomedclip", 12 * 12 + 6, 85_798_656, 112),
        ("rad_dino of transformers", 12 * 14 + 6, 86_580_480 - 768, 224),  # less the mask token
    ],
)
def test_a_transformer_of_full_size_is_whole_and_is_fitted_to_other_images(
    name: str, tensors: int, parameters: int, size: int
) -> None:
    state = file(name)
    edition, backbone = edition_of(name, state)
    found = whole(name)
    assert len(found.found) == found.total == tensors
    placed = found.tensors(state)
    assert sum(tensor.numel() for tensor in placed.values()) == parameters
    with torch.device("meta"):
        resized = edition.network(size)
    for one in (backbone, resized):
        edition.place(dict(placed), one)
        assert {t.dtype for t in one.network.state_dict().values()} == {torch.float32}
    step = resized.size // resized.shapes(size)[-1][-1]
    assert resized.shapes(size)[-1] == (768, size // step, size // step)
    assert resized.network.pos_embed.numel() < backbone.network.pos_embed.numel()


@pytest.mark.parametrize(("classes", "refused"), [(14, False), (1000, True), (None, False)])
@pytest.mark.parametrize("layer", ["classifier.", "classifier.0."])
def test_chexnet_is_told_from_the_original_of_imagenet(
    classes: int | None, refused: bool, layer: str
) -> None:
    shapes = published.densenet121()
    if classes is not None:
        shapes |= {f"{layer}weight": (classes, 1024), f"{layer}bias": (classes,)}
    complaints = matched("chexnet", published.hollow(shapes)).complaints
    wanted = [f"{layer}{kind} is for 1000 classes, not 14" for kind in ("bias", "weight")]
    assert complaints == (wanted if refused else [])
