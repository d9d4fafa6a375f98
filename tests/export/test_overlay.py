"""Evidence over a picture: where it lies, in which colour, and in which file."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from medistill.export.overlay import (
    OPACITY,
    SIDES,
    Overlays,
    beside,
    captioned,
    coloured,
    heat,
    overlaid,
    shown,
)

from .conftest import random_picture


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), rows=st.integers(1, 8), columns=st.integers(1, 8))
def test_heat_is_the_positive_evidence_made_finer_and_stretched(
    seed: int, rows: int, columns: int
) -> None:
    evidence = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    found = heat(evidence, 40, 56)
    positive = torch.from_numpy(evidence).relu()[None, None]
    fine = F.interpolate(positive, (40, 56), mode="bilinear", align_corners=False)[0, 0].numpy()
    span = fine.max() - fine.min()
    flat = span <= 1e-6 * fine.max()
    expected = np.zeros_like(fine) if flat else (fine - fine.min()) / span
    assert found == pytest.approx(expected, abs=1e-4)


def test_evidence_against_everywhere_is_no_heat() -> None:
    assert not heat(-np.ones((4, 4), np.float32), 30, 20).any()


def test_picture_is_untouched_where_there_is_no_evidence_and_coloured_where_there_is_most() -> None:
    pixels = shown(random_picture(300, 300))
    warmth = np.zeros(pixels.shape[:2], np.float32)
    warmth[100:, :] = 1
    found = overlaid(pixels, warmth)
    assert np.array_equal(found[:100], pixels[:100])
    most = (1 - OPACITY) * pixels[100:] + OPACITY * coloured(np.ones(()))
    assert np.abs(found[100:] - most).max() <= 0.5 + 1e-3  # rounded to 8 bits


def test_colours_are_those_of_a_map_whose_steps_look_equal() -> None:
    values = np.linspace(0, 1, 50)
    expected = 255 * matplotlib.colormaps["inferno"](0.84 * values)[:, :3]
    assert np.abs(coloured(values) - expected).max() < 16  # between 9 of its 256 colours
    lightness = coloured(values) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > 0).all()


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(32, 16, (256, 128)), (300, 400, (300, 400)), (100, 6400, (10, 640)), (3, 3000, (1, 640))],
)
def test_picture_is_brought_to_a_size_that_can_be_looked_at(
    height: int, width: int, size: tuple[int, int]
) -> None:
    assert shown(random_picture(height, width, 1)).shape == (*size, 3)
    assert SIDES == (256, 640)


def test_words_never_run_out_of_the_picture() -> None:
    narrow = beside([np.zeros((50, 10, 3), np.uint8)] * 2)
    told = captioned(narrow, "a class with a long name, 100 %")
    assert told.width > narrow.width
    bright = np.asarray(told)[50:].max(axis=(0, 2))
    assert bright.any()
    assert not bright[-2:].any()


def test_files_are_numbered_and_whole(tmp_path: Path) -> None:
    overlays, evidence = Overlays(tmp_path / "new-overlays"), np.eye(4, dtype=np.float32)
    names = [overlays.save(random_picture(70, 90), evidence, "benign, 80 %") for _ in range(2)]
    assert names == ["new-overlays/0001.png", "new-overlays/0002.png"]
    assert sorted(path.name for path in overlays.folder.iterdir()) == ["0001.png", "0002.png"]
    with Image.open(tmp_path / names[0]) as image:
        assert image.width > 2 * 256
