"""Random generators: seeded, kept, and taken back."""

import io
import random

import numpy as np
import torch

from medistill.training.randomness import (
    random_state,
    restore_random_state,
    seed_everything,
)


def drawn() -> tuple[float, float, float, float]:
    normal = np.random.standard_normal()  # draws in pairs and keeps one back
    return random.random(), np.random.random(), normal, torch.rand(()).item()


def test_the_same_seed_draws_the_same_numbers():
    seed_everything(3)
    first = drawn()
    seed_everything(3)
    assert drawn() == first
    seed_everything(4)
    assert drawn() != first


def test_a_kept_state_draws_on_from_where_it_stood():
    seed_everything(0)
    drawn()
    state = random_state()
    following = [drawn(), drawn()]
    restore_random_state(state)
    assert [drawn(), drawn()] == following


def test_a_state_survives_a_file_that_executes_nothing():
    buffer = io.BytesIO()
    torch.save(random_state(), buffer)
    following = drawn()
    buffer.seek(0)
    restore_random_state(torch.load(buffer, weights_only=True))
    assert drawn() == following
