"""Vectors of class names: fixed by rule, or out of a file."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from medistill.errors import UserError
from medistill.models.segmenters._text_queries import fixed_vectors
from tests.models.segmenters.small import CLASSES, asked, logits, sat

NAMES = st.lists(st.text(max_size=8).map(str.casefold), max_size=12, unique=True)


@settings(deadline=None)
@given(NAMES)
def test_fixed_vectors_are_orthogonal_and_stay_so_under_a_norm(names: list[str]) -> None:
    vectors = fixed_vectors(names, 13)
    normed = torch.nn.functional.layer_norm(vectors, (13,), eps=0)
    for each in (vectors, normed):
        torch.testing.assert_close(each @ each.T, 13 * torch.eye(len(names)))


@settings(deadline=None)
@given(NAMES, st.randoms())
def test_fixed_vectors_do_not_depend_on_the_order_of_names(
    names: list[str], chance: object
) -> None:
    shuffled = sorted(names, key=lambda _: chance.random())  # type: ignore[attr-defined]
    vectors = dict(zip(names, fixed_vectors(names, 13), strict=True))
    for name, vector in zip(shuffled, fixed_vectors(shuffled, 13), strict=True):
        assert torch.equal(vector, vectors[name])


def test_networks_agree_on_a_class_whatever_else_they_know() -> None:
    one, other = fixed_vectors(["liver", "spleen"], 192), fixed_vectors(["aorta", "liver"], 192)
    assert torch.equal(one[0], other[1])


def test_a_vector_is_the_same_in_every_python_and_on_every_machine() -> None:
    frequency = 169  # 1 + the SHA-256 of "liver" modulo 191
    places = (torch.arange(192, dtype=torch.float64) + 0.5) * torch.pi / 192
    expected = 2**0.5 * (frequency * places).cos()
    torch.testing.assert_close(fixed_vectors(["liver"], 192)[0], expected.float())


def test_vectors_of_a_file_are_found_by_name(tmp_path: Path) -> None:
    own = {name: torch.randn(12) for name in (*CLASSES, "aorta")}
    save_file({name.title(): vector for name, vector in own.items()}, tmp_path / "text.safetensors")
    network = sat(queries=str(tmp_path / "text.safetensors"))
    assert torch.equal(
        network.state_dict()["queries.vectors"], torch.stack([own[n] for n in CLASSES])
    )


def test_vectors_of_another_length_are_brought_to_the_network_s(tmp_path: Path) -> None:
    save_file({name: torch.randn(768) for name in CLASSES}, tmp_path / "text.safetensors")
    network = sat(queries=str(tmp_path / "text.safetensors"))
    assert network.get_parameter("queries.project.weight").shape == (12, 768)
    assert logits(network, torch.randn(1, 1, 8, 8, 8), asked([2])).isfinite().all()


def test_a_class_without_a_vector_is_named(tmp_path: Path) -> None:
    save_file({"liver": torch.randn(12)}, tmp_path / "text.safetensors")
    with pytest.raises(UserError, match="has no vector for 'spleen', 'left kidney'"):
        sat(queries=str(tmp_path / "text.safetensors"))
    with pytest.raises(UserError, match="text queries weights: no file at"):
        sat(queries=str(tmp_path / "elsewhere.safetensors"))


def test_vectors_of_several_lengths_are_refused(tmp_path: Path) -> None:
    vectors = {name: torch.randn(8 + place) for place, name in enumerate(CLASSES)}
    save_file(vectors, tmp_path / "text.safetensors")
    with pytest.raises(UserError, match="are not of one length"):
        sat(queries=str(tmp_path / "text.safetensors"))
