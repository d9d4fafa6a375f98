"""A block as its table and its figure show it, and the ranks over blocks."""

from dataclasses import replace

import pytest

from medistill.report.rivals import figures
from medistill.report.rivals.account import Account
from medistill.report.rivals.beside import ranking, standing
from medistill.report.wording import MINUS, UNDEFINED
from tests.report.reading import Reader, read
from tests.report.sketching import sketch

from . import accounts
from .accounts import EVIL, account, row, spread


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    sketch(monkeypatch, figures)


def shown(found: Account) -> Reader:
    return read(standing(found, found.standings[0]))


def lines(found: Account) -> list[str]:
    """The head of the table, then its rows."""
    text = shown(found).text
    return text[text.index("Accuracy against") :].splitlines()


class TestTable:
    def test_rivals_stand_between_the_metric_and_the_others(self) -> None:
        head, first, *_ = lines(account())
        assert head == (
            "Accuracy against RD against the student alone Balanced accuracy AUROC "
            "Calibration error"
        )
        assert first.startswith("lora the foundation model itself 78.0 ± 1.5")

    def test_row_tells_differences_with_verdict_and_p(self) -> None:
        (hint,) = (line for line in lines(account()) if line.startswith("hint"))
        assert f"{MINUS}8.0 ({MINUS}13.0 to {MINUS}3.0) worse, p 0.004" in hint
        assert f"{MINUS}4.0 ({MINUS}9.0 to +1.0) noise, p 0.40" in hint

    def test_leader_has_no_difference_to_itself(self) -> None:
        (best,) = (line for line in lines(account()) if line.startswith("RD"))
        assert f" {UNDEFINED} +4.0" in best

    def test_where_the_reference_leads_there_is_one_rival(self) -> None:
        found = replace(account(), reference="reprogramming_distillation")
        head = lines(found)[0]
        assert head.count("against") == 1
        assert "against RD" in head

    @pytest.mark.parametrize("reference", ["student_alone", "reprogramming_distillation"])
    def test_every_row_is_as_wide_as_the_head(self, reference: str) -> None:
        found = shown(replace(account(), reference=reference))
        width = sum(tag.get("scope") == "col" for tag in found.all("th")) - 1
        rows = sum(tag.get("scope") == "row" for tag in found.all("th"))
        assert rows == len(accounts.MEANS) + 1  # and the probe
        assert len(found.all("td")) == rows * width

    def test_probe_has_no_rivals(self) -> None:
        probe = lines(account())[-1]
        assert probe.startswith("teacher (probe) 75.9 71.9 to 79.9 ")
        assert probe.endswith(" ".join([UNDEFINED] * 5))

    def test_block_without_a_probe_has_no_row_of_it(self) -> None:
        assert "probe" not in shown(account(accounts.standing(probe={}))).text

    def test_metric_that_an_entry_lacks_is_a_dash(self) -> None:
        blank = replace(row("hint", 0.6), metrics={})
        text = shown(account(accounts.standing(rows=(blank,), probe={}))).text
        assert f"hint {' '.join([UNDEFINED] * 5)}" in text

    def test_metric_of_the_comparison_is_told_once(self) -> None:
        text = shown(account(metric="auroc")).text
        assert text.count("AUROC") == 1

    def test_one_seed_has_a_mean_without_a_deviation(self) -> None:
        one = replace(row("hint", 0.6), metrics={"accuracy": spread(0.6, None)})
        text = shown(account(accounts.standing(rows=(one,), probe={}), seeds=(0,))).text
        assert "hint 60.0 56.0 to 64.0" in text

    def test_labels_cannot_become_markup(self) -> None:
        rows = (
            replace(row("hint", 0.7), label=EVIL),
            replace(row("lora", 0.6), label=EVIL, student=False),
        )
        found = shown(account(accounts.standing(EVIL, EVIL, rows=rows)))
        assert not found.unbalanced
        assert not found.all("script")
        assert found.text.count(EVIL) >= 2

    def test_images_of_each_split_are_counted_below_the_figure(self) -> None:
        images = {"train": 4250, "test": 203, "left_out": 90}
        text = shown(account(accounts.standing(images=images))).text
        assert "Images: 4,250 train, 203 test, 90 left out." in text


class TestRanking:
    def said(self, **changes: object) -> str:
        return read(ranking(replace(accounts.ranking(), **changes), "from scratch", account())).text

    @pytest.mark.parametrize(("p", "told"), [(0.0002, "p < 0.001."), (0.5, "p = 0.50.")])
    def test_p_is_equal_to_a_number_or_below_one(self, p: float, told: str) -> None:
        assert f"Friedman's test that all are alike: {told}" in self.said(p=p)

    def test_bars_are_explained_where_there_are_some(self) -> None:
        assert "What a bar joins is not told apart" in self.said()
        assert "What a bar joins" not in self.said(difference=None)

    def test_who_ran_everywhere_is_not_said_to_be_missing(self) -> None:
        assert "Not run in every block: lora+kd." in self.said()
        assert "Not run" not in self.said(missing=())
