"""Random numbers: seeding all generators, keeping where they stand, going back there."""

import random
from typing import Any

import numpy as np
import torch

RandomState = dict[str, Any]


def seed_everything(seed: int) -> None:
    """Seed the generators of Python, numpy and torch, on every device."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_state() -> RandomState:
    """Where all generators stand, as plain values that load without executing a pickle."""
    state: RandomState = {"python": random.getstate(), "torch": torch.get_rng_state()}
    name, keys, *rest = np.random.get_state()
    state["numpy"] = (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest)
    # Asking an idle GPU for its state would start it, and claim its memory.
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: RandomState) -> None:
    """Let all generators go on from where they stood."""
    random.setstate(state["python"])
    torch.set_rng_state(state["torch"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
