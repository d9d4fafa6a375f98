"""One formula for resizing."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medistill.resampling import resize


@pytest.mark.parametrize(
    "shape", [(1, 3, 60, 45), (2, 1, 17, 90), (1, 1, 1, 5), (1, 1, 400, 31), (1, 1, 32, 32)]
)
def test_it_equals_torch_interpolation_with_antialiasing(shape: tuple[int, ...]) -> None:
    images = torch.rand(shape, dtype=torch.float64)
    wanted = F.interpolate(images, size=(32, 32), mode="bilinear", antialias=True)
    torch.testing.assert_close(resize(images, 32), wanted, rtol=0, atol=1e-12)


def test_float32_differs_from_float64_by_float_accuracy_alone() -> None:
    images = torch.rand(1, 1, 700, 301)
    exact = resize(images.double(), 96)
    torch.testing.assert_close(resize(images, 96).double(), exact, rtol=0, atol=1e-6)


def test_an_image_of_the_wanted_size_stays_bit_for_bit() -> None:
    images = torch.rand(3, 40, 40)
    assert torch.equal(resize(images, 40), images)


def test_a_constant_image_stays_constant() -> None:
    torch.testing.assert_close(
        resize(torch.full((1, 30, 77), 0.3), 20), torch.full((1, 20, 20), 0.3)
    )


def test_halving_weighs_four_neighbours_by_one_and_three_eighths() -> None:
    row = torch.tensor([[0.0, 0.0, 0.0, 8.0, 0.0, 0.0, 0.0, 0.0]]).expand(8, 8)
    # Output pixel 1 looks at 1..4 with weights 1, 3, 3, 1 over 8; output pixel 2 at 3..6.
    torch.testing.assert_close(resize(row, 4)[1], torch.tensor([0.0, 3.0, 1.0, 0.0]))


class _Resizing(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return resize(image.permute(0, 3, 1, 2).float(), 24)


def test_an_exported_graph_takes_any_height_and_width(tmp_path: Path) -> None:
    network, path = _Resizing().eval(), tmp_path / "resize.onnx"
    free = {"image": {1: torch.export.Dim("height", min=1), 2: torch.export.Dim("width", min=1)}}
    example = torch.zeros(1, 50, 70, 1, dtype=torch.uint8)
    program = torch.onnx.export(
        network, (example,), dynamo=True, opset_version=18, dynamic_shapes=free, verbose=False
    )
    assert program is not None
    program.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for height, width in [(50, 70), (24, 24), (1, 9), (130, 11)]:
        image = torch.randint(0, 256, (1, height, width, 1), dtype=torch.uint8)
        (found,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
        np.testing.assert_allclose(found, network(image).numpy(), rtol=0, atol=1e-4)
