"""Six images, as many as `TASKS`."""

import pytest
import torch
from torch import Tensor


@pytest.fixture
def images() -> Tensor:
    return torch.rand(6, 3, 12, 12)
