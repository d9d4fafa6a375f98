"""Shape annotations are checked in tests; the same seed for every test."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # several test processes share few cores

import pytest
from jaxtyping import install_import_hook

install_import_hook("medistill", "beartype.beartype")

from tests.trained import finished, phantoms  # noqa: E402, F401  (after the hook)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    import torch

    torch.manual_seed(0)
