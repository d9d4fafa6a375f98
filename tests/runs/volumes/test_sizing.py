"""How large a patch is, where nobody says."""

from math import prod

from hypothesis import given
from hypothesis import strategies as st

from medistill.runs.volumes.sizing import VOXELS, patch_for

sides = st.tuples(*[st.integers(1, 600)] * 3)
strides = st.tuples(*[st.sampled_from([1, 2, 4, 8, 16])] * 3)


def test_a_hippocampus_is_seen_as_a_whole() -> None:
    assert patch_for((35, 51, 36), (8, 8, 8)) == (40, 56, 40)


def test_thick_slices_keep_their_few_planes() -> None:
    assert patch_for((128, 128, 13), (8, 8, 4)) == (88, 88, 16)


def test_a_cube_gives_way_along_all_axes_alike() -> None:
    assert patch_for((512, 512, 512), (16, 16, 16)) == (48, 48, 48)


@given(sides, strides)
def test_a_patch_is_always_one_that_the_network_takes(
    shape: tuple[int, int, int], stride: tuple[int, int, int]
) -> None:
    patch = patch_for(shape, stride)
    assert all(
        side % step == 0 and side >= 2 * step for side, step in zip(patch, stride, strict=True)
    )
    assert prod(patch) <= max(VOXELS, prod(2 * step for step in stride))
