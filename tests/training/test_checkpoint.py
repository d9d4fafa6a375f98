"""Checkpoints: whole or not at all, and never executed."""

import errno
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from medistill.errors import UserError
from medistill.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from medistill.training.randomness import random_state


def checkpoint(step: int = 7) -> Checkpoint:
    network = nn.BatchNorm1d(3)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.rand(4, 3)).square().sum().backward()
    optimizer.step()
    return Checkpoint(
        method=network.state_dict(),
        optimizer=optimizer.state_dict(),
        scaler={},
        step=step,
        steps_per_epoch=3,
        random=[random_state()],
        notes={"best": 0.5, "metric": "auroc"},
    )


def test_what_is_saved_is_what_is_loaded(tmp_path):
    saved = checkpoint()
    save_checkpoint(tmp_path / "last.pt", saved)
    loaded = load_checkpoint(tmp_path / "last.pt")
    assert_close(dict(loaded.method), dict(saved.method), rtol=0, atol=0)
    assert_close(loaded.optimizer["state"], saved.optimizer["state"], rtol=0, atol=0)
    assert (loaded.step, loaded.steps_per_epoch, loaded.notes) == (7, 3, saved.notes)
    assert loaded.random[0]["python"] == saved.random[0]["python"]


def test_nothing_but_the_checkpoint_is_left_in_the_folder(tmp_path):
    save_checkpoint(tmp_path / "last.pt", checkpoint())
    save_checkpoint(tmp_path / "last.pt", checkpoint())
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_named(tmp_path, share):
    path = tmp_path / "last.pt"
    save_checkpoint(path, checkpoint())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"last\.pt is broken or foreign") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


class Bomb:
    """What would write a file if a pickle were executed."""

    def __reduce__(self):
        return Path.touch, (Path("exploded"),)


def test_a_pickle_is_never_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"format": Bomb()}, "last.pt")
    Path("plain.pt").write_bytes(pickle.dumps(Bomb()))
    for path in (Path("last.pt"), Path("plain.pt")):
        with pytest.raises(UserError, match="broken or foreign"):
            load_checkpoint(path)
    assert not Path("exploded").exists()


def test_a_file_of_another_kind_is_refused(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "a.pt")
    torch.save(torch.ones(2), tmp_path / "b.pt")
    for name in "ab":
        with pytest.raises(UserError, match="no checkpoint of this version"):
            load_checkpoint(tmp_path / f"{name}.pt")


def test_text_is_refused(tmp_path):
    (tmp_path / "a.pt").write_text("epoch,loss\n1,0.3\n")
    with pytest.raises(UserError, match="broken or foreign"):
        load_checkpoint(tmp_path / "a.pt")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.pt cannot be read: No such file"):
        load_checkpoint(tmp_path / "absent.pt")


def test_a_full_disk_is_one_line_and_the_earlier_checkpoint_stays(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    save_checkpoint(path, checkpoint(step=1))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"last\.pt was not written: the disk is full") as caught:
        save_checkpoint(path, checkpoint(step=2))
    assert "\n" not in str(caught.value)
    assert load_checkpoint(path).step == 1
    assert [other.name for other in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_device_that_is_really_full_is_one_line_too(tmp_path):
    path = tmp_path / "last.pt"
    (tmp_path / ".last.pt.partial").symlink_to("/dev/full")
    with pytest.raises(UserError, match="the disk is full"):
        save_checkpoint(path, checkpoint())
    assert not path.exists()


def test_a_folder_that_is_gone_is_one_line(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        save_checkpoint(tmp_path / "gone" / "last.pt", checkpoint())


def test_what_a_killed_process_left_does_no_harm(tmp_path):
    (tmp_path / ".last.pt.partial").write_bytes(b"half a checkp")
    save_checkpoint(tmp_path / "last.pt", checkpoint())
    assert load_checkpoint(tmp_path / "last.pt").step == 7


def test_notes_travel_with_the_checkpoint(tmp_path):
    save_checkpoint(tmp_path / "last.pt", checkpoint(), notes={"best": np.float64(0.75)})
    assert load_checkpoint(tmp_path / "last.pt").notes == {"best": 0.75}


def test_notes_that_would_not_load_are_refused_when_saving(tmp_path):
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_checkpoint(tmp_path / "last.pt", checkpoint(), notes={"best": object()})
