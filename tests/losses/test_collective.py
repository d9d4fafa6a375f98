"""Two processes that hold unequal parts of a batch learn exactly what one process learns."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch import Tensor, nn
from torch.testing import assert_close

from medistill.losses.collective import (
    anywhere,
    mean_over_processes,
    processes,
    whole_batch,
    whole_batch_mean,
)
from medistill.losses.divergence import decorrelation, decoupled_kl, softened_kl
from medistill.losses.relational_distances import angle_discrepancy, distance_discrepancy
from medistill.losses.similarity import linear_cka, unbiased_linear_cka
from medistill.losses.supervised import cross_entropy

ROWS = 17  # odd, so that the parts differ


def terms(student: nn.Linear, phi: nn.Linear, rows: slice) -> dict[str, Tensor]:
    """Each loss of a linear student and a linear φ, on a part of one fixed batch."""
    draws = torch.Generator().manual_seed(1)
    inputs, raw = torch.randn(ROWS, 5, generator=draws), torch.randn(ROWS, 7, generator=draws)
    targets, weights = torch.arange(ROWS) % 4, torch.rand(ROWS, generator=draws)
    own, wanted = student(inputs[rows]), phi(raw[rows])
    target, others = decoupled_kl(own, wanted, targets[rows], 4.0)
    both = whole_batch(own), whole_batch(wanted)
    return {
        "biased": linear_cka(whole_batch(own), whole_batch(wanted)),
        "unbiased": unbiased_linear_cka(whole_batch(own), whole_batch(wanted)),
        "labels": cross_entropy(own, targets[rows], weights[rows]),
        "logits": softened_kl(own, wanted, 4.0),
        "target": target,
        "others": others,
        "correlation": decorrelation(both[0].T, both[1].T),
        "distances": distance_discrepancy(*both),
        "angles": angle_discrepancy(*both),
        "mean": whole_batch_mean(own.square().sum(1) + wanted.abs().sum(1)),
    }


def learned(rows: slice) -> dict[str, list[Tensor]]:
    """Value and gradients of each loss."""
    torch.manual_seed(0)
    student, phi = nn.Linear(5, 4), nn.Linear(7, 4)
    parameters = [*student.parameters(), *phi.parameters()]
    found = {}
    for name, loss in terms(student, phi, rows).items():
        gradients = torch.autograd.grad(
            loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        found[name] = [loss.detach(), *(gradient.detach() for gradient in gradients)]
    return found


def one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    found = learned(slice(rank, None, 2))
    for tensor in (tensor for each in found.values() for tensor in each):
        dist.all_reduce(tensor)
        tensor /= 2
    mean = mean_over_processes(torch.tensor([float(rank), 4.0]))
    flags = anywhere(torch.tensor([rank == 1, False, True]))
    found["told"] = [mean, torch.tensor(flags)]
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[Tensor]]]:
    folder: Path = tmp_path_factory.mktemp("processes")
    multiprocessing.spawn(one_of_two, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("name", list(learned(slice(None))))
def test_losses_and_gradients_averaged_over_two_processes_are_those_of_one(
    of_two: list[dict[str, list[Tensor]]], name: str
) -> None:
    expected = learned(slice(None))[name]
    assert any(tensor.any() for tensor in expected[1:])
    for found in of_two:
        assert_close(found[name], expected, atol=1e-6, rtol=1e-5)


def test_two_processes_tell_each_other_means_and_flags(
    of_two: list[dict[str, list[Tensor]]],
) -> None:
    for found in of_two:
        mean, flags = found["told"]
        assert_close(mean, torch.tensor([0.5, 4.0]))
        assert flags.tolist() == [True, False, True]


def test_alone_a_mean_and_flags_are_ones_own() -> None:
    tensor = torch.randn(3)
    assert mean_over_processes(tensor) is tensor
    assert anywhere(torch.tensor([True, False])) == [True, False]


def test_alone_the_whole_batch_is_the_batch() -> None:
    rows = torch.randn(3, 2)
    assert processes() == 1
    assert whole_batch(rows) is rows


def test_a_weighted_mean_by_hand() -> None:
    values, weights = torch.tensor([1.0, 4.0, 100.0]), torch.tensor([1.0, 2.0, 0.0])
    assert_close(whole_batch_mean(values, weights), torch.tensor(3.0))
    assert_close(whole_batch_mean(values), torch.tensor(35.0))
