"""Planes through three images: methods.md §6."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label
from torch import Tensor, nn
from torch.testing import assert_close

from medistill.analysis.boundaries import (
    InputSpace,
    Plane,
    agreement,
    agreement_by_chance,
    classify,
    fragments,
    triplets,
)
from medistill.types import Output
from tests.tiny import tiny_student

SPACE = InputSpace((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PLAIN = InputSpace((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def plane(seed: int = 0, space: InputSpace = SPACE, size: int = 12) -> Plane:
    images = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(seed))
    found = Plane.through(*space.enter(images))
    assert found is not None
    return found


class Linear(nn.Module):
    """Class 1 where the mean of a channel is above a bound."""

    def __init__(self, bound: float = 0.5) -> None:
        super().__init__()
        self.bound = bound

    def forward(self, images: Tensor) -> Output:
        score = images[:, 0].flatten(1).mean(1) - self.bound
        return Output(torch.stack([-score, score], 1), images.flatten(1))


class Constant(nn.Module):
    """One class for everything."""

    def __init__(self, called: int) -> None:
        super().__init__()
        self.called = called

    def forward(self, images: Tensor) -> Output:
        return Output(torch.eye(3)[self.called].expand(len(images), -1), images.flatten(1))


class TestPlane:
    @settings(max_examples=20, deadline=None)
    @given(seed=st.integers(0, 999), size=st.sampled_from([4, 64]))
    def test_anchors_are_the_three_images(self, seed: int, size: int) -> None:
        images = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(seed))
        found = Plane.through(*SPACE.enter(images))
        assert found is not None
        assert_close(SPACE.leave(found.points(found.anchors)), images, atol=1e-5, rtol=0)

    def test_axes_are_of_length_1_and_at_a_right_angle(self) -> None:
        found = plane()
        across, up = found.across.double().flatten(), found.up.double().flatten()
        assert [(across @ across).item(), (up @ up).item()] == pytest.approx([1, 1], abs=1e-5)
        assert (across @ up).item() == pytest.approx(0, abs=1e-6)
        assert found.anchors[0].tolist() == [0, 0]
        assert found.anchors[1, 1] == 0

    def test_grid_covers_the_box_and_a_tenth_more_on_each_side(self) -> None:
        found = plane()
        low, high = found.anchors.amin(0), found.anchors.amax(0)
        grid = found.grid(5)
        assert_close(grid[0], low - 0.1 * (high - low))
        assert_close(grid[-1], high + 0.1 * (high - low))

    def test_grid_lies_where_its_plane_does(self) -> None:
        found = Plane(*(tensor.to("meta") for tensor in vars(plane()).values()))
        assert found.points(found.grid(3)).is_meta

    def test_across_changes_slowly(self) -> None:
        grid = plane().grid(4).view(4, 4, 2)
        assert (grid[1:, :, 0] > grid[:-1, :, 0]).all()
        assert (grid[:, :, 0] == grid[:, :1, 0]).all()

    @pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
    def test_images_on_a_line_have_no_plane(self, share: float) -> None:
        first, second = torch.rand(2, 3, 8, 8)
        assert Plane.through(first, second, first + share * (second - first)) is None

    def test_two_equal_images_have_no_plane(self) -> None:
        first, second = torch.rand(2, 3, 8, 8)
        assert Plane.through(first, first, second) is None


class TestClassify:
    def test_two_classes_of_a_linear_network_have_a_straight_boundary(self) -> None:
        found = plane(space=PLAIN)
        called = classify(Linear(), [found], 40, PLAIN)[0].flatten()
        # The sign of an affine function of the coordinates, fitted on the corners of the box.
        at = found.grid(40)
        score = PLAIN.leave(found.points(at))[:, 0].flatten(1).mean(1) - 0.5
        design = torch.cat([at, torch.ones(len(at), 1)], 1)
        affine = design @ torch.linalg.lstsq(design, score[:, None]).solution
        assert 0 < called.sum() < len(called)
        clear = affine[:, 0].abs() > 1e-5
        assert torch.equal(called[clear], (affine[clear, 0] > 0).long())
        assert fragments(called.view(1, 40, 40)).tolist() == [2]

    def test_each_point_is_called_as_it_is_alone(self) -> None:
        student, planes = tiny_student().eval(), [plane(seed) for seed in range(3)]
        nn.init.normal_(student.head.weight, std=30)
        called = classify(student, planes, 12, SPACE)  # 144 points: more than fit at once
        for number, one in enumerate(planes):
            images = SPACE.leave(one.points(one.grid(12)))
            logits = torch.cat([student(image[None]).logits for image in images])
            assert torch.equal(called[number].flatten(), logits.argmax(1))
        assert torch.equal(called, torch.cat([classify(student, [p], 12, SPACE) for p in planes]))


class TestScore:
    def test_a_network_agrees_with_itself_and_two_agree_either_way(self) -> None:
        planes = [plane(seed, PLAIN) for seed in range(5)]
        a, b = (classify(Linear(bound), planes, 10, PLAIN) for bound in (0.5, 0.52))
        assert agreement(a, a).tolist() == [1] * 5
        assert torch.equal(agreement(a, b), agreement(b, a))
        assert 0 < agreement(a, b).mean() < 1

    def test_constant_networks_of_other_classes_never_agree(self) -> None:
        a, b = (classify(Constant(called), [plane()], 6, SPACE) for called in (0, 2))
        assert agreement(a, b).tolist() == [0]
        assert agreement_by_chance(a, b) == 0
        assert agreement_by_chance(a, a) == 1

    def test_chance_is_what_the_shares_of_the_classes_make(self) -> None:
        a, b = torch.tensor([[[0, 0], [0, 1]]]), torch.tensor([[[1, 1], [1, 0]]])
        assert agreement_by_chance(a, b) == pytest.approx(2 * 0.75 * 0.25)


class TestFragments:
    def test_points_that_touch_at_a_corner_are_one_region(self) -> None:
        board = torch.tensor([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
        stripes = torch.tensor([[0, 0, 0], [1, 1, 1], [0, 0, 0]])
        assert fragments(torch.stack([board, stripes])).tolist() == [2, 3]

    @settings(max_examples=40, deadline=None)
    @given(seed=st.integers(0, 999), side=st.integers(1, 12), kinds=st.integers(1, 4))
    def test_regions_are_those_of_scipy(self, seed: int, side: int, kinds: int) -> None:
        drawn = np.random.default_rng(seed).integers(0, kinds, (3, side, side))
        corners = np.ones((3, 3))
        expected = [sum(label(one == k, corners)[1] for k in range(kinds)) for one in drawn]
        assert fragments(torch.from_numpy(drawn)).tolist() == expected

    def test_a_spiral_is_one_region(self) -> None:
        spiral = torch.tensor([
            [1, 1, 1, 1, 1], [0, 0, 0, 0, 1], [1, 1, 1, 0, 1], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1],
        ])  # fmt: skip
        assert fragments(spiral[None]).tolist() == [2]


class TestTriplets:
    @settings(max_examples=20, deadline=None)
    @given(seed=st.integers(0, 999), kinds=st.integers(3, 6))
    def test_three_images_are_of_three_classes(self, seed: int, kinds: int) -> None:
        targets = np.random.default_rng(seed).permutation(np.arange(40) % kinds)
        drawn = triplets(targets, 30, seed)
        assert all(len({int(targets[row]) for row in three}) == 3 for three in drawn)
        assert drawn == triplets(targets, 30, seed) != triplets(targets, 30, seed + 1)

    @pytest.mark.parametrize("targets", [[0] * 9 + [1] * 9, [0] * 9 + [1], [1, 0, 0]])
    def test_of_two_classes_both_are_there_and_no_image_twice(self, targets: list[int]) -> None:
        for three in triplets(np.array(targets), 40):
            assert len(set(three)) == 3
            assert {targets[row] for row in three} == {0, 1}

    @pytest.mark.parametrize("targets", [[1, 1, 1, 1], [0, 1]])
    def test_too_few_classes_or_images_are_refused(self, targets: list[int]) -> None:
        with pytest.raises(ValueError, match="make no triplet"):
            triplets(np.array(targets), 3)
