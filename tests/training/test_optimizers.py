"""Optimisers and schedules of training."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD, AdamW
from torch.testing import assert_close

from medistill.training.optimizers import (
    NonFinite,
    build_optimizer,
    build_schedule,
    constant,
    cosine,
    follow,
    repeated,
)


def weights(*values: float) -> nn.ParameterList:
    return nn.ParameterList([nn.Parameter(torch.tensor([value])) for value in values])


def test_names_give_the_optimisers_of_the_papers():
    adamw = build_optimizer("adamw", weights(1.0), learning_rate=0.1, weight_decay=0.2)
    sgd = build_optimizer("sgd", weights(1.0), learning_rate=0.1, weight_decay=0.2)
    assert isinstance(adamw, AdamW) and isinstance(sgd, SGD)
    assert sgd.param_groups[0]["momentum"] == 0.9 and not sgd.param_groups[0]["nesterov"]
    assert [o.param_groups[0]["weight_decay"] for o in (adamw, sgd)] == [0.2, 0.2]


def test_the_clip_bounds_the_norm_of_all_gradients_together():
    held = weights(0.0, 0.0)
    optimizer = build_optimizer("sgd", held, learning_rate=1.0, gradient_clip=1.0)
    held[0].grad, held[1].grad = torch.tensor([30.0]), torch.tensor([40.0])
    optimizer.step()
    assert_close(torch.cat(list(held)).detach(), torch.tensor([-0.6, -0.8]), atol=1e-5, rtol=0)


def test_the_clip_leaves_small_gradients_alone():
    held = weights(0.0)
    optimizer = build_optimizer("sgd", held, learning_rate=1.0, gradient_clip=1.0)
    held[0].grad = torch.tensor([0.5])
    optimizer.step()
    assert held[0].item() == -0.5


def test_the_clip_refuses_an_infinite_gradient_before_the_weights_move():
    held = weights(2.0)
    optimizer = build_optimizer("adamw", held, learning_rate=1.0, gradient_clip=1.0)
    held[0].grad = torch.tensor([math.inf])
    with pytest.raises(NonFinite, match="gradient"):
        optimizer.step()
    assert held[0].item() == 2.0


def test_the_constant_schedule_takes_the_whole_rate():
    assert [constant(step, 10) for step in (0, 5, 9)] == [1.0, 1.0, 1.0]


def test_the_cosine_falls_from_one_through_a_half_towards_zero():
    assert_close([cosine(step, 10) for step in (0, 5)], [1.0, 0.5])
    assert 0 < cosine(9, 10) < 0.03


def test_the_warm_up_grows_linearly_and_ends_at_the_peak():
    schedule = build_schedule("cosine", warm_up=3)
    assert_close([schedule(step, 10) for step in range(4)], [0.25, 0.5, 0.75, 1.0])
    assert_close([build_schedule("constant", warm_up=1)(step, 9) for step in (0, 1)], [0.5, 1.0])


@given(
    steps=st.integers(1, 50),
    warm_up=st.integers(0, 60),
    name=st.sampled_from(("constant", "cosine")),
)
def test_a_schedule_stays_between_nothing_and_the_peak(steps, warm_up, name):
    shares = [build_schedule(name, warm_up=warm_up)(step, steps) for step in range(steps)]
    assert all(0 < share <= 1 for share in shares)


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_a_repeated_schedule_begins_anew_in_each_stage(stages):
    one = build_schedule("cosine", warm_up=2)
    alone = [one(step, 5) for step in range(5)]
    schedule = repeated(one, stages)
    assert [schedule(step, 5 * stages) for step in range(5 * stages)] == alone * stages


def test_new_parameters_start_fresh_and_the_others_keep_their_state():
    held = weights(1.0, 2.0)
    optimizer = build_optimizer("adamw", held.parameters(), learning_rate=0.1)
    kept, gone = held
    kept.grad, gone.grad = torch.ones(1), torch.ones(1)
    optimizer.step()
    before = optimizer.state[kept]["exp_avg"].clone()
    new = nn.Parameter(torch.tensor([3.0]))
    changed = nn.ParameterList([new, kept])
    assert follow(optimizer, changed)
    assert optimizer.param_groups[0]["params"] == [new, kept]
    assert gone not in optimizer.state and new not in optimizer.state
    assert_close(optimizer.state[kept]["exp_avg"], before)


def test_an_unchanged_method_changes_nothing():
    held = weights(1.0)
    optimizer = build_optimizer("sgd", held.parameters(), learning_rate=0.1)
    assert not follow(optimizer, held)


def test_parameters_stay_in_their_own_group():
    held = weights(1.0, 2.0)
    groups = [{"params": [held[0]]}, {"params": [held[1]], "lr": 0.5}]
    optimizer = SGD(groups, lr=0.1)
    new = nn.Parameter(torch.ones(1))
    follow(optimizer, nn.ParameterList([held[1], new]))
    assert [group["params"] for group in optimizer.param_groups] == [[new], [held[1]]]
