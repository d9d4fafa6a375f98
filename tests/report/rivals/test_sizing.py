"""Few images and many, and the best within a budget: in sentences and titles."""

from dataclasses import replace

import pytest
from matplotlib.axes import Axes

from medistill.report.markup import together
from medistill.report.rivals import figures
from medistill.report.rivals.account import Account, Standing
from medistill.report.rivals.budget import Budget
from medistill.report.rivals.page import page
from medistill.report.rivals.sizing import growing, small, within
from tests.report.reading import Reader, read
from tests.report.sketching import sketch

from .accounts import account, ranking, row, six_blocks, standing, three_sizes


@pytest.fixture(autouse=True)
def axes(monkeypatch: pytest.MonkeyPatch) -> list[Axes]:
    return sketch(monkeypatch, figures)


def sized(*fractions: float, **changes: str) -> list[Standing]:
    return [
        standing(fraction=f, images={"train": round(400 * f), "test": 99}, **changes)
        for f in fractions
    ]


def of_volumes() -> Account:
    """Networks of which the time of a volume is known."""
    rows = tuple(
        replace(one, cost={"seconds_a_volume": 2.0 if one.student else 9.0})
        for one in standing().rows
    )
    return account(standing(rows=rows, probe={}), samples="volumes")


def shown(found: Account) -> Reader:
    return read(together(growing(found)))


class TestGrowing:
    def test_one_size_has_no_curve(self) -> None:
        assert growing(account()) == []
        assert growing(account(*sized(0.5), *sized(0.5, student="resnet18"))) == []

    def test_every_entry_is_a_line_from_few_images_to_many(self, axes: list[Axes]) -> None:
        growing(account(*sized(1.0, 0.1, 0.25)))
        assert len(axes[0].lines) >= 7
        assert list(axes[0].lines[0].get_xdata()) == [40, 100, 400]

    def test_pairs_that_differ_in_more_than_the_size_have_figures_of_their_own(self) -> None:
        found = shown(account(*sized(0.1, 1.0), *sized(0.1, 1.0, student="resnet18")))
        assert len(found.all("figure")) == 2
        assert "covid_ct · vit to shufflenet\n" in found.text
        assert "covid_ct · vit to resnet18\n" in found.text

    def test_pair_of_one_size_has_no_figure(self) -> None:
        found = shown(account(*sized(0.1, 1.0), *sized(1.0, student="resnet18")))
        assert len(found.all("figure")) == 1

    def test_title_is_escaped_once(self) -> None:
        found = shown(account(*sized(0.1, 1.0, data="skin & <moles>")))
        assert "skin & <moles> · vit to shufflenet" in found.text
        (svg,) = found.all("svg")
        assert "on skin & <moles> · vit to shufflenet:" in str(svg["aria-label"])
        assert "&amp;amp;" not in together(growing(account(*sized(0.1, 1.0, data="a & b"))))

    def test_without_a_teacher_the_title_is_of_the_student(self) -> None:
        assert "covid_ct · shufflenet\n" in shown(account(*sized(0.1, 1.0, teacher=None))).text

    def test_number_of_images_stands_in_the_table(self) -> None:
        assert "covid_ct · vit to shufflenet · 10 % 42 " in shown(three_sizes()).text


class TestWithin:
    def said(self, found: Account, budget: Budget) -> str:
        return read(together(within(found, budget))).text

    def test_without_a_bound_nothing_is_said(self) -> None:
        assert within(account(), Budget()) == []

    def test_only_students_are_chosen_and_named_whole_with_their_folder(self) -> None:
        said = self.said(account(), Budget(1000))
        assert "covid_ct: shufflenet by RD, 5.15 MB, 2.91 ms;" in said
        assert said.strip().endswith("; cells/covid_ct--vit--shufflenet--"
                                     "reprogramming_distillation--seed1")  # fmt: skip

    def test_teacher_and_start_are_told_where_there_are_several(self) -> None:
        better = standing(teacher="clip", start="runs/begun", shift=0.1)
        said = self.said(account(standing(), better), Budget(10))
        assert "shufflenet from begun by RD taught by clip, 5.15 MB" in said

    def test_time_of_a_volume_is_what_counts_for_volumes(self) -> None:
        slow = {"bytes": 5e6, "seconds_a_volume": 3.0, "latency_ms_p50": 1.0}
        rows = tuple(replace(one, cost=slow) for one in standing().rows)
        found = account(standing(rows=rows), samples="volumes")
        assert "none stays within it" in self.said(found, Budget(milliseconds=2999))
        assert "5.00 MB, 3.00 s;" in self.said(found, Budget(milliseconds=3000))

    def test_value_is_that_of_the_test_images(self) -> None:
        said = self.said(account(), Budget(10))
        assert "chosen on validation, on test accuracy 69.0 ± 1.5 %; cells/" in said

    def test_metric_without_a_unit_has_none(self) -> None:
        assert "AUROC 0.770 ± 0.015; cells/" in self.said(account(metric="auroc"), Budget(10))

    def test_each_set_has_a_sentence(self) -> None:
        rows = tuple(replace(one, cost={}) for one in standing("busi").rows)
        said = self.said(account(standing(), standing("busi", rows=rows)), Budget(10))
        assert "covid_ct: shufflenet by RD" in said
        assert "busi: none stays within it." in said


class TestSmall:
    def test_networks_that_cost_the_same_have_no_picture(self, axes: list[Axes]) -> None:
        rows = tuple(found for found in standing().rows if found.student)
        small(account(standing(rows=rows, teacher=None, probe={}, teacher_cost={})), Budget())
        assert axes == []

    def test_each_set_has_a_picture_of_each_cost(self) -> None:
        text = read(together(small(six_blocks(), Budget()))).text
        for data in ("covid_ct", "busi", "btc"):
            assert f"{data}, by latency an image. 1: RD, " in text
            assert f"{data}, by weights. 1: RD, " in text

    def test_volumes_have_a_picture_of_their_time(self) -> None:
        text = read(together(small(of_volumes(), Budget()))).text
        assert "covid_ct, by time a volume. 1: RD; 2: lora." in text

    def test_of_no_cost_at_all_only_the_table_is_left(self) -> None:
        rows = (replace(row("hint", 0.6), cost={}),)
        found = account(standing(rows=rows, teacher=None, probe={}, teacher_cost={}))
        assert "Joined:" not in read(together(small(found, Budget()))).text


def test_every_table_across_blocks_follows_the_words_about_it() -> None:
    found = six_blocks()
    text = read(page(replace(found, rankings={"from scratch": ranking()}), Budget())).text
    places = [
        text.index(words)
        for words in (
            "Every method in every block.", "its probe FM (lora) student alone KD",
            "Average ranks over",
            "Mean gain over the student alone by foundation model", "What matters in a method",
        )
    ]  # fmt: skip
    assert places == sorted(places)
