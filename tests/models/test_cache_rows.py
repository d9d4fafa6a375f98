"""Rows on disk give back what they were given, to the accuracy that float16 has, or say why not."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from medistill.errors import UserError
from medistill.models.cache_rows import (
    Column,
    at_grid,
    columns,
    halved,
    map_names,
    named,
    positions_of,
    restored,
    row_bytes,
    shapes_of,
)
from medistill.types import Output

# Of a power of two and a fraction: any magnitude is as likely as any other.
ANY = st.builds(
    lambda sign, share, power: sign * math.ldexp(share, power),
    st.sampled_from([-1.0, 1.0]),
    st.floats(0.5, 1, exclude_max=True, width=32),
    st.integers(-90, 120),
)
ROWS = st.lists(st.lists(ANY, min_size=4, max_size=4), min_size=1, max_size=5)
THREE_SCALES = Output(
    torch.rand(2, 3), torch.rand(2, 8), tuple(torch.rand(2, c, 4) for c in (2, 5, 8))
)


def back(halves: np.ndarray, scales: np.ndarray) -> torch.Tensor:
    return restored(halves, scales, np.arange(len(halves)), "cpu")


@settings(max_examples=30)
@given(ROWS)
def test_each_value_comes_back_to_float16_accuracy_of_the_largest_in_its_row(
    rows: list[list[float]],
) -> None:
    values = torch.tensor(rows)
    found = back(*halved(values, "features"))
    largest = values.abs().amax(1, keepdim=True)
    # Half a unit in the last of 11 digits.
    assert ((found - values).abs() <= 2**-11 * largest).all()


@settings(max_examples=30)
@given(ROWS)
def test_scales_are_powers_of_two_that_bring_the_largest_value_near_the_top(
    rows: list[list[float]],
) -> None:
    halves, scales = halved(torch.tensor(rows), "features")
    assert (np.frexp(scales)[0] == 0.5).all()
    largest = np.abs(halves.astype(np.float32)).max(1)
    # 2**15 itself is what the largest value may be rounded up to.
    assert ((largest >= 2**14) & (largest <= 2**15)).all()


@settings(max_examples=30)
@given(ROWS, st.integers(-20, 20))
def test_a_teacher_of_another_range_is_stored_with_the_same_halves(
    rows: list[list[float]], power: int
) -> None:
    values = torch.tensor(rows).clamp(-(2.0**60), 2.0**60)
    values[values.abs() < 2.0**-60] = 1.0
    halves, scales = halved(values, "features")
    moved, larger = halved(values * 2.0**power, "features")
    assert (moved == halves).all()
    assert (larger == scales * np.float32(2.0**power)).all()


def test_rows_of_zeros_stay_zeros_and_tiny_ones_do_not_divide_by_zero() -> None:
    values = torch.tensor([[0.0, 0.0], [1e-38, -1e-38], [2e-45, 0.0]])
    halves, scales = halved(values, "features")
    assert (scales > 0).all()
    assert not back(halves, scales)[0].any()
    assert_close(back(halves, scales)[1], values[1], rtol=2**-9, atol=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_refused_by_the_name_of_the_output(value: float) -> None:
    values = torch.ones(3, 2, 2)
    values[1, 0, 1] = value
    with pytest.raises(UserError, match="The teacher's maps hold NaN or infinity") as raised:
        halved(values, "maps")
    assert "\n" not in str(raised.value)


def test_rows_are_restored_in_the_order_in_which_they_are_asked_for_and_as_often() -> None:
    values = torch.randn(6, 2, 3)
    halves, scales = halved(values, "maps")
    positions = np.array([5, 0, 3, 0])
    found = restored(halves, scales, positions, "cpu")
    assert torch.equal(found, back(halves, scales)[positions])
    assert found.dtype == torch.float32


def test_the_last_map_has_the_plain_name_and_those_before_it_count_backwards() -> None:
    kept = named(THREE_SCALES)
    assert list(kept) == ["features", "maps-2", "maps-1", "maps", "logits"]
    assert all(
        kept[name] is one
        for name, one in zip(map_names(shapes_of(THREE_SCALES)), THREE_SCALES.maps, strict=True)
    )
    assert list(named(Output(None, torch.rand(2, 8)))) == ["features"]


def test_a_row_takes_the_bytes_of_its_halves_its_scales_and_one_mark() -> None:
    shapes = shapes_of(THREE_SCALES)
    numbers = 8 + (2 + 5 + 8) * 4 + 3
    assert row_bytes(shapes) == 2 * numbers + 4 * len(shapes) + 1
    stored = [np.zeros(shape, dtype) for dtype, shape in columns(shapes).values()]
    assert row_bytes(shapes) == sum(array.nbytes for array in stored)


@pytest.mark.parametrize("space", [(6, 6), (6, 5, 4)])
def test_a_coarser_grid_changes_the_last_map_alone(space: tuple[int, ...]) -> None:
    shapes = {"features": (8,), "maps-1": (4, *space), "maps": (8, *space)}
    assert at_grid(shapes, 2) == {**shapes, "maps": (8, *(2 for _ in space))}
    assert at_grid(shapes, 1) == {"features": (8,)}
    assert row_bytes(at_grid(shapes, 2)) < row_bytes(shapes)


@settings(max_examples=20)
@given(st.integers(1, 7), st.integers(1, 5))
def test_every_pair_of_sample_and_view_has_a_row_of_its_own(samples: int, views: int) -> None:
    rows = torch.arange(samples * views)
    found = positions_of(rows // views, rows % views, (samples, views))
    assert found.tolist() == rows.tolist()


@pytest.mark.parametrize(("sample", "view"), [(4, 0), (-1, 1), (0, 3), (2, -1)])
def test_a_pair_beyond_the_cache_is_named(sample: int, view: int) -> None:
    samples, views = torch.tensor([1, sample]), torch.tensor([0, view])
    with pytest.raises(UserError, match=f"4 samples in 3 views, .* view {view} of sample {sample}"):
        positions_of(samples, views, (4, 3))


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_a_column_writes_what_an_array_would_hold(
    tmp_path: Path, dtype: str, shape: tuple[int, ...]
) -> None:
    expected = np.zeros((5, *shape), dtype)
    np.save(tmp_path / "column.npy", expected)
    column, positions = Column(tmp_path / "column.npy"), np.array([3, 0, 4])
    rows = np.arange(3 * math.prod(shape)).reshape(3, *shape) + 1
    column.write(positions, rows)
    column.write(positions[:1], rows[2:])  # again: the later one stays
    column.flush()
    column.close()
    expected[positions] = rows
    expected[3] = rows[2]
    assert (np.load(tmp_path / "column.npy") == expected).all()


def test_a_column_goes_on_where_the_system_wrote_a_part(tmp_path: Path) -> None:
    np.save(tmp_path / "column.npy", np.zeros((2, 9), "float32"))
    column = Column(tmp_path / "column.npy")
    whole = column.file

    class Halting:
        """A file that takes five bytes at a time."""

        seek = staticmethod(whole.seek)

        def write(self, data: memoryview) -> int:
            return whole.write(data[:5])

    column.file = Halting()  # type: ignore[assignment]
    column.write(np.array([1]), np.arange(9)[None])
    whole.close()
    assert np.load(tmp_path / "column.npy").tolist() == [[0] * 9, list(range(9))]
