"""A probe is the logistic regression that its docstring states, and bears odd features."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.models.probes import Probe, fit_probe


def problem(rows: int = 120, width: int = 6, classes: int = 3) -> tuple[Tensor, Tensor]:
    targets = torch.arange(rows) % classes
    centres = 1.5 * torch.randn(classes, width, generator=torch.Generator().manual_seed(7))
    return centres[targets] + torch.randn(rows, width) + 3, targets


def probe(classes: int = 3, width: int = 6, rows: int = 120) -> Probe:
    return fit_probe(*problem(rows, width, classes), *problem(60, width, classes), classes)


def test_it_equals_an_independent_logistic_regression() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    features, targets = problem()
    ours = fit_probe(features, targets, *problem(), 3, strengths=[0.01])
    scaled = (features - features.mean(0)) / features.std(0, correction=0)
    # scikit-learn weighs the sum of the errors by C, where we weigh their mean by 1
    theirs = linear_model.LogisticRegression(C=1 / (0.01 * len(targets)), tol=1e-8)
    theirs.fit(scaled.double().numpy(), targets.numpy())
    expected = torch.tensor(theirs.predict_log_proba(scaled.double().numpy())).float()
    assert (ours.logits(features).log_softmax(1) - expected).abs().max() < 5e-3  # of the tolerance


def test_the_strength_has_the_least_log_loss_on_validation() -> None:
    train, val = problem(30, 20), problem(60, 20)
    chosen = fit_probe(*train, *val, 3)
    for strength in (100.0, 1.0, 1e-2):
        assert chosen.log_loss <= fit_probe(*train, *val, 3, strengths=[strength]).log_loss + 1e-3


def test_accuracy_is_that_of_its_logits_on_validation() -> None:
    val = problem(60)
    fitted = fit_probe(*problem(), *val, 3)
    correct = fitted.logits(val[0]).argmax(1) == val[1]
    assert fitted.accuracy == pytest.approx(correct.double().mean().item())


def test_two_fits_are_equal_bit_for_bit() -> None:
    train, val = problem(), problem(60)
    first, second = fit_probe(*train, *val, 3), fit_probe(*train, *val, 3)
    assert torch.equal(first.weight, second.weight) and torch.equal(first.bias, second.bias)


@pytest.mark.parametrize(("classes", "rows", "width"), [(2, 100, 5), (3, 12, 200)])
def test_two_classes_and_few_rows_are_no_obstacle(classes: int, rows: int, width: int) -> None:
    fitted = probe(classes, width, rows)
    assert fitted.classes == classes
    assert fitted.accuracy > 0.9


def test_constant_features_weigh_nothing() -> None:
    features, targets = problem()
    features[:, 2] = 5.0
    features[:, 3] = 7.0 + 1e-5 * torch.randn(len(features))
    fitted = fit_probe(features, targets, *problem(60), 3)
    assert fitted.weight[:, 2:4].abs().max() == 0
    assert fitted.logits(features).isfinite().all()


def test_a_class_that_training_lacks_still_has_its_logit() -> None:
    fitted = fit_probe(*problem(classes=2), *problem(60, classes=3), 3)
    assert fitted.logits(torch.randn(4, 6)).shape == (4, 3)


def test_rows_without_a_label_are_left_out() -> None:
    (features, targets), val = problem(), problem(60)
    padded = torch.cat((features, 100 * torch.ones(9, 6)))
    labels = torch.cat((targets, torch.full((9,), -1)))
    fitted = fit_probe(padded, labels, *val, 3)
    assert torch.equal(fitted.weight, fit_probe(features, targets, *val, 3).weight)


def test_it_can_be_fitted_where_gradients_are_off() -> None:
    with torch.no_grad():
        assert probe().accuracy > 0.5


def test_as_a_layer_it_gives_the_same_logits() -> None:
    fitted, features = probe(), torch.randn(4, 6)
    assert torch.equal(fitted.as_linear()(features), fitted.logits(features))


def test_it_survives_its_file(tmp_path: Path) -> None:
    fitted = probe()
    fitted.save(tmp_path / "probe.safetensors")
    loaded = Probe.load(tmp_path / "probe.safetensors")
    assert torch.equal(loaded.weight, fitted.weight) and torch.equal(loaded.bias, fitted.bias)
    assert (loaded.strength, loaded.accuracy) == (fitted.strength, fitted.accuracy)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (lambda f, t: (f, torch.zeros_like(t)), "two classes"),
        (lambda f, t: (f, torch.full_like(t, -1)), "labelled training images"),
        (lambda f, t: (f * float("nan"), t), "NaN"),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_one_line(rows, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=message):
        fit_probe(*rows(*problem()), *problem(60), 3)


def test_a_head_that_a_network_came_with_is_a_probe_that_nobody_fitted() -> None:
    head = nn.Linear(2, 2)
    with torch.no_grad():
        head.weight.copy_(torch.eye(2))
        head.bias.copy_(torch.tensor([0.0, 1.0]))
    features, targets = torch.tensor([[3.0, 0.0], [0.0, 3.0], [0.5, 0.0]]), torch.tensor([0, 1, 0])
    probe = Probe.of(head, features, targets)
    assert torch.equal(probe.logits(features), head(features))
    assert (probe.classes, probe.strength) == (2, 0.0)
    assert probe.accuracy == pytest.approx(2 / 3)  # 0.5 < 0 + 1: the third is taken for class 1
