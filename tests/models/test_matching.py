"""Every tensor of an encoder is found in a file whatever stands around it, or a line says why."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.models.matching import COUNTER, PREFIXES, match, refused, shapes

State = dict[str, Tensor]


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 2))


def state_of(module: nn.Module, prefix: str = "") -> State:
    return {prefix + name: tensor for name, tensor in module.state_dict().items()}


WANTED = shapes(network().state_dict())
PARTS = {"q": torch.ones(2, 3), "k": 2 * torch.ones(2, 3), "v": 3 * torch.ones(2, 3)}


def joined(name: str) -> tuple[str, ...]:
    return tuple(f"{name}.{part}" for part in PARTS)


@settings(max_examples=30)
@given(st.lists(st.sampled_from(PREFIXES), max_size=4).map("".join))
def test_any_wrapping_is_found_and_gives_the_very_tensors(prefix: str) -> None:
    module = network()
    state = state_of(module, prefix)
    found = match(WANTED, state)
    assert (found.prefix, found.complaints, found.unused) == (prefix, [], [])
    assert all(tensor is state[prefix + name] for name, tensor in found.tensors(state).items())
    # What another library would load takes no harm.
    module.load_state_dict(found.tensors(state))


@settings(max_examples=30)
@given(st.permutations(list(WANTED)))
def test_the_order_of_the_file_does_not_matter(names: list[str]) -> None:
    state = {f"module.{name}": torch.zeros(WANTED[name]) for name in names}
    assert match(WANTED, state) == match(WANTED, dict(sorted(state.items())))


def test_of_two_towers_the_one_with_more_of_the_encoder_is_taken() -> None:
    image, text = state_of(network(), "visual."), {"model.0.weight": torch.zeros(4, 3, 1, 1)}
    found = match(WANTED, {**text, **image})
    assert found.prefix == "visual."
    assert found.unused == ["model.0.weight"]
    assert not found.complaints


def test_a_bare_name_goes_before_a_wrapped_one() -> None:
    bare, wrapped = state_of(network()), state_of(network(), "module.")
    assert match(WANTED, {**wrapped, **bare}).prefix == ""


def test_names_of_wrappers_within_a_network_are_no_wrappers() -> None:
    inner = nn.ModuleDict({"encoder": nn.ModuleDict({"model": nn.Linear(2, 2)})})
    for prefix in ("", "encoder.", "model.encoder."):
        found = match(shapes(inner.state_dict()), state_of(inner, prefix))
        assert (found.prefix, found.complaints) == (prefix, [])


def test_every_tensor_that_is_missing_has_a_complaint_but_for_counters() -> None:
    for name in WANTED:
        state = state_of(network())
        del state[name]
        complaints = match(WANTED, state).complaints
        expected = [] if name.endswith(COUNTER) else [f"{name} is not in the file"]
        assert complaints == expected


def test_a_shape_is_told_as_the_file_and_as_the_encoder_have_it() -> None:
    state = state_of(network())
    state["2.weight"], state["2.bias"] = torch.zeros(4, 2), torch.tensor(0.0)
    assert match(WANTED, state).complaints == [
        "2.weight is 4x2 in the file, not 2x4",
        "2.bias is a scalar in the file, not 2",
    ]


def test_parts_are_joined_in_the_order_of_their_keys() -> None:
    state = {f"model.attention.{part}": tensor for part, tensor in reversed(PARTS.items())}
    found = match({"attention": torch.Size((6, 3))}, state, keys=joined)
    assert not found.complaints
    assert torch.equal(found.tensors(state)["attention"], torch.cat(list(PARTS.values())))
    assert found.unused == []


def test_of_parts_the_first_that_is_absent_is_told_as_the_file_would_spell_it() -> None:
    state = {"attention.q": PARTS["q"], "attention.v": PARTS["v"]}
    found = match({"attention": torch.Size((6, 3))}, state, keys=joined)
    assert found.complaints == ["attention.k is not in the file"]
    assert found.unused == ["attention.q", "attention.v"]


@pytest.mark.parametrize(
    ("part", "shape"), list(product(PARTS, [(2, 4), (3, 3), (2, 3, 1), (), (6,)]))
)
def test_parts_that_cannot_be_joined_are_a_complaint_and_no_crash(
    part: str, shape: tuple[int, ...]
) -> None:
    state = {f"a.{name}": tensor for name, tensor in PARTS.items()}
    state[f"a.{part}"] = torch.zeros(shape)
    (complaint,) = match({"a": torch.Size((6, 3))}, state, keys=joined).complaints
    assert complaint.startswith("a.q + a.k + a.v is ") and complaint.endswith(", not 6x3")


def test_other_keys_are_complained_of_only_where_nothing_else_is_wrong() -> None:
    state = {**state_of(network()), "head.weight": torch.zeros(1)}
    found = match(WANTED, state)
    assert found.complaining(["head"]).complaints == ["head"]
    assert found.complaints == []
    del state["2.bias"]
    assert match(WANTED, state).complaining(["head"]).complaints == ["2.bias is not in the file"]


@pytest.mark.parametrize("count", [1, 3, 4, 50])
def test_a_refusal_is_one_line_that_shows_three_complaints(count: int) -> None:
    wanted = {f"layer{place}": torch.Size((2,)) for place in range(60)}
    state = {name: torch.zeros(2) for name in list(wanted)[count:]}
    error = refused("teacher", match(wanted, state), "Is this it?")
    assert isinstance(error, UserError)
    assert str(error).startswith(f"teacher weights: {count} of 60 encoder tensors found no place")
    assert str(error).count("is not in the file") == min(count, 3)
    assert (", ...)" in str(error)) == (count > 3)
    assert "\n" not in str(error) and str(error).endswith("nothing was loaded. Is this it?")


def test_more_complaints_than_tensors_are_counted_among_themselves() -> None:
    found = match(WANTED, state_of(network())).complaining(str(n) for n in range(99))
    assert "99 of 99 encoder tensors" in str(refused("student", found, ""))


def test_an_empty_file_has_nothing_and_an_empty_encoder_wants_nothing() -> None:
    complaints = match(WANTED, {}).complaints
    assert len(complaints) == sum(not name.endswith(COUNTER) for name in WANTED)
    assert match({}, state_of(network())).complaints == []
