"""What holds for a segmenter of any family: its sides, its classes, and what it starts from."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from medistill.errors import UserError
from medistill.models.deployed_segmenters import load_segmenter_weights, save_segmenter
from medistill.models.segmenters.base import Answering, Segmenter, build_segmenter
from tests.models.segmenters.small import CLASSES, asked, logits, sat
from tests.models.segmenters.test_monai import TINY

IMAGES = torch.randn(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))


def built(family: str) -> Segmenter:
    if family == "sat":
        return sat()
    return build_segmenter("monai/UNet", TINY["UNet"], CLASSES).eval()


@pytest.mark.parametrize("family", ["sat", "monai"])
class TestEveryFamily:
    def test_shapes_are_those_of_its_maps_and_cost_nothing(self, family: str) -> None:
        network = built(family)
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        shapes = network.shapes((8, 16, 8))
        with torch.no_grad():
            found = network(torch.randn(1, 1, 8, 16, 8), asked([0]))
        assert [tuple(each.shape[1:]) for each in found.maps] == list(shapes)
        assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())
        assert network.shapes((8, 16, 8000))  # of a size that no memory would hold

    def test_features_are_the_average_of_its_last_map(self, family: str) -> None:
        output = built(family)(IMAGES, asked([0], [1]))
        torch.testing.assert_close(output.features, output.maps[-1].mean((2, 3, 4)))

    def test_a_class_that_is_asked_twice_gets_the_same_mask_twice(self, family: str) -> None:
        found = logits(built(family), IMAGES, asked([1, 1], [2, 2]))
        torch.testing.assert_close(found[:, 0], found[:, 1])

    def test_a_patch_that_it_cannot_halve_is_refused_with_the_next_that_it_can(
        self, family: str
    ) -> None:
        with pytest.raises(UserError, match=r"patch = \[9, 8, 8\]: .* the next are \[12, 8, 8\]"):
            built(family).shapes((9, 8, 8))

    @pytest.mark.parametrize("patch", [(8, 8), (8, 8, 8, 8), (0, 8, 8), (8, -4, 8), ()])
    def test_what_is_no_patch_is_refused(self, family: str, patch: tuple[int, ...]) -> None:
        with pytest.raises(UserError, match="give three sides in voxels, each above 0"):
            built(family).shapes(patch)

    def test_it_answers_in_the_order_of_the_classes_that_it_was_given(self, family: str) -> None:
        network = built(family)
        found = Answering(network, CLASSES[::-1])(IMAGES).logits
        assert found is not None
        torch.testing.assert_close(found, logits(network, IMAGES, asked([2, 1, 0], [2, 1, 0])))


def test_a_class_that_it_does_not_know_is_named_with_those_that_it_knows() -> None:
    with pytest.raises(UserError, match="'aorta' is none of those that sat/unet knows: liver, spl"):
        Answering(sat(), ["liver", "aorta"])


def test_asked_for_nothing_it_still_has_features() -> None:
    output = Answering(sat(), ())(IMAGES)
    assert output.logits is not None and output.logits.shape == (2, 0, 8, 8, 8)
    torch.testing.assert_close(output.features, output.maps[-1].mean((2, 3, 4)))


def test_places_of_classes_are_no_part_of_what_is_stored() -> None:
    answering = Answering(sat(), CLASSES)
    assert {name for name in answering.state_dict() if "places" in name} == set()


@pytest.mark.parametrize("length", [20, 5])
def test_a_start_whose_class_vectors_have_another_length_is_refused_in_one_line(
    tmp_path: Path, length: int
) -> None:
    save_segmenter(Answering(sat(), CLASSES), tmp_path / "run", {"task": "abdomen"})
    save_file({name: torch.randn(length) for name in CLASSES}, tmp_path / "text.safetensors")
    ours = sat(queries=str(tmp_path / "text.safetensors"))
    before = ours.state_dict()["queries.vectors"].clone()
    with pytest.raises(
        UserError, match=rf"queries.vectors is 3x12 in the file, not 3x{length}.*`queries` among"
    ) as raised:
        load_segmenter_weights(ours, tmp_path / "run")
    assert "\n" not in str(raised.value)
    assert torch.equal(ours.state_dict()["queries.vectors"], before)
