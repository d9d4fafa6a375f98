"""Several processes: what they say to each other, and what one says to itself."""

import numpy as np
import pytest
import torch
import torch.distributed as dist

from medistill.errors import UserError
from medistill.training.distributed import (
    average,
    barrier,
    broadcast_object,
    gathered,
    gathered_objects,
    local_rank,
    main_process,
    process_group,
    rank,
    world,
)

CPU = torch.device("cpu")


def test_every_process_knows_its_place(processes):
    found = [each["words"] for each in processes]
    assert [(f["rank"], f["world"], f["main"]) for f in found] == [(0, 2, True), (1, 2, False)]


def test_every_process_hears_the_first(processes):
    assert [each["words"]["broadcast"] for each in processes] == [{"from": 0}] * 2


def test_rows_are_gathered_in_the_order_of_ranks_however_many_each_holds(processes):
    assert [each["words"]["objects"] for each in processes] == [["0", "1"]] * 2
    assert [each["words"]["gathered"] for each in processes] == [[[0, 0], [1, 1], [1, 1]]] * 2


def test_an_average_keeps_the_shape(processes):
    assert all(torch.equal(each["words"]["average"], torch.full((2, 3), 0.5)) for each in processes)


def test_one_process_is_alone_and_needs_no_case_of_its_own():
    tensor = torch.ones(2)
    barrier()
    average([tensor])
    assert (rank(), world(), main_process(), local_rank()) == (0, 1, True, 0)
    assert broadcast_object("a") == "a" and gathered_objects("a") == ["a"]
    assert np.array_equal(gathered(np.eye(2)), np.eye(2))
    assert torch.equal(tensor, torch.ones(2))


def test_without_torchrun_no_group_is_made():
    with process_group(CPU):
        assert not dist.is_initialized()


def test_under_torchrun_the_group_lives_as_long_as_the_block(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(dist, "init_process_group", lambda backend, **_: asked.append(backend))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: asked.append("destroyed"))
    with pytest.raises(KeyError), process_group(CPU):
        raise KeyError
    assert asked == ["gloo", "destroyed"]


def test_half_an_environment_is_refused_in_one_line(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with (
        pytest.raises(UserError, match=r"WORLD_SIZE is set without RANK.*torchrun"),
        process_group(CPU),
    ):
        pass
