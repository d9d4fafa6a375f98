"""Splits are a partition that no patient and no image crosses; only the seed moves it."""

from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medistill.data.layouts.base import SPLITS, Sample
from medistill.data.splits import SplitRules, Splits, how, load_splits, save_splits, split
from medistill.errors import UserError

Data = tuple[list[Sample], list[str]]


def rows(
    counts: dict[str | None, int], split: str | None = None, patient: str | None = None
) -> Data:
    """So many samples of each label, no two alike."""
    labels = [label for label, count in counts.items() for _ in range(count)]
    samples = [Sample(f"{split}/{i}.png", label, split, patient) for i, label in enumerate(labels)]
    return samples, [f"{split}-{i}-{label}" for i, label in enumerate(labels)]


def joined(*parts: Data) -> Data:
    """Several groups of samples as one set."""
    return [s for samples, _ in parts for s in samples], [
        d for _, digests in parts for d in digests
    ]


def labels(samples: list[Sample], positions: list[int]) -> Counter[str | None]:
    """How many samples of each label stand at these positions."""
    return Counter(samples[i].label for i in positions)


@st.composite
def data_sets(draw: st.DrawFn, official: bool = True) -> Data:
    """Samples with few labels, patients and images, so that they collide."""
    names = [None, "train", "validation", "test"] if official else [None]
    sample = st.builds(
        Sample,
        source=st.just(""),
        label=st.sampled_from(["a", "b", "c", None]),
        split=st.sampled_from(names),
        patient=st.none() | st.integers(0, 12).map(str),
    )
    drawn = draw(st.lists(st.tuples(sample, st.integers(0, 40).map(str)), max_size=60))
    samples = [Sample(f"{i}.png", s.label, s.split, s.patient) for i, (s, _) in enumerate(drawn)]
    return samples, [digest for _, digest in drawn]


def where(splits: Splits) -> dict[int, str]:
    """The split of each position."""
    return {i: name for name, positions in splits.items() for i in positions}


@settings(deadline=None, max_examples=50)
@given(data_sets(), st.integers(0, 5))
def test_every_image_is_in_exactly_one_split(data: Data, seed: int) -> None:
    splits = split(*data, SplitRules(seed))
    assert sorted(i for positions in splits.values() for i in positions) == [*range(len(data[0]))]


@settings(deadline=None, max_examples=50)
@given(data_sets(), st.integers(0, 5))
def test_official_splits_are_kept(data: Data, seed: int) -> None:
    found = where(split(*data, SplitRules(seed)))
    for i, sample in enumerate(data[0]):
        assert sample.split in (None, "train", found[i])


@settings(deadline=None, max_examples=50)
@given(data_sets(), st.integers(0, 5))
def test_what_we_cut_shares_no_patient_and_no_image(data: Data, seed: int) -> None:
    samples, digests = data
    splits = split(samples, digests, SplitRules(seed))
    official = {sample.split for sample in samples}
    for name in {"validation", "test"} - official:
        inside = splits[name]
        outside = [i for other in SPLITS if other != name for i in splits[other]]
        assert not {digests[i] for i in inside} & {digests[i] for i in outside}
        patients = [{samples[i].patient for i in part} - {None} for part in (inside, outside)]
        assert not patients[0] & patients[1]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=25), st.integers(0, 5))
def test_the_share_is_met_within_one_groups_size(sizes: list[int], seed: int) -> None:
    samples, digests = joined(
        *(rows({"a": size}, patient=f"p{number}") for number, size in enumerate(sizes))
    )
    digests = [f"{i}" for i in range(len(digests))]
    splits = split(samples, digests, SplitRules(seed))
    assert abs(len(splits["test"]) - 0.2 * len(samples)) <= max(sizes)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 60), min_size=1))
def test_each_class_is_in_each_split_as_often_as_its_share_says(counts: dict[str, int]) -> None:
    samples, digests = rows(dict(counts))
    splits = split(samples, digests, SplitRules())
    tested = labels(samples, splits["test"])
    for label, count in counts.items():
        assert abs(tested[label] - 0.2 * count) <= (0.5 if count > 2 else 1)
        assert labels(samples, splits["train"])[label] >= 1
        assert (tested[label] >= 1) == (count >= 2)
        assert (labels(samples, splits["validation"])[label] >= 1) == (count >= 3)


@settings(deadline=None, max_examples=50)
@given(data_sets(), st.randoms(use_true_random=False))
def test_splits_do_not_depend_on_the_order_on_disk(data: Data, random: Random) -> None:
    samples, digests = data
    order = list(range(len(samples)))
    random.shuffle(order)
    before = where(split(samples, digests, SplitRules()))
    shuffled = [samples[i] for i in order], [digests[i] for i in order]
    after = where(split(*shuffled, SplitRules()))
    assert [after[place] for place in range(len(order))] == [before[i] for i in order]


def test_splits_do_not_depend_on_names() -> None:
    samples, digests = rows({"a": 30, "b": 20})
    renamed = [Sample(f"other/{sample.source}", sample.label) for sample in samples]
    assert split(samples, digests, SplitRules()) == split(renamed, digests, SplitRules())


def test_another_seed_gives_other_splits() -> None:
    data = rows({"a": 30, "b": 20})
    seen = {tuple(split(*data, SplitRules(seed))["test"]) for seed in range(8)}
    assert len(seen) == 8


def test_splits_stay_as_they_are_from_version_to_version() -> None:
    splits = split(*rows({"a": 9, "b": 6}), SplitRules(seed=3))
    assert (splits["test"], splits["validation"]) == ([6, 7, 14], [8, 13])


def test_without_official_splits_four_are_trained_on_for_one_tested() -> None:
    samples, digests = rows({"a": 100, "b": 50})
    splits = split(samples, digests, SplitRules())
    assert labels(samples, splits["test"]) == {"a": 20, "b": 10}
    assert labels(samples, splits["validation"]) == {"a": 12, "b": 6}


def test_a_missing_validation_is_cut_out_of_training() -> None:
    samples, digests = joined(rows({"a": 20, "b": 20}, "train"), rows({"a": 5, "b": 5}, "test"))
    splits = split(samples, digests, SplitRules())
    assert splits["test"] == [*range(40, 50)]
    assert labels(samples, splits["validation"]) == {"a": 3, "b": 3}


def test_a_missing_test_is_cut_out_of_training_and_said() -> None:
    samples, digests = joined(rows({"a": 20}, "train"), rows({"a": 5}, "validation"))
    splits = split(samples, digests, SplitRules())
    assert splits["validation"] == [*range(20, 25)] and len(splits["test"]) == 4
    said = how(samples, SplitRules())
    assert "validation: official" in said and "test: 20% cut out of train" in said


def test_three_official_splits_leave_nothing_to_cut() -> None:
    data = joined(*(rows({"a": 3}, name) for name in SPLITS))
    assert {name: len(part) for name, part in split(*data, SplitRules()).items()} == dict.fromkeys(
        SPLITS, 3
    )
    assert how(data[0], SplitRules()) == "train: official; validation: official; test: official"


def test_a_patient_of_the_official_test_is_not_cut_into_validation() -> None:
    trained = [rows({"a": 1}, "train", f"p{number}") for number in range(40)]
    tested = [rows({"a": 1}, "test", f"p{number}") for number in range(30)]
    samples, digests = joined(*trained, *tested)
    digests = [str(i) for i in range(len(digests))]
    patients = {samples[i].patient for i in split(samples, digests, SplitRules())["validation"]}
    assert patients and patients <= {f"p{number}" for number in range(30, 40)}


def test_a_patient_larger_than_the_test_share_does_not_fill_it() -> None:
    large = rows({"a": 60}, patient="p")
    samples, digests = joined(large, rows({"a": 40}, split=None))
    digests = [str(i) for i in range(100)]
    splits = split(samples, digests, SplitRules())
    assert len(splits["test"]) == 20
    assert set(range(60)) <= set(splits["train"])


def test_patients_and_images_bind_through_each_other() -> None:
    samples = [Sample("0", "a", patient="p"), Sample("1", "a", patient="q"), Sample("2", "a")]
    samples += [Sample("3", "a", patient="q"), *rows({"a": 30})[0]]
    digests = ["x", "x", "y", "y", *rows({"a": 30})[1]]
    for seed in range(10):
        found = where(split(samples, digests, SplitRules(seed)))
        assert len({found[i] for i in range(4)}) == 1


@pytest.mark.parametrize(("count", "expected"), [(1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 1, 1))])
def test_tiny_classes_are_trained_on_first(count: int, expected: tuple[int, int, int]) -> None:
    samples, digests = rows({"common": 100, "rare": count})
    splits = split(samples, digests, SplitRules())
    assert tuple(labels(samples, splits[name])["rare"] for name in SPLITS) == expected


def test_images_without_labels_are_split_by_chance() -> None:
    splits = split(*rows({None: 100}), SplitRules())
    assert [len(splits[name]) for name in SPLITS] == [68, 12, 20]


def test_unreadable_images_are_in_no_split() -> None:
    samples, digests = rows({"a": 10})
    digests[4] = ""
    assert 4 not in where(split(samples, digests, SplitRules()))


def test_a_share_of_nothing_cuts_nothing() -> None:
    splits = split(*rows({"a": 10}), SplitRules(test=0.0, validation=0.0))
    assert [len(splits[name]) for name in SPLITS] == [10, 0, 0]


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_an_impossible_share_is_named(share: float) -> None:
    with pytest.raises(UserError, match=r"test is .*; a share"):
        SplitRules(test=share)


@settings(deadline=None, max_examples=40)
@given(data=data_sets())
def test_saved_splits_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, data: Data
) -> None:
    samples, digests = data
    path = tmp_path_factory.mktemp("saved") / "splits.json"
    splits = split(samples, digests, SplitRules())
    save_splits(path, splits, digests)
    assert load_splits(path, digests) == splits


def test_saved_splits_follow_the_images_to_other_positions(tmp_path: Path) -> None:
    samples, digests = rows({"a": 20, "b": 10})
    splits = split(samples, digests, SplitRules())
    save_splits(tmp_path / "splits.json", splits, digests)
    back = load_splits(tmp_path / "splits.json", digests[::-1])
    assert back["test"] == sorted(29 - i for i in splits["test"])


def test_several_tasks_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    save_splits(path, {"train": [0]}, ["x"], task="lung", how="official")
    save_splits(path, {"test": [0]}, ["y"], task="heart")
    assert load_splits(path, ["x"], task="lung")["train"] == [0]
    assert load_splits(path, ["y"], task="heart")["test"] == [0]
    with pytest.raises(UserError, match="no splits of task 'brain', only of lung, heart"):
        load_splits(path, ["x"], task="brain")


def test_no_name_of_a_file_or_patient_is_saved(tmp_path: Path) -> None:
    samples = [Sample(f"mrs_smith_{i}.png", "a", patient="smith") for i in range(9)]
    digests = [f"{i:016x}" for i in range(9)]
    splits = split(samples, digests, SplitRules())
    save_splits(tmp_path / "s.json", splits, digests, how=how(samples, SplitRules()))
    assert "smith" not in (tmp_path / "s.json").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["s.json"]


def test_data_that_changed_since_is_counted(tmp_path: Path) -> None:
    save_splits(tmp_path / "s.json", {"train": [0, 1], "test": [2]}, ["x", "y", "z"])
    with pytest.raises(UserError, match=r"2 images appeared, 1 vanished.*start a new run"):
        load_splits(tmp_path / "s.json", ["x", "y", "v", "w", ""])


@pytest.mark.parametrize("content", [None, "", "[1]", "{"])
def test_a_broken_file_of_splits_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "s.json").write_text(content)
    with pytest.raises(UserError, match=r"s\.json: cannot be read as saved splits"):
        load_splits(tmp_path / "s.json", [])
