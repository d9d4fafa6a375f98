"""Numbers with as many digits as they deserve, and names that a person would say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medistill.report.wording import (
    METRICS,
    amount,
    chance_is,
    counted,
    difference_interval,
    difference_of,
    duration,
    inside,
    interval_of,
    listed,
    metric,
    network,
    probability_of_chance,
    said,
    significant,
    value_of,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.2556, "1.26"), (12.345, "12.3"), (999.4, "999"), (999.7, "1000"), (12345.6, "12,346"),
     (0.014512, "0.0145"), (0.0, "0"), (-2.345, "-2.35"), (2.0, "2.00")],
)  # fmt: skip
def test_three_digits_count(value: float, text: str) -> None:
    assert significant(value) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(1_255_654, "", "1.26 M"), (38_200_000, "", "38.2 M"), (5_146_000, "B", "5.15 MB"),
     (2345.0, "ms", "2,345 ms"), (17, "", "17.0"), (None, "B", "\N{EN DASH}")],
)  # fmt: skip
def test_quantities_have_a_prefix_and_a_unit(value: float | None, unit: str, text: str) -> None:
    assert amount(value, unit) == text


@pytest.mark.parametrize(
    ("key", "text"),
    [("accuracy", "74.9 %"), ("auroc", "0.749"), ("sensitivity/a", "74.9 %"), ("new", "0.749"),
     ("dice/liver", "0.749"), ("hd95_mm", "0.75 mm"), ("hd95_mm/liver", "0.75 mm")],
)  # fmt: skip
def test_shares_are_in_per_cent_and_areas_are_not(key: str, text: str) -> None:
    assert value_of(key, 0.74876) == text


def test_undefined_is_a_dash() -> None:
    assert value_of("accuracy", None) == "\N{EN DASH}"
    assert difference_of("accuracy", None) == "\N{EN DASH}"
    assert said("accuracy", None) == "\N{EN DASH}"
    assert interval_of("accuracy", {"value": 0.5, "low": None, "high": None}) == ""


def test_value_comes_with_its_interval() -> None:
    estimate = {"value": 0.7488, "low": 0.685, "high": 0.808}
    assert said("accuracy", estimate) == "74.9 % (68.5 to 80.8)"
    assert said("accuracy", {**estimate, "low": None}) == "74.9 %"


def test_differences_have_a_sign_unless_nothing_is_left_of_them() -> None:
    assert difference_of("accuracy", 0.034) == "+3.4 points"
    assert difference_of("auroc", -0.0314) == "\N{MINUS SIGN}0.031"
    assert difference_of("accuracy", -0.0001) == "0.0 points"
    assert difference_interval("accuracy", -0.01, 0.02) == "\N{MINUS SIGN}1.0 to +2.0"
    assert difference_interval("accuracy", None, 0.02) == "\N{EN DASH}"


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0004, "< 0.001"), (0.0123, "0.012"), (0.143, "0.14"), (1.0, "1.00"), (None, "\N{EN DASH}")],
)
def test_p_values_end_where_digits_mean_nothing(p: float | None, text: str) -> None:
    assert probability_of_chance(p) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(41.4, "41 s"), (732.0, "12 min"), (7500.0, "2 h 05 min")]
)
def test_times_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_names_stand_in_a_sentence() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert counted(1, "image") == "1 image"
    assert counted(1200, "image") == "1,200 images"
    assert counted(12, "epoch") == "12 epochs"
    assert inside("balanced_accuracy") == "balanced accuracy"
    assert inside("auroc") == "AUROC"
    assert metric("sensitivity/COVID").words == "Sensitivity, COVID"
    assert metric("something_new").words == "Something new"


@pytest.mark.parametrize(
    ("name", "text"),
    [("timm/mobilenetv2_100", "mobilenetv2_100"), ("run:/home/alice/runs/big/", "big"),
     ("features:/data/f.safetensors", "f.safetensors"), ("", "")],
)  # fmt: skip
def test_networks_are_called_without_the_folders_of_a_machine(name: str, text: str) -> None:
    assert network(name) == text


def test_distances_are_in_millimetres_with_their_interval_and_their_differences() -> None:
    estimate = {"value": 4.308, "low": 3.9, "high": 5.012}
    assert said("hd95_mm", estimate) == "4.31 mm (3.90 to 5.01)"
    assert difference_of("hd95_mm", 0.4) == "+0.40 mm"
    assert difference_interval("hd95_mm", -0.1, 0.9) == "\N{MINUS SIGN}0.10 to +0.90"


def test_metric_of_one_class_is_as_good_or_bad_as_its_kind() -> None:
    assert metric("hd95_mm/liver").lower
    assert metric("hd95_mm/liver").words == "HD95, liver"
    assert not metric("dice/liver").lower


def test_plurals_are_those_of_the_language() -> None:
    assert [counted(2, "case"), counted(2, "patch"), counted(1, "patch")] == [
        "2 cases", "2 patches", "1 patch"
    ]  # fmt: skip


@given(st.floats(1e-9, 1e12))
def test_three_digits_are_true_to_half_of_the_last(value: float) -> None:
    told = significant(value)
    assert "e" not in told
    assert float(told.replace(",", "")) == pytest.approx(value, rel=0.0051)
    assert significant(-value) == f"-{told}"


@given(st.floats(0.01, 1e14), st.sampled_from(["", "B"]))
def test_prefixes_keep_the_quantity(value: float, unit: str) -> None:
    number, _, prefix = amount(value, unit).partition(" ")
    scale = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[prefix.removesuffix("B")]
    assert float(number.replace(",", "")) * scale == pytest.approx(value, rel=0.0051)


@given(st.floats(0, 1))
def test_a_p_in_a_sentence_is_equal_or_below(p: float) -> None:
    told = chance_is(p)
    assert told.startswith("p < 0.001" if p < 0.001 else "p = ")
    assert told.endswith(probability_of_chance(p).removeprefix("< "))


def test_a_p_that_nobody_knows_is_a_dash() -> None:
    assert chance_is(None) == "p = \N{EN DASH}"


@given(st.floats(-1, 1), st.sampled_from(["accuracy", "auroc", "hd95_mm"]))
def test_a_difference_turned_round_has_the_other_sign(value: float, key: str) -> None:
    one, other = difference_of(key, value), difference_of(key, -value)
    assert one.lstrip("+\N{MINUS SIGN}") == other.lstrip("+\N{MINUS SIGN}")
    signs = {one[0], other[0]}
    assert signs == {"+", "\N{MINUS SIGN}"} or one == other  # nothing is left of it


@pytest.mark.parametrize("key", METRICS)
def test_every_metric_can_stand_in_a_sentence_and_of_a_class(key: str) -> None:
    assert metric(key).words
    assert inside(key)[0].islower() or inside(key).split()[0].isupper()
    of = metric(f"{key}/liver")
    assert of.words == f"{metric(key).words}, liver"
    assert (of.percent, of.lower, of.unit) == (
        metric(key).percent, metric(key).lower, metric(key).unit,
    )  # fmt: skip


def test_class_may_hold_a_slash() -> None:
    assert metric("sensitivity/left/right").words == "Sensitivity, left/right"
