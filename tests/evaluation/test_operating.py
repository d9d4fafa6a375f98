"""A threshold finds the stated share of the sick, on the samples it was fitted to."""

import numpy as np
import pytest

from medistill.errors import UserError
from medistill.evaluation.operating import fit_operating_point, positive_class
from medistill.results import PredictionTable


def table(scores, targets, classes=("healthy", "sick")):
    scores = np.asarray(scores, np.float32)
    rest = np.repeat((1 - scores)[:, None] / (len(classes) - 1), len(classes) - 1, axis=1)
    return PredictionTable(
        "t",
        "validation",
        classes,
        tuple(str(row) for row in range(len(scores))),
        np.asarray(targets),
        np.concatenate([rest, scores[:, None]], axis=1),
        np.full(len(scores), -1),
    )


class TestPositiveClass:
    @pytest.mark.parametrize(
        ("classes", "wanted"),
        [
            (["COVID", "NonCOVID"], "COVID"),
            (["NORMAL", "PNEUMONIA"], "PNEUMONIA"),
            (["benign", "malignant"], "malignant"),
            (["no_tumor", "nodule"], "nodule"),
            (["0", "1"], "1"),
            (["left", "right"], "right"),
            (["normal", "healthy"], "healthy"),
            (["a", "b", "c"], None),
        ],
    )
    def test_is_the_one_that_something_was_found(self, classes, wanted):
        assert positive_class(classes) == wanted

    def test_is_the_named_one_before_all(self):
        assert positive_class(["COVID", "NonCOVID"], "NonCOVID") == "NonCOVID"
        assert positive_class(["a", "b", "c"], "b") == "b"

    def test_names_the_nearest_when_there_is_no_such_class(self):
        with pytest.raises(UserError, match=r"'COVIT'\. Did you mean 'COVID'"):
            positive_class(["COVID", "NonCOVID"], "COVIT")


class TestOperatingPoint:
    def test_finds_three_of_four_where_three_quarters_are_wanted(self):
        validation = table([0.9, 0.8, 0.6, 0.2, 0.7, 0.4], [1, 1, 1, 1, 0, 0])
        found = fit_operating_point(validation, "sick", sensitivity=0.75)
        assert found.threshold == pytest.approx(0.5)
        assert (found.sensitivity, found.specificity, found.note) == (0.75, 0.5, "")

    @pytest.mark.parametrize("wanted", [0.01, 0.07, 0.5, 0.95, 0.99, 1.0])
    def test_no_higher_threshold_would_do(self, wanted):
        generator = np.random.default_rng(0)
        validation = table(generator.random(300), generator.integers(0, 2, 300))
        found = fit_operating_point(validation, "sick", sensitivity=wanted)
        positives = int((validation.targets == 1).sum())
        assert found.sensitivity is not None
        assert wanted - 1e-9 <= found.sensitivity < wanted + 1 / positives

    def test_all_are_found_where_all_are_wanted(self):
        found = fit_operating_point(table([0.9, 0.1, 0.5], [1, 1, 0]), "sick", sensitivity=1.0)
        assert found.threshold is not None and 0 < found.threshold < 0.1
        assert (found.sensitivity, found.specificity) == (1.0, 0.0)

    def test_equal_scores_are_called_alike(self):
        found = fit_operating_point(table([0.5, 0.5, 0.5], [1, 1, 0]), "sick", sensitivity=0.5)
        assert (found.sensitivity, found.specificity) == (1.0, 0.0)

    def test_several_classes_stand_together_against_one(self):
        validation = table([0.9, 0.2, 0.4], [2, 0, 1], ("a", "b", "c"))
        found = fit_operating_point(validation, "c")
        assert (found.sensitivity, found.specificity) == (1.0, 1.0)

    def test_says_so_when_validation_has_no_positive(self):
        found = fit_operating_point(table([0.5, 0.2], [0, -1]), "sick")
        assert (found.threshold, found.sensitivity, found.specificity) == (None, None, None)
        assert "'sick'" in found.note

    def test_says_so_when_validation_has_nothing_else(self):
        found = fit_operating_point(table([0.5, 0.2], [1, 1]), "sick")
        assert found.threshold is not None
        assert found.specificity is None and "no specificity" in found.note
