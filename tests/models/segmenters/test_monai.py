"""Networks of MONAI: the same numbers as their own forward gives, by the queries' choice."""

import subprocess
import sys
from typing import Any

import pytest
import torch

from medistill.errors import UserError
from medistill.models.segmenters.base import build_segmenter
from tests.models.segmenters.small import CLASSES, asked, logits, moved

TINY: dict[str, dict[str, Any]] = {
    "UNet": {"channels": [4, 6, 8], "strides": [2, 2], "num_res_units": 1},
    "DynUNet": {
        "filters": [4, 6, 8], "strides": [1, 2, [2, 2, 1]], "kernel_size": [[3, 3, 1], 3, 3],
    },
    "SegResNet": {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]},
}  # fmt: skip


def test_monai_is_not_imported_before_it_is_needed() -> None:
    code = (
        "import sys; from medistill.models.segmenters.base import build_segmenter;"
        "import medistill.models.deployed_segmenters, medistill.models.segmenters.monai;"
        "build_segmenter('sat/unet', {'widths': [2, 2]}, ['liver']);"
        "print([m for m in ('monai', 'nibabel', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", TINY)
def test_it_gives_what_monai_gives(name: str) -> None:
    from monai.networks import nets

    network: Any = moved(build_segmenter(f"monai/{name}", TINY[name], CLASSES)).eval()
    extra = {"upsample_kernel_size": [2, [2, 2, 1]]} if name == "DynUNet" else {}
    theirs = getattr(nets, name)(
        spatial_dims=3, in_channels=1, out_channels=3, **TINY[name], **extra
    ).eval()
    theirs.load_state_dict(network.network.state_dict(), strict=False)
    images = torch.randn(2, 1, *(4 * side for side in network.stride))
    with torch.no_grad():
        expected = theirs(images)
    torch.testing.assert_close(logits(network, images, asked([0, 1, 2], [0, 1, 2])), expected)
    chosen = logits(network, images, asked([2, 0], [1, 1]))
    torch.testing.assert_close(chosen[0], expected[0, [2, 0]])
    torch.testing.assert_close(chosen[1], expected[1, [1, 1]])


def test_a_swinunetr_gives_what_monai_gives() -> None:
    pytest.importorskip("einops", reason="MONAI's SwinUNETR needs einops")
    from monai.networks import nets

    options = {"feature_size": 12, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1]}
    network: Any = build_segmenter("monai/SwinUNETR", options, CLASSES).eval()
    theirs = nets.SwinUNETR(in_channels=1, out_channels=3, **options).eval()
    theirs.load_state_dict(network.network.state_dict())
    images = torch.randn(1, 1, 64, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            logits(network, images, asked([0, 1, 2])), theirs(images), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize(
    ("name", "stride", "maps"),
    [
        ("UNet", (4, 4, 4), ((4, 8, 8, 8), (8, 4, 4, 4))),
        ("DynUNet", (4, 4, 2), ((4, 16, 16, 8), (6, 8, 8, 4), (8, 4, 4, 4))),
        ("SegResNet", (2, 2, 2), ((8, 8, 8, 8), (16, 4, 4, 4))),
    ],
)
def test_its_maps_are_those_of_its_encoder(name: str, stride: Any, maps: Any) -> None:
    network = build_segmenter(f"monai/{name}", TINY[name], CLASSES)
    assert network.stride == stride
    patch = [4 * side for side in stride]
    assert network.shapes(patch) == maps
    output = network(torch.randn(1, 1, *patch), asked([0]))
    assert tuple(tuple(each.shape[1:]) for each in output.maps) == maps
    assert output.features.shape == (1, network.width) == (1, maps[-1][0])


def test_no_layer_of_a_dynunet_is_stored_twice() -> None:
    network = build_segmenter("monai/DynUNet", TINY["DynUNet"], CLASSES)
    tensors = [tensor.data_ptr() for tensor in network.state_dict().values()]
    assert len(tensors) == len(set(tensors))


def test_every_network_has_a_small_form_without_options() -> None:
    for name in ("UNet", "DynUNet"):
        network = build_segmenter(f"monai/{name}", None, CLASSES)
        assert network.stride == (8, 8, 8)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("Unet", {}, "Unknown monai backbone 'Unet'. Did you mean UNet"),
        ("UNet", {"out_channels": 3}, "'out_channels' is not one of its options"),
        ("UNet", {"channel": [4]}, "monai/UNet has no option 'channel'. It has act, adn_ordering,"),
        ("UNet", {"channels": [4]}, "the length of `channels` should be no less than 2"),
        ("DynUNet", {"filters": [4]}, "length of filters should be no less than"),
    ],
)
def test_what_it_cannot_be_is_said_in_one_line(
    name: str, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=says) as raised:
        build_segmenter(f"monai/{name}", options, CLASSES)
    assert "\n" not in str(raised.value)


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medistill.models.segmenters.monai.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"needs monai: pip install 'medistill\[seg\]'"):
        build_segmenter("monai/UNet", None, CLASSES)
