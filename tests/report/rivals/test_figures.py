"""Figures of a comparison: every mark stands where its number is."""

from dataclasses import replace

import pytest
from matplotlib.axes import Axes

from medistill.report.canvas import MUTED, SERIES
from medistill.report.rivals import figures
from medistill.report.rivals.figures import Point, forest, plane, ranks, sizes
from medistill.report.rivals.tables import place
from medistill.report.wording import value_of
from medistill.spreads import Spread
from tests.report.reading import read
from tests.report.sketching import dots, names, rows, sketch, texts

from .accounts import ranking, row, spread, standing


@pytest.fixture
def axes(monkeypatch: pytest.MonkeyPatch) -> list[Axes]:
    return sketch(monkeypatch, figures)


def words(svg: str) -> str:
    (found,) = read(svg).all("svg")
    return str(found["aria-label"])


def bars(axes: Axes) -> list[tuple[float, float, float]]:
    """Left end, right end and height of every horizontal line."""
    found = [segment for lines in axes.collections for segment in lines.get_segments()]
    return [(round(a[0], 6), round(b[0], 6), round(a[1], 6)) for a, b in found if a[1] == b[1]]


class TestForest:
    def test_dots_stand_in_the_order_of_the_table_and_in_per_cent(self, axes: list[Axes]) -> None:
        told = words(forest(standing(), "accuracy"))
        (found,) = axes
        assert [y for _, y in dots(found)] == list(range(8))
        assert dots(found)[0][0] == pytest.approx(78)
        assert rows(found)[-1] == "teacher (probe)"
        assert found.get_xlabel() == "accuracy (%)"
        assert told.startswith("Accuracy on covid_ct · vit to shufflenet: lora 78.0 %, RD 69.0 %")

    def test_lines_are_the_interval_and_the_deviation_of_the_seeds(self, axes: list[Axes]) -> None:
        forest(standing(rows=(row("hint", 0.61),), probe={}), "accuracy")
        assert bars(axes[0]) == [(57.0, 65.0, 0.0), (59.5, 62.5, 0.0)]

    def test_what_is_unknown_has_no_line(self, axes: list[Axes]) -> None:
        bare = replace(row("hint", 0.61), metrics={"auroc": Spread(0.7, None, None, None, 1)})
        forest(standing(rows=(bare,), probe={}), "auroc")
        assert bars(axes[0]) == []
        assert dots(axes[0]) == [(0.7, 0)]
        assert axes[0].get_xlabel() == "AUROC"

    def test_reference_and_foundation_models_have_colours_of_their_own(
        self, axes: list[Axes]
    ) -> None:
        forest(standing(), "accuracy", "hint")
        found = dict(zip(rows(axes[0]), (line.get_color() for line in axes[0].lines), strict=True))
        assert found["hint"] == SERIES[1]
        assert found["RD"] == found["student alone"] == SERIES[0]
        assert found["lora"] == found["teacher (probe)"] == MUTED

    def test_entry_that_lacks_the_metric_has_no_row(self, axes: list[Axes]) -> None:
        blank = replace(row("hint", 0.6), metrics={})
        forest(standing(rows=(row("student_alone", 0.5), blank), probe={}), "accuracy")
        assert rows(axes[0]) == ["student alone"]


class TestRanks:
    def test_every_name_stands_once_with_its_rank(self, axes: list[Axes]) -> None:
        ranks(ranking())
        told = texts(axes[0])
        assert [word for word in told if word.isdigit()] == list("12345")
        for name, rank in ranking().averages.items():
            assert sum(name in word and f"{rank:.2f}" in word for word in told) == 1

    def test_bars_hold_what_is_not_told_apart(self, axes: list[Axes]) -> None:
        found = ranking()
        ranks(found)
        lines = bars(axes[0])
        for clique in found.cliques:
            own = [found.averages[name] for name in clique]
            assert any(left < min(own) and max(own) < right for left, right, _ in lines)

    def test_critical_difference_is_as_long_as_it_says(self, axes: list[Axes]) -> None:
        ranks(ranking(1.6))
        assert "critical difference 1.60" in texts(axes[0])
        assert (1.0, 2.6, 1.5) in bars(axes[0])
        assert axes[0].get_ylim()[1] > 2

    def test_without_one_there_is_no_bar_and_no_room_for_it(self, axes: list[Axes]) -> None:
        told = words(ranks(ranking(None)))
        assert not any("critical" in word for word in texts(axes[0]))
        assert "Not told apart" not in told
        assert axes[0].get_ylim()[1] < 1.5

    def test_words_name_the_ranks_and_who_is_not_told_apart(self, axes: list[Axes]) -> None:
        told = words(ranks(ranking()))
        assert "RD 1.20, KD 2.40" in told
        assert "Not told apart: RD and KD; KD and student alone and rd-without-cka." in told

    @pytest.mark.parametrize("count", [1, 2, 3, 12])
    def test_of_any_number_of_names_each_is_on_the_picture(
        self, axes: list[Axes], count: int
    ) -> None:
        averages = {f"method {place}": 1.0 + place for place in range(count)}
        ranks(replace(ranking(None), averages=averages))
        low, high = axes[0].get_ylim()
        assert all(low <= text.get_position()[1] <= high for text in axes[0].texts)
        assert len(axes[0].texts) == 2 * count


LINES = {"RD": [(42, spread(0.57)), (425, spread(0.69))], "alone": [(42, spread(0.53, None))]}


class TestSizes:
    def test_means_stand_over_the_number_of_images(self, axes: list[Axes]) -> None:
        told = words(sizes(LINES, "accuracy", "covid & <ct>", "images", list(LINES)))
        (found,) = axes
        assert names(found) == ["RD", "alone"]
        assert [label.get_text() for label in found.get_xticklabels()] == ["42", "425"]
        assert found.lines[0].get_ydata() == pytest.approx([57, 69])
        assert told == (
            "Accuracy by training images on covid & <ct>: RD 57.0 % with 42, 69.0 % with 425; "
            "alone 53.0 % with 42."
        )

    def test_metric_without_a_unit_is_not_multiplied(self, axes: list[Axes]) -> None:
        sizes(LINES, "auroc", "x", "volumes", list(LINES))
        assert axes[0].lines[0].get_ydata() == pytest.approx([0.57, 0.69])
        assert axes[0].get_ylabel() == "AUROC"

    def test_what_does_not_stand_out_is_grey_and_named_once(self, axes: list[Axes]) -> None:
        lines = {f"m{number}": LINES["RD"] for number in range(20)}
        told = words(sizes(lines, "accuracy", "x", "images", ["m7", "m3"]))
        grey = [line for line in axes[0].lines if line.get_color() == MUTED]
        assert len(grey) == 18
        assert names(axes[0]) == ["m7", "m3", "others"]
        assert all(f"{name} 57.0 %" in told for name in lines)

    def test_what_stands_out_in_two_figures_looks_alike(self, axes: list[Axes]) -> None:
        for lines in (LINES, {"more": LINES["RD"], **LINES}):
            sizes(lines, "accuracy", "x", "images", ["alone", "RD"])
        looks = [
            {str(line.get_label()): line.get_color() for line in one.lines if line.get_marker()}
            for one in axes
        ]
        assert looks[0]["RD"] == looks[1]["RD"] != looks[0]["alone"] == looks[1]["alone"]


class TestPlane:
    POINTS = (
        Point("cheap", 1.0, 0.6, 0, True), Point("dear", 100.0, 0.8, 1, True),
        Point("beaten", 200.0, 0.7, 2, False),
    )  # fmt: skip

    def test_only_the_front_is_joined_numbered_and_told(self, axes: list[Axes]) -> None:
        told = words(plane(self.POINTS, "accuracy", "latency an image", "ms"))
        (found,) = axes
        assert texts(found) == ["1", "2"]
        assert list(found.lines[0].get_xdata()) == [1, 100]
        assert len(dots(found)) == 3
        assert told.endswith("the front: cheap 60.0 % at 1.00 ms, dear 80.0 % at 100 ms.")

    def test_front_is_joined_from_cheap_to_dear_whatever_the_order(self, axes: list[Axes]) -> None:
        plane(self.POINTS[::-1], "accuracy", "weights", "MB")
        assert list(axes[0].lines[0].get_xdata()) == [1, 100]
        assert axes[0].get_xlabel() == "weights (MB)"
        assert axes[0].get_xscale() == "log"

    def test_gigabytes_are_told_as_megabytes(self, axes: list[Axes]) -> None:
        told = words(plane([Point("x", 1234.0, 0.5, 9, True)], "accuracy", "weights", "MB"))
        assert told.endswith("x 50.0 % at 1,234 MB.")


def test_words_and_table_call_a_block_the_same(axes: list[Axes]) -> None:
    one = standing(fraction=0.25, start="/runs/first/")
    told = words(forest(one, "accuracy"))
    assert place(one) == "covid_ct · vit to shufflenet from first · 25 %"
    assert place(one) in told
    assert value_of("accuracy", 0.69) in told
