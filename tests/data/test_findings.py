"""Each trap is found where it was laid, and nowhere else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medistill.data.entries import Entry, broken, describe
from medistill.data.findings import Finding, find_traps
from medistill.data.formats import decode_array
from medistill.data.layouts.base import Sample, open_root, with_patients
from medistill.data.splits import SplitRules, split

REAL = Path(__file__).parents[3] / "shared" / "data"
CLEAN = {"train": [0, 1, 2, 3], "validation": [4, 5], "test": [6, 7]}
Data = tuple[list[Sample], list[Entry]]


def clean(official: bool = False) -> Data:
    """Eight images without a trap, of two classes, for the splits of `CLEAN`."""
    where = {i: name for name, positions in CLEAN.items() for i in positions}
    samples = [
        Sample(f"{i}.png", "ab"[i % 2], where[i] if official else None, f"p{i}") for i in range(8)
    ]
    return samples, [entry(i) for i in range(8)]


def entry(seed: int) -> Entry:
    """The entry of an image of noise."""
    noise = np.random.default_rng(seed).integers(0, 255, (20, 30), np.uint8)
    return describe(decode_array(noise), f"{seed}.png", f"file{seed}")


def kinds(found: list[Finding], severity: str | None = None) -> set[str]:
    """What was found, other than the note on sizes."""
    wanted = [f for f in found if severity in (None, f.severity)]
    return {f.kind for f in wanted} - {"sizes"}


def one(found: list[Finding], kind: str) -> Finding:
    """The only finding of a kind."""
    (finding,) = (f for f in found if f.kind == kind)
    return finding


@pytest.mark.parametrize("official", [True, False])
def test_clean_data_has_no_trap(official: bool) -> None:
    assert kinds(find_traps(*clean(official), CLEAN)) == set()


def test_unreadable_files_are_named_with_their_reason() -> None:
    samples, entries = clean()
    entries[3] = broken("3.png", "", "is empty (0 bytes)")
    found = find_traps(samples, entries, CLEAN | {"train": [0, 1, 2]})
    assert kinds(found) == {"unreadable"} and found[0].severity == "error"
    assert found[0].items == ("3.png: is empty (0 bytes)",)


@pytest.mark.parametrize(("official", "severity"), [(True, "warning"), (False, "error")])
def test_identical_images_across_splits_are_refused_in_ours(official: bool, severity: str) -> None:
    samples, entries = clean(official)
    entries[6] = replace(entries[0], source="6.png")
    found = find_traps(samples, entries, CLEAN)
    assert one(found, "identical_across_splits").severity == severity
    assert one(found, "identical_across_splits").items == ("0.png (train) = 6.png (test)",)
    assert "train and test: 1" in one(found, "identical_across_splits").message
    assert kinds(found) == {"identical_across_splits", "identical_images"}


@pytest.mark.parametrize(("official", "severity"), [(True, "warning"), (False, "error")])
def test_patients_across_splits_are_refused_in_ours(official: bool, severity: str) -> None:
    samples, entries = clean(official)
    samples[4] = replace(samples[4], patient="p0")
    found = find_traps(samples, entries, CLEAN)
    assert kinds(found) == {"patients_across_splits"}
    assert one(found, "patients_across_splits").severity == severity
    assert one(found, "patients_across_splits").items == ("0.png (train) = 4.png (validation)",)


def test_no_patient_is_named_in_any_finding() -> None:
    samples, entries = clean()
    samples = [replace(sample, patient="mrs smith") for sample in samples]
    assert "smith" not in repr(find_traps(samples, entries, CLEAN))


def test_our_validation_beside_an_official_test_is_ours() -> None:
    samples, entries = clean(official=True)
    samples = [replace(s, split=None if s.split == "validation" else s.split) for s in samples]
    samples[4] = replace(samples[4], patient="p0")
    samples[7] = replace(samples[7], patient="p1")
    found = [f for f in find_traps(samples, entries, CLEAN) if f.kind == "patients_across_splits"]
    assert [f.severity for f in found] == ["error", "warning"]


def test_one_image_with_two_labels_is_a_conflict() -> None:
    samples, entries = clean()
    entries[1] = replace(entries[0], source="1.png")
    found = find_traps(samples, entries, CLEAN)
    assert one(found, "conflicting_labels").items == ("0.png (a) = 1.png (b)",)
    assert kinds(found) == {"conflicting_labels", "identical_images"}


def test_repeated_rows_are_no_identical_files() -> None:
    samples, entries = clean()
    samples[2], entries[2] = samples[0], entries[0]
    found = find_traps(samples, entries, CLEAN)
    assert kinds(found) == {"repeated_rows"}
    assert one(found, "repeated_rows").items == ("0.png",)


def test_an_image_under_two_patients_is_named() -> None:
    samples, entries = clean()
    samples[2], entries[2] = replace(samples[0], patient="other"), entries[0]
    assert kinds(find_traps(samples, entries, CLEAN)) == {
        "repeated_rows",
        "image_of_several_patients",
    }


def test_a_patient_with_two_labels_is_a_note() -> None:
    samples, entries = clean()
    samples[1] = replace(samples[1], patient="p0")
    found = find_traps(samples, entries, CLEAN)
    assert kinds(found, "note") == kinds(found) == {"patients_with_several_labels"}


def test_blank_images_are_named_once() -> None:
    samples, entries = clean()
    for i in (0, 2, 4):
        blank = decode_array(np.full((8, 8), 25, np.uint8))
        entries[i] = describe(blank, f"{i}.png", "")
    found = find_traps(samples, entries, CLEAN)
    assert kinds(found) == {"blank"}
    assert found[0].items == ("0.png", "2.png", "4.png")


def test_a_class_missing_from_a_split_is_named() -> None:
    samples, entries = clean()
    samples[6] = replace(samples[6], label="b")
    found = find_traps(samples, entries, CLEAN)
    assert one(found, "missing_class").message == "the test split has no image of a"


@pytest.mark.parametrize(("name", "severity"), [("train", "error"), ("test", "warning")])
def test_an_empty_split_is_named(name: str, severity: str) -> None:
    found = find_traps(*clean(), CLEAN | {name: []})
    assert one(found, "empty_split").severity == severity


def test_imbalance_is_a_note_with_its_numbers() -> None:
    samples, entries = clean()
    samples = [
        replace(sample, label="b" if i in (1, 5) else "a") for i, sample in enumerate(samples)
    ]
    found = find_traps(samples, entries, CLEAN)
    assert "6 images of a, 2 of b" in one(found, "imbalance").message


def test_images_without_a_label_are_counted() -> None:
    samples, entries = clean()
    samples[0] = replace(samples[0], label=None)
    assert "1 of 8" in one(find_traps(samples, entries, CLEAN), "unlabelled").message


def test_sizes_are_always_told() -> None:
    samples, entries = clean()
    entries[0] = replace(entries[0], width=300, height=10, channels=3)
    message = one(find_traps(samples, entries, CLEAN), "sizes").message
    assert "8 images (train 4, validation 2, test 2), 1 of them in colour" in message
    assert "30x10 to 300x20, median 30x20" in message


def test_errors_stand_first() -> None:
    samples, entries = clean()
    samples[1] = replace(samples[1], patient="p0", label=None)
    samples[6] = replace(samples[6], patient="p0")
    order = [f.severity for f in find_traps(samples, entries, CLEAN)]
    assert order == ["error", "note", "note"]


def test_nothing_at_all_can_be_checked() -> None:
    empty = {name: [] for name in CLEAN}
    assert kinds(find_traps([], [], empty)) == {"empty_split"}


def checked(root: str, pattern: str | None = None) -> dict[str, int]:
    """How many items each finding on a real set has, by our own splits where none are official."""
    layout = open_root(REAL / root)
    samples = layout.samples()
    entries = [describe(layout.read(sample), sample.source, "") for sample in samples]
    samples = with_patients(samples, pattern) if pattern else samples
    splits = split(samples, [entry.digest for entry in entries], SplitRules())
    found = find_traps(samples, entries, splits)
    assert "error" not in {finding.severity for finding in found}
    counted = {finding.kind: len(finding.items) for finding in found}
    # How many near copies fall into different splits is a matter of the seed.
    return {kind: count for kind, count in counted.items() if count and kind != "near_copies"}


@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data is not beside this checkout")
@pytest.mark.parametrize(
    ("root", "pattern", "traps"),
    [
        ("busi", None, {"identical_images": 1, "conflicting_labels": 1}),
        (
            "chest_xray_pneumonia",
            r"person(\d+)",
            {"identical_images": 9, "patients_across_splits": 73},
        ),
        (
            "covid_chest_xray",
            None,
            {
                "repeated_rows": 7,
                "image_of_several_patients": 5,
                "identical_images": 1,
                "patients_with_several_labels": 9,
            },
        ),
        ("mednist", None, {"blank": 7}),
        (
            "medmnist/breastmnist.npz",
            None,
            {"identical_across_splits": 1, "identical_images": 1, "conflicting_labels": 1},
        ),
        ("covid_ct", None, {}),
        ("medmnist/retinamnist.npz", None, {}),
    ],
)
def test_the_traps_of_the_real_sets_are_found_exactly(
    root: str, pattern: str | None, traps: dict[str, int]
) -> None:
    assert checked(root, pattern) == traps
