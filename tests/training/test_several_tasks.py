"""Methods of several tasks: in two processes, after a resume, and in half precision."""

import pytest
import torch
from torch.testing import assert_close
from toy_tasks import BUILDS, STEPS, Mixed
from toy_training import seeded, trained

from medistill.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


@pytest.mark.parametrize("name", BUILDS)
def test_two_processes_end_with_the_weights_and_losses_of_one(processes, name):
    losses = []
    alone = trained(
        seeded(BUILDS[name]),
        Mixed(steps=STEPS[name]),
        on_step=lambda step: losses.append(step.losses),
    )
    for each in processes:
        # Sums in another order, through up to six steps and the rules' quotients.
        assert_close(each[name]["state"], alone.state_dict(), atol=5e-5, rtol=1e-4)
        assert_close(each[name]["losses"], losses, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", BUILDS)
def test_two_processes_hold_the_same_weights_to_the_bit(processes, name):
    first, second = (each[name]["state"] for each in processes)
    assert_close(first, second, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("name", "killed"),
    [
        ("moco", 4),
        ("pcgrad", 4),
        ("decomposition", 4),
        ("decomposition unequal", 2),  # in the warm-up
        ("decomposition unequal", 3),  # with the last step before the ranks change
        ("decomposition unequal", 4),  # with the first step after
    ],
)
def test_a_resume_goes_on_bit_for_bit(tmp_path, name, killed):
    kept: list[Checkpoint] = []

    def keep(step):
        if step.step == killed:
            save_checkpoint(tmp_path / "last.pt", step.checkpoint())
            kept.append(load_checkpoint(tmp_path / "last.pt"))

    whole = trained(seeded(BUILDS[name]), Mixed(), on_step=keep, optimizer="adamw")
    again = seeded(BUILDS[name], seed=7)
    trained(again, Mixed(), resume=kept[0], optimizer="adamw")
    assert_close(again.state_dict(), whole.state_dict(), atol=0, rtol=0)


@pytest.mark.parametrize(
    "name", ["aligned", "mgda", "moco", "pcgrad", "decomposition", "decomposition unequal"]
)
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_surgery_and_experts_in_half_precision_lower_the_losses(name, precision):
    losses = []
    method = trained(
        seeded(BUILDS[name]),
        Mixed(),
        epochs=6,
        precision=precision,
        on_step=lambda step: losses.append(sum(step.losses.values())),
    )
    assert sum(losses[-3:]) < sum(losses[:3])
    assert all(torch.isfinite(p).all() for p in method.parameters())


def test_ranks_change_in_mid_training_and_new_experts_learn():
    ranks = []

    method = seeded(BUILDS["decomposition unequal"])
    trained(
        method,
        Mixed(),
        on_step=lambda _: ranks.append(tuple(method.decomposed.ranks)),
        optimizer="adamw",
    )
    assert ranks[:3] == [(4, 4, 4)] * 3
    assert len({*ranks[3:]}) == 1 and ranks[3] != (4, 4, 4)
    changes = [one.change(0).abs().sum().item() > 0 for one in method.decomposed.experts]
    assert changes == [True] * 3
