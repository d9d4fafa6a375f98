"""What people call computed tomography, and what they call something else."""

import pytest

from medistill.modalities import modality_of


@pytest.mark.parametrize(
    "name",
    ["CT", "ct scan", "CTA", "portal CT", "contrast-enhanced CT", "LDCT", "CBCT", "low_dose_ct",
     "Computed Tomography", "computed_tomography", "PET/CT"],
)  # fmt: skip
def test_ct_is_a_word_wherever_it_stands(name: str) -> None:
    assert modality_of(name) == "ct"


@pytest.mark.parametrize("name", ["MRI", "T2", "pet", "OCT", "SPECT", "product", "optical tract"])
def test_letters_within_a_word_are_none(name: str) -> None:
    assert modality_of(name) == "mr"


@pytest.mark.parametrize(
    "name",
    ["zscore", "ZScoreNormalization", "noNorm", "NoNormalization", "rescale_to_0_1",
     "rescale_0_1", "rgb_to_0_1", "", "  ", None],
)  # fmt: skip
def test_how_values_are_normalised_says_not_what_they_are(name: str | None) -> None:
    assert modality_of(name) is None
