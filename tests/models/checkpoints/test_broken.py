"""A file that is broken in one of the ways that users report loads by rule, or is refused."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medistill.errors import UserError
from medistill.models.recognising import recognised
from medistill.models.sources import Network, load_network, released_licence
from tests.models.checkpoints import published
from tests.models.checkpoints.published import State

SMALL: dict[str, Any] = {"depth": 1, "embed_dim": 48, "num_heads": 3}
SAM: dict[str, Any] = {**SMALL, "embed_dim": 128, "num_heads": 2, "global_attn_indexes": []}
Write = Callable[[Any], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def writing(content: Any) -> str:
        torch.save(content, tmp_path / "file.pt")
        return str(tmp_path / "file.pt")

    return writing


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose a file may be is asked by few tests, for it takes a second."""
    monkeypatch.setattr("medistill.models.sources.recognised", lambda _: "")


@pytest.fixture
def file() -> State:
    return published.rad_dino(depth=1, width=48)


def loaded(path: str, name: str = "rad_dino", **settings: Any) -> Network:
    return load_network(name, path, **{"options": SMALL, **settings})


def refusal(path: str, name: str = "rad_dino", **settings: Any) -> str:
    with pytest.raises(UserError) as raised:
        loaded(path, name, **settings)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    "prefix", ["module.", "model.", "backbone.", "image_encoder.", "model.backbone.", "_orig_mod."]
)
def test_names_of_wrappers_are_stripped(prefix: str, write: Write, file: State) -> None:
    network = loaded(write(published.prefixed(prefix, file)))
    assert network.report.left_out == (f"{prefix}mask_token",)


@pytest.mark.parametrize("wrapping", ["state_dict", "model_state_dict", "model"])
def test_an_optimiser_may_stand_beside(wrapping: str, write: Write, file: State) -> None:
    optimiser = {"state": {0: {"step": torch.ones(())}}, "param_groups": []}
    network = loaded(write({wrapping: file, "optimizer": optimiser, "epoch": 7}))
    assert network.report.left_out == ("mask_token",)


def test_a_checkpoint_of_lightning_is_read_past_its_settings(write: Write, file: State) -> None:
    network = loaded(
        write({
            "state_dict": published.prefixed("model.", file),
            "pytorch-lightning_version": "2.1.0",
            "hyper_parameters": argparse.Namespace(learning_rate=1e-3),
            "optimizer_states": [{"state": {}}],
        })
    )  # fmt: skip
    assert network.report.left_out == ("model.mask_token",)


def test_a_tensor_that_is_missing_is_named(write: Write, file: State) -> None:
    del file["blocks.0.mlp.fc2.bias"]
    says = refusal(write(file))
    assert says.startswith("teacher weights: 1 of 20 encoder tensors found no place ")
    assert "(blocks.0.mlp.fc2.bias is not in the file); nothing was loaded." in says


def test_a_part_of_a_joined_tensor_is_named(write: Write) -> None:
    file = published.rad_dino_of_transformers(depth=1, width=48)
    del file["encoder.layer.0.attention.attention.key.weight"]
    says = refusal(write(file))
    assert "encoder.layer.0.attention.attention.key.weight is not in the file" in says


def test_a_tensor_too_many_is_named(write: Write, file: State) -> None:
    file["blocks.1.norm1.weight"] = torch.ones(48)
    assert "(blocks.1.norm1.weight is unknown)" in refusal(write(file))


def test_a_tensor_of_another_shape_is_named(write: Write, file: State) -> None:
    file["patch_embed.proj.weight"] = torch.ones(48, 3, 16, 16)
    says = refusal(write(file))
    assert "patch_embed.proj.weight is 48x3x16x16 in the file, not 48x3x14x14" in says


def test_positions_of_another_size_than_the_published_are_refused(write: Write) -> None:
    file = published.rad_dino(depth=1, width=48)
    file["pos_embed"] = torch.ones(1, 257, 48)
    assert "pos_embed is 1x257x48 in the file, not 1x1370x48" in refusal(write(file), size=224)


def test_medsam_without_its_positions_is_refused(write: Write) -> None:
    file = published.medsam(depth=1, width=128, whole=())
    del file["image_encoder.pos_embed"]
    assert "pos_embed is not in the file" in refusal(write(file), "medsam", options=SAM)


def test_options_of_another_architecture_do_not_drop_blocks(write: Write) -> None:
    file = published.rad_dino(depth=2, width=48)
    assert "blocks.1.attn.proj.bias is unknown" in refusal(write(file))


def test_a_truncated_file_is_refused(write: Write, file: State) -> None:
    path = Path(write(file))
    path.write_bytes(path.read_bytes()[:-4000])
    assert "cannot be read" in refusal(str(path))


def test_the_original_of_imagenet_is_not_taken_for_a_converted_file(write: Write) -> None:
    file = published.filled(published.resnet50())
    file["fc.weight"] = torch.ones(1000, 2048).half()
    says = refusal(write(file), "radimagenet_resnet50", options={})
    assert "(fc.weight is unknown)" in says


class TestWhoseItIs:
    """The error names the model that a file is of, by its keys and shapes."""

    @pytest.mark.parametrize("name", ["radimagenet_densenet121", "torchxrayvision_densenet121"])
    def test_a_densenet(self, name: str) -> None:
        shapes = published.densenet121()
        if name == "radimagenet_densenet121":
            shapes = {key.replace("features.", "backbone.0."): v for key, v in shapes.items()}
        else:
            shapes["features.conv0.weight"] = (64, 1, 7, 7)
        assert recognised(published.hollow(shapes)) == f"Is this {name}?"

    def test_an_encoder_of_sam_without_absolute_positions(self) -> None:
        shapes = published.sam(absolute=False, whole=(2, 5, 8, 11))
        assert recognised(published.hollow(shapes)) == "Is this lvm_med_vit?"

    def test_a_library_where_no_released_model_has_keys_of_its_own(self) -> None:
        file = published.hollow(published.resnet50())
        assert recognised(file) == "Is this torchvision/resnet50?"


def test_a_library_is_told_that_the_file_is_a_released_models(write: Write) -> None:
    path = write({"state_dict": published.prefixed("module.visual.", published.clip_tower())})
    says = refusal(path, "torchvision/resnet50", options={})
    assert "conv1.weight is 32x3x3x3 in the file, not 64x3x7x7" in says
    assert says.endswith("Is this pmc_clip?")


@pytest.mark.parametrize("weights", [None, "pretrained"])
def test_where_the_file_is_found_is_said(weights: str | None) -> None:
    with pytest.raises(UserError) as raised:
        load_network("PMC-CLIP", weights)
    assert "name its file, from huggingface.co/datasets/axiong/pmc_oa" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [("pmc_klip", "Did you mean 'pmc_clip'?"), ("x", "`medistill list teachers` shows")],
)
def test_a_name_that_does_not_exist_is_told(name: str, said: str) -> None:
    with pytest.raises(UserError, match=f"Unknown model '{name}'") as raised:
        load_network(name, "random")
    assert said in str(raised.value)


def test_a_size_stands_beside_the_name() -> None:
    with pytest.raises(UserError, match="rad_dino takes its size as `size: 224`"):
        load_network("rad_dino", "random", options={"img_size": 224})


def test_a_size_that_does_not_fit_is_told() -> None:
    with pytest.raises(UserError, match="does not take images of 8 pixels"):
        load_network("rad_dino", "random", options=SMALL, size=8)


@pytest.mark.parametrize(
    ("name", "size", "way"),
    [
        ("lvm_med_vit", 100, "a multiple of 16, such as 96; as released it is shown 224."),
        ("medsam", 1000, "a multiple of 16, such as 992; as released it is shown 1024."),
        ("rad_dino", 100, "a multiple of 14, such as 98; as released it is shown 518."),
        ("radimagenet_inceptionv3", 16, "Choose a larger `size`; as released it is shown 224."),
    ],
)
def test_which_sizes_a_released_model_takes_is_told(name: str, size: int, way: str) -> None:
    options = {"medsam": SAM, "lvm_med_vit": SAM, "rad_dino": SMALL}.get(name, {})
    for weights in ("random", "no such file"):
        says = refusal(weights, name, options=options, size=size)
        assert f"does not take images of {size} pixels" in says
        assert way in says
        assert "img_size" not in says  # which it refuses


def test_random_weights_have_no_licence() -> None:
    network = loaded("random", "medsam", options=SAM, size=64)
    assert network.report.source == "random"
    assert released_licence("medsam", "random") is None
    assert released_licence("medsam", "file.pth") == "Apache-2.0"
    assert released_licence("timm/resnet50", "file.pth") is None
