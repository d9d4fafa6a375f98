"""Device, precision and memory layout."""

import pytest
import torch
from torch import nn

from medistill.errors import UserError
from medistill.training.devices import Arithmetic, choose_device, place, placed
from medistill.types import Batch

CPU = torch.device("cpu")


def batch(*space: int) -> Batch:
    numbers = torch.zeros(2, dtype=torch.long)
    images = torch.rand(2, 1, *space).expand(-1, 3, *[-1] * len(space))
    return Batch(images, numbers, numbers, numbers, numbers, torch.ones(2))


def test_auto_is_a_device_that_exists():
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu") == CPU


def test_an_unknown_device_is_named():
    with pytest.raises(UserError, match=r"training\.device 'gpu'.*auto, cpu or cuda"):
        choose_device("gpu")


def test_a_gpu_that_is_not_there_is_refused_in_one_line():
    with pytest.raises(UserError, match=r"there is no GPU 99"):
        choose_device("cuda:99")


def test_under_torchrun_each_process_takes_its_own_gpu(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda") == torch.device("cuda", 1)
    assert choose_device("cuda:0") == torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_networks_compute_in_the_chosen_precision(precision, dtype):
    with Arithmetic(precision, CPU).autocast():
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype is dtype


def test_only_fp16_scales_its_losses():
    loss = {"labels": torch.tensor(2.0)}
    assert Arithmetic("bf16", CPU).scaled(loss) == loss
    assert Arithmetic("fp16", CPU).scaled(loss)["labels"] > 1000


def test_placing_a_method_keeps_its_parameters_and_their_values():
    method = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv3d(3, 4, 3), nn.Linear(2, 2))
    before = [(id(p), p.detach().clone()) for p in method.parameters()]
    place(method, CPU)
    assert all(
        id(p) == i and torch.equal(p, v)
        for p, (i, v) in zip(method.parameters(), before, strict=True)
    )
    assert method[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert method[1].weight.is_contiguous(memory_format=torch.channels_last_3d)


def test_images_come_channels_last_in_2d_and_in_3d():
    layouts = {torch.channels_last: batch(5, 6), torch.channels_last_3d: batch(4, 5, 6)}
    for layout, shown in layouts.items():
        assert placed(shown, CPU).images.is_contiguous(memory_format=layout)
        assert torch.equal(placed(shown, CPU).images, shown.images)
