"""Tables of positions for images of another size."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medistill.models.positions import fitted


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 9), st.integers(2, 9))
def test_what_does_not_depend_on_the_place_stays(side: int, other: int) -> None:
    for shape, wanted in (
        ((2 * side - 1, 3), (2 * other - 1, 3)),
        ((1, side, side, 3), (1, other, other, 3)),
        ((1, 1 + side**2, 3), (1, 1 + other**2, 3)),
    ):
        table = torch.ones(shape) * torch.tensor([1.0, -2.0, 0.5])
        found = fitted(table, torch.Size(wanted))
        torch.testing.assert_close(found, torch.ones(wanted) * table.flatten(0, -2)[0])


def test_distances_keep_their_middle_and_their_order() -> None:
    distances = torch.arange(-63.0, 64)[:, None].repeat(1, 2)
    found = fitted(distances, torch.Size((27, 2)))
    assert found[13].abs().max() < 1e-4
    assert (found.diff(dim=0) > 0).all()


def test_a_class_token_is_left_alone() -> None:
    table = torch.rand(1, 1 + 16, 3)
    found = fitted(table, torch.Size((1, 1 + 9, 3)))
    assert torch.equal(found[:, 0], table[:, 0])
    assert not torch.equal(found[:, 1], table[:, 1])


def test_rows_and_columns_are_not_exchanged() -> None:
    rows = torch.arange(4.0)[None, :, None, None].expand(1, 4, 4, 2)
    found = fitted(rows.contiguous(), torch.Size((1, 8, 8, 2)))
    torch.testing.assert_close(found[:, :, 0], found[:, :, 7])
    assert (found[0, 1:, 0] > found[0, :-1, 0]).all()
    sequence = torch.cat((torch.zeros(1, 1, 2), rows.flatten(1, 2)), dim=1)
    again = fitted(sequence, torch.Size((1, 1 + 64, 2)))[:, 1:].reshape(1, 8, 8, 2)
    torch.testing.assert_close(again, found)
