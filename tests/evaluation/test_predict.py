"""Predictions are those of the network in evaluation mode, and the network is left alone."""

import numpy as np
import pytest
import torch
from torch import nn

from medistill.evaluation.predict import Predictions, predict, probabilities_of, tabulate
from medistill.types import Batch, Output


class Network(nn.Module):
    """Batch norm and dropout, whose two modes differ."""

    def __init__(self):
        super().__init__()
        self.norm, self.drop, self.head = nn.BatchNorm2d(3), nn.Dropout(), nn.Linear(3, 4)

    def forward(self, images):
        features = self.drop(self.norm(images)).mean((2, 3))
        return Output(self.head(features), features)


def batches(sizes=(3, 2)):
    start = 0
    for size in sizes:
        samples = torch.arange(start, start + size)
        start += size
        zeros = torch.zeros(size, dtype=torch.long)
        images = torch.rand(size, 3, 5, 5, generator=torch.Generator().manual_seed(start))
        yield Batch(images, samples % 3 - 1, zeros, samples, zeros, torch.ones(size))


def test_answers_come_in_the_order_of_the_batches():
    network = Network().eval()
    found = predict(network, batches())
    with torch.no_grad():
        wanted = torch.cat([network(batch.images).logits for batch in batches()])
    np.testing.assert_array_equal(found.samples, range(5))
    np.testing.assert_array_equal(found.targets, [-1, 0, 1, -1, 0])
    np.testing.assert_array_equal(found.logits, wanted.numpy())


def test_every_module_keeps_its_mode_and_its_statistics():
    network = Network().train()
    network.drop.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    predict(network, batches())
    assert [module.training for module in network.modules()] == [True, True, False, True]
    assert all(torch.equal(before[name], now) for name, now in network.state_dict().items())


def test_modes_come_back_after_an_error():
    network = Network().train()
    with pytest.raises(ValueError, match="broken file"):
        predict(network, (_ for _ in [0] if _broken()))
    assert network.training


def _broken():
    raise ValueError("broken file")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_is_near(precision):
    network = Network().eval()
    low, full = predict(network, batches(), precision=precision), predict(network, batches())
    assert low.logits.dtype == np.float32
    # Eight bits of mantissa keep some 0.4 % of numbers near 1.
    np.testing.assert_allclose(low.logits, full.logits, atol=0.02)


def test_layout_of_the_images_changes_nothing():
    network = Network().eval()
    found = predict(network, batches(), memory_format=torch.channels_last)
    np.testing.assert_allclose(found.logits, predict(network, batches()).logits, atol=1e-6)


class TestProbabilities:
    def test_are_torchs_softmax(self):
        logits = torch.randn(5, 3)
        np.testing.assert_allclose(
            probabilities_of(logits.numpy(), 2.0), (logits / 2).softmax(dim=1), rtol=1e-6
        )

    def test_stay_finite_on_huge_logits(self):
        np.testing.assert_array_equal(probabilities_of(np.array([[1e5, -1e5]])), [[1, 0]])


def test_a_table_names_no_patient():
    found = tabulate(
        Predictions(np.array([3, 1, 2]), np.array([0, 1, -1]), np.eye(3, 2, dtype=np.float32)),
        task="ct",
        split="test",
        classes=["a", "b"],
        digests=["d0", "d1", "d2", "d3"],
        patients=["Ann", "Bob", None, "Bob"],
    )
    assert found.samples == ("d3", "d1", "d2")
    np.testing.assert_array_equal(found.groups, [0, 0, -1])
    np.testing.assert_allclose(found.probabilities[2], 0.5)
    assert "Bob" not in repr(found)
