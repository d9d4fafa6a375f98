"""Maps of two networks are brought to one size, the smaller one."""

import pytest
import torch

from medistill.models.scales import at_one_size, averaged, paired, smaller, stages


def test_stages_leave_the_stem_out_and_stay_fine_to_coarse() -> None:
    assert stages(["stem", 1, 2, 3, 4]) == (1, 2, 3, 4)
    assert stages([3, 4]) == (3, 4)


@pytest.mark.parametrize("space", [(4, 4), (4, 4, 4)])
def test_a_map_is_averaged_over_the_cells_of_the_size(space: tuple[int, ...]) -> None:
    features = torch.rand(2, 3, *space)
    pooled = averaged(features, [2] * len(space))
    assert pooled.shape == (2, 3, *[2] * len(space))
    torch.testing.assert_close(pooled.mean(), features.mean())
    corner = (slice(None), slice(None), *[slice(2)] * len(space))
    torch.testing.assert_close(pooled.flatten(2)[..., 0], features[corner].flatten(2).mean(2))


def test_a_map_of_the_size_stays_as_it_is() -> None:
    features = torch.rand(1, 2, 3, 5)
    assert averaged(features, (3, 5)) is features


def test_of_two_sizes_each_axis_takes_the_lesser() -> None:
    assert smaller((7, 14), (14, 7)) == (7, 7)
    with pytest.raises(ValueError, match="zip"):
        smaller((7, 7), (7, 7, 7))


def test_stages_are_paired_from_the_coarsest() -> None:
    assert paired("s1234", "ab") == [("3", "a"), ("4", "b")]
    assert paired("s1234", "xabcd") == list(zip("1234", "abcd", strict=True))


def test_the_larger_map_comes_to_the_size_of_the_smaller() -> None:
    a, b = torch.rand(1, 2, 4, 4), torch.rand(1, 3, 2, 6)
    assert [m.shape for m in at_one_size(a, b)] == [(1, 2, 2, 4), (1, 3, 2, 4)]
