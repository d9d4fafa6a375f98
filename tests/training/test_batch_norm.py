"""Batch normalisation over all processes equals that of one process with the whole batch."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from toy_processes import LAYERS, layer_results

from medistill.training.batch_norm import SynchronisedBatchNorm

# One rounding of bfloat16; else float32 on values around 30, divided by a spread of 1.
TOLERANCE = {"bf16": 1e-2}


def close(actual, expected, name):
    assert_close(actual, expected, atol=TOLERANCE.get(name, 2e-5), rtol=TOLERANCE.get(name, 1e-4))


def rows(processes, name, what):
    return torch.cat([each["layers"][name][what] for each in processes])


@pytest.mark.parametrize("name", LAYERS)
def test_rows_are_normalised_as_by_one_process(processes, name):
    close(rows(processes, name, "output"), layer_results(name)["output"], name)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_the_rows_are_those_of_one_process(processes, name):
    close(rows(processes, name, "gradient"), layer_results(name)["gradient"], name)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_the_layer_add_up_to_those_of_one_process(processes, name):
    expected = layer_results(name)["affine"]
    for each in processes:
        assert_close(each["layers"][name]["affine"], expected, atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize("name", LAYERS)
def test_running_statistics_are_those_of_one_process(processes, name):
    for each in processes:
        close(each["layers"][name]["buffers"], layer_results(name)["buffers"], name)


@pytest.mark.parametrize("name", LAYERS)
def test_evaluation_is_left_alone(processes, name):
    close(rows(processes, name, "judged"), layer_results(name)["judged"], name)


def test_other_functions_pass_through():
    network, images = nn.Conv2d(3, 2, 3), torch.rand(2, 3, 5, 5)
    expected = network(images)
    with SynchronisedBatchNorm():
        assert torch.equal(network(images), expected)
