"""Two processes on halves of a batch equal one on the whole of it."""

import pytest
import torch
from torch.testing import assert_close
from toy_training import Growing, Noise, Pair, PrecisePair, Surgery, contrasted, seeded, trained

EQUAL_TO_ONE = {
    "pair": (Pair, "sgd", {}),
    "adamw": (PrecisePair, "adamw", {}),
    "unequal": (Pair, "sgd", {"batch_size": 7}),
    "growing": (Growing, "adamw", {}),
    "surgery": (Surgery, "sgd", {}),
    "memory": (contrasted, "sgd", {"batch_size": 7}),
}


def alone(name):
    build, optimizer, settings = EQUAL_TO_ONE[name]
    losses = []
    method = trained(
        seeded(build),
        Noise(**settings),
        optimizer=optimizer,
        on_step=lambda step: losses.append(step.losses),
    )
    return method.state_dict(), losses


@pytest.mark.parametrize("name", EQUAL_TO_ONE)
def test_two_processes_end_with_the_weights_of_one(processes, name):
    expected, _ = alone(name)
    for each in processes:
        assert_close(dict(each[name]["state"]), dict(expected), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", EQUAL_TO_ONE)
def test_two_processes_hold_the_same_weights_to_the_bit(processes, name):
    first, second = (dict(each[name]["state"]) for each in processes)
    assert_close(first, second, atol=0, rtol=0)


@pytest.mark.parametrize("name", EQUAL_TO_ONE)
def test_the_losses_they_log_are_those_of_the_whole_batch(processes, name):
    _, expected = alone(name)
    for each in processes:
        assert_close(each[name]["losses"], expected, atol=1e-5, rtol=1e-5)


def test_a_weight_that_nobody_uses_keeps_no_gradient_and_its_value(processes):
    for each in processes:
        value, gradient = each["unused"]["unused"]
        assert gradient is None and torch.equal(value, torch.ones(2))


def test_a_weight_that_one_process_uses_moves_alike_in_both(processes):
    (one, first), (other, second) = (each["unused"]["sometimes"] for each in processes)
    assert torch.equal(first, torch.full((2,), 0.5)) and torch.equal(first, second)
    assert torch.equal(one, other) and not torch.equal(one, torch.ones(2))


def test_a_loss_that_is_bad_in_one_process_stops_both(processes):
    messages = {each["stopped"] for each in processes}
    assert len(messages) == 1 and "loss 'labels', nan, in epoch 1, after 3 steps" in messages.pop()


def test_a_resume_takes_back_the_random_numbers_of_each_process(processes):
    for each in processes:
        whole, resumed = (dict(each["resumed"][name]) for name in ("whole", "resumed"))
        assert_close(resumed, whole, atol=0, rtol=0)


def test_a_checkpoint_that_does_not_fit_stops_both(processes):
    assert all("does not fit Growing" in each["refused"] for each in processes)


def test_the_state_of_a_method_does_not_know_of_processes(processes):
    assert list(processes[0]["pair"]["state"]) == list(Pair().state_dict())
