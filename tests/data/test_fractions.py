"""A fraction of the training images: by class, whole patients, and part of any larger one."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medistill.data.layouts.base import SPLITS, open_root
from medistill.data.opening import open_dataset
from medistill.data.phantoms import make_phantoms
from medistill.data.splits import LEFT_OUT, SplitRules, split
from medistill.errors import UserError

from .test_splits import Data, data_sets, joined, labels, rows

SHARES = st.floats(0.02, 0.98)


@settings(deadline=None, max_examples=50)
@given(data_sets(), SHARES, st.integers(0, 3))
def test_only_training_is_divided_and_nothing_is_lost(data: Data, share: float, seed: int) -> None:
    whole = split(*data, SplitRules(seed))
    part = split(*data, SplitRules(seed, fraction=share))
    assert {name: part[name] for name in SPLITS[1:]} == {n: whole[n] for n in SPLITS[1:]}
    assert sorted(part["train"] + part[LEFT_OUT]) == whole["train"]


@settings(deadline=None, max_examples=50)
@given(data_sets(), SHARES, SHARES)
def test_the_smaller_of_two_is_part_of_the_larger(data: Data, one: float, other: float) -> None:
    small, large = (split(*data, SplitRules(fraction=f))["train"] for f in sorted((one, other)))
    assert set(small) <= set(large)


@settings(deadline=None, max_examples=50)
@given(data_sets(), SHARES)
def test_it_shares_no_patient_and_no_image_with_what_it_leaves_out(
    data: Data, share: float
) -> None:
    samples, digests = data
    part = split(*data, SplitRules(fraction=share))
    for facts in (digests, [sample.patient for sample in samples]):
        kept = {facts[i] for i in part["train"]} - {None, ""}
        assert kept.isdisjoint(facts[i] for i in part[LEFT_OUT])


def test_each_class_has_its_share_and_never_less_than_one() -> None:
    samples, digests = joined(rows({"a": 200, "b": 40, "c": 3}, split="train"))
    part = split(samples, digests, SplitRules(test=0.0, validation=0.0, fraction=0.1))
    assert labels(samples, part["train"]) == {"a": 20, "b": 4, "c": 1}


def test_another_seed_of_the_splits_takes_others() -> None:
    data = rows({"a": 100}, split="train")
    first, second = (split(*data, SplitRules(s, fraction=0.2))["train"] for s in (0, 1))
    assert first != second


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_an_impossible_fraction_is_named(share: float) -> None:
    with pytest.raises(UserError, match=r"data\.fraction is"):
        SplitRules(fraction=share)


def test_a_saved_fraction_is_used_again_and_what_it_left_out_is_said(tmp_path: Path) -> None:
    images = make_phantoms(tmp_path / "images", "brain_mr", per_class=10, size=24)
    layout, file = open_root(images), tmp_path / "splits.json"

    def opened(fraction: float, saved: Path | None = None):
        return open_dataset(
            "brain", layout, layout.samples(), size=16, rules=SplitRules(fraction=fraction),
            folder=tmp_path / "store", saved_splits=saved,
        )  # fmt: skip

    first = opened(0.25)
    first.save_splits(file)
    assert "25% of train used" in first.how
    assert LEFT_OUT in {name for names in _parts(file) for name in names}
    again = opened(1.0, file)
    for part, positions in first.dataset.splits.items():
        assert np.array_equal(again.dataset.splits[part], positions)
    # Whatever fraction a run sees, its teacher is asked about the same images.
    whole = opened(1.0).dataset
    assert np.array_equal(first.dataset.undivided().splits["train"], whole.splits["train"])
    assert whole.undivided() is whole


def _parts(file: Path) -> list[list[str]]:
    return list(json.loads(file.read_text())["brain"]["images"].values())
