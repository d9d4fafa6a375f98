"""Two processes that run every scenario once, for all tests of this folder."""

import pytest
import torch
from toy_processes import WORLD, work


@pytest.fixture(scope="session")
def processes(tmp_path_factory):
    """What each of two processes found, by scenario."""
    folder = tmp_path_factory.mktemp("processes")
    torch.multiprocessing.spawn(work, args=(folder,), nprocs=WORLD)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]
