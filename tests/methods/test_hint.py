"""One hint in the middle of the network: methods.md §2.2."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from medistill.errors import Advice, UserError
from medistill.losses.supervised import cross_entropy
from medistill.methods import _words
from medistill.methods.hint import Hint
from tests.tiny import Telling, tiny_batch, tiny_student, tiny_teacher


class Negated(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return -maps


def taught(*sizes: int, **settings: float) -> Hint:
    """Beside a teacher of these sizes of maps; the student's are 6 and 3."""
    return Hint(tiny_student(), Telling(*(torch.rand(8, 5, e, e) for e in sizes)), **settings)


@pytest.mark.parametrize(
    ("edge", "kind", "kernel"),
    [
        (6, nn.Conv2d, 1),
        (3, nn.Conv2d, 3),
        (4, nn.Conv2d, 3),
        (2, nn.Conv2d, 5),
        (12, nn.ConvTranspose2d, 4),
        (9, nn.Conv2d, 3),
    ],
)
def test_the_regressor_follows_from_both_sizes(edge: int, kind: type, kernel: int) -> None:
    method = taught(edge, 3)
    layer, norm = method.regress
    assert isinstance(layer, kind)
    assert layer.kernel_size == (kernel, kernel)
    assert isinstance(norm, nn.BatchNorm2d)
    guess = method.regress(method.student(tiny_batch().images).maps[0])
    # A student's maps that are smaller, but not half as large, are met by averaging the teacher's.
    assert guess.shape == (8, 5, *2 * [6 if edge == 9 else edge])


def test_its_terms_are_the_formulas() -> None:
    method, batch = taught(9, 3, labels=0.5, imitation=10.0), tiny_batch()
    method.eval()
    output = method.student(batch.images)
    hint = F.adaptive_avg_pool2d(method.teacher(batch).maps[0], 6)
    errors = (method.regress(output.maps[0]).clamp(min=0) - hint) ** 2
    losses = method.losses(batch, 0.0)
    assert_close(losses["imitation"], 10 * errors.sum() / errors.numel())
    expected = 0.5 * cross_entropy(output.logits, batch.targets, batch.weights)
    assert_close(losses["labels"], expected)


def test_a_student_that_has_the_hint_already_has_no_error() -> None:
    student, batch = tiny_student().eval(), tiny_batch()
    method = Hint(student, Telling(*student(batch.images).maps))
    method.regress = nn.Sequential()
    assert method.losses(batch, 0.0)["imitation"] == 0


def test_only_a_hint_without_negative_values_is_met_through_a_relu() -> None:
    student, batch = tiny_student().eval(), tiny_batch()
    maps = student(batch.images).maps[0].detach()
    assert maps.max() > 0
    for given in (-maps, torch.zeros_like(maps)):
        method = Hint(student, Telling(given, torch.rand(8, 5, 3, 3)))
        method.regress = Negated()
        assert method.losses(batch, 0.0)["imitation"] == 0


@pytest.mark.parametrize(("stage", "place"), [(1, -2), (2, -2), (3, -2), (4, -1)])
def test_stages_are_counted_from_the_last(stage: int, place: int) -> None:
    method = taught(6, 3, stage=stage)
    assert method.place == place
    assert method.regress[0].in_channels == method.student.encoder.widths[place]


def test_a_teacher_of_vectors_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match=r"^hint needs the teacher's maps.*teacher\.grid") as caught:
        Hint(tiny_student(), tiny_teacher(grid=1))
    assert "\n" not in str(caught.value)


def test_a_regressor_heavier_than_students_are_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_words, "HEAVY", 100)
    with pytest.warns(Advice, match=r"hint: its regressor has 0\.0 M weights .* of stage 3"):
        taught(2, 3, stage=3)
    taught(6, 3, stage=3)
