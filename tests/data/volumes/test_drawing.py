"""Which volume comes when is decided by seed and epoch alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medistill.data.volumes.drawing import Drawing, dealt, shared

SAMPLES = [np.arange(0, 100), np.arange(100, 104), np.arange(104, 129)]
REGIONS = ["brain", "abdomen", "brain"]


def epoch(number: int, **settings: object) -> tuple[np.ndarray, np.ndarray]:
    drawing = Drawing(**{"steps": 20, "batch_size": 8, **settings})  # type: ignore[arg-type]
    return drawing.epoch(number, SAMPLES, REGIONS)


@given(st.integers(0, 50), st.lists(st.floats(0.1, 100), min_size=1, max_size=6))
@settings(max_examples=50, deadline=None)
def test_a_number_is_shared_out_whole(total: int, weights: list[float]) -> None:
    parts = shared(total, np.array(weights))
    assert parts.sum() == total
    assert parts.min() >= (1 if total >= len(weights) else 0)


def test_a_case_weighs_inversely_to_the_root_of_its_set() -> None:
    samples, _ = epoch(0, steps=34, batch_size=5)
    counts = [np.isin(samples, own).sum() for own in SAMPLES]
    assert counts == [99, 21, 50]  # one each, and the other 167 by 10 : 2 : 5


@pytest.mark.parametrize(("sampling", "small"), [("proportional", 6), ("balanced", 54)])
def test_sets_come_by_their_size_or_alike(sampling: str, small: int) -> None:
    samples, _ = epoch(0, sampling=sampling)
    assert np.isin(samples, SAMPLES[1]).sum() == pytest.approx(small, abs=1)


@given(
    st.integers(0, 300),
    st.integers(0, 20),
    st.lists(st.sampled_from([0.1, 1.0, 2.0, 2.5, 9.0]), min_size=1, max_size=6),
)
@settings(max_examples=50, deadline=None)
def test_what_grows_is_dealt_out_whole_and_never_taken_back(
    before: int, count: int, weights: list[float]
) -> None:
    first, own = dealt(before, count, np.array(weights))
    assert (first.sum(), own.sum()) == (before, count)
    assert first.min() >= 0 and own.min() >= 0


@pytest.mark.parametrize("settings", [{"mixing": "region"}, {"batch_size": 1}])
def test_what_one_epoch_has_no_room_for_comes_in_another(settings: dict[str, object]) -> None:
    # One step for two regions, or one volume for three sets: largest remainders are always alike.
    epochs = [epoch(number, **{"steps": 1, **settings}) for number in range(60)]
    drawn = np.concatenate([samples.ravel() for samples, _ in epochs])
    counts = np.array([np.isin(drawn, own).sum() for own in SAMPLES])
    due = len(drawn) * np.array([10, 2, 5]) / 17
    assert abs(counts - due).max() <= epochs[0][0].size
    # Each data set goes on where it was: all of it came before any comes again.
    for own in SAMPLES:
        seen = np.bincount(drawn, minlength=129)[own]
        assert seen.max() - seen.min() <= 1
    rounds: dict[int, int] = {}
    for samples, own_rounds in epochs:
        for each, sample in sorted(zip(own_rounds.ravel(), samples.ravel(), strict=True)):
            assert each == rounds.get(int(sample), 0)
            rounds[int(sample)] = each + 1


def test_none_comes_a_second_time_before_all_came_once() -> None:
    drawn = np.concatenate([epoch(number)[0].ravel() for number in range(6)])
    for own in SAMPLES:
        counts = np.bincount(drawn, minlength=129)[own]
        assert counts.max() - counts.min() <= 1


def test_a_round_counts_how_often_a_case_came_before() -> None:
    seen: dict[int, int] = {}
    for number in range(3):
        samples, rounds = epoch(number)
        pairs = sorted(zip(rounds.ravel(), samples.ravel(), strict=True))
        for each, sample in pairs:
            assert each == seen.get(int(sample), 0)
            seen[int(sample)] = each + 1


def test_an_epoch_is_a_pure_function_of_seed_and_number() -> None:
    assert (epoch(3)[0] == epoch(3)[0]).all()
    assert not (epoch(3)[0] == epoch(4)[0]).all()
    assert not (epoch(3)[0] == epoch(3, seed=1)[0]).all()


def test_a_batch_of_one_region_shows_no_other() -> None:
    samples, _ = epoch(0, mixing="region")
    abdomen = np.isin(samples, SAMPLES[1])
    assert (abdomen.all(axis=1) | ~abdomen.any(axis=1)).all()
    assert 0 < abdomen.all(axis=1).sum() < 10


def test_a_mixed_batch_shows_several_regions() -> None:
    abdomen = np.isin(epoch(0)[0], SAMPLES[1])
    assert (abdomen.any(axis=1) & ~abdomen.all(axis=1)).sum() > 10
