"""Variational information distillation: methods.md §2.4."""

import torch
from torch import nn
from torch.testing import assert_close

from medistill.methods.vid import Vid, _Prediction
from tests.tiny import Telling, tiny_batch, tiny_student


def test_its_imitation_is_the_formula_summed_over_the_stages() -> None:
    teacher, batch = Telling(torch.randn(8, 5, 6, 6), torch.randn(8, 7, 3, 3)), tiny_batch()
    method = Vid(tiny_student(), teacher, imitation=2.0).eval()
    expected = 0.0
    for predict, own, wanted in zip(
        method.predictions, method.student(batch.images).maps, teacher.maps, strict=True
    ):
        errors = (wanted - predict.mean(own)) ** 2
        expected += (0.5 * (errors / 5 + torch.log(torch.tensor(5.0)))).mean()
    losses = method.losses(batch, 0.0)
    assert_close(losses["imitation"], 2 * torch.as_tensor(expected))


def test_the_variances_begin_at_5_and_the_optimiser_finds_the_squared_error() -> None:
    predict, wanted = _Prediction(3, 4), torch.rand(2, 4, 5, 5)
    assert_close(predict.variance, torch.full((4,), 5.0))
    predict.mean = nn.Identity()
    errors = torch.tensor([0.3, 0.5, 1.0, 2.0])
    optimizer = torch.optim.Adam(predict.parameters(), lr=0.2)
    for _ in range(200):
        optimizer.zero_grad()
        predict(wanted + errors.view(4, 1, 1), wanted).mean().backward()
        optimizer.step()
    # 2 %: where Adam's steps of 0.2 still swing
    assert_close(predict.variance, errors**2, rtol=0.02, atol=0)


def test_its_variances_are_trained_and_its_regressors_have_no_bias() -> None:
    method = Vid(tiny_student(), Telling(torch.rand(8, 5, 6, 6), torch.rand(8, 7, 3, 3)))
    own = {name: p.shape for name, p in method.predictions.named_parameters()}
    assert own["0.spread"] == (5,)
    assert own["1.spread"] == (7,)
    assert not any("bias" in name for name in own)
    assert own["1.mean.0.weight"] == (7, 6, 1, 1)
    assert own["1.mean.2.weight"] == own["1.mean.4.weight"] == (7, 7, 1, 1)


def test_it_becomes_negative_when_the_maps_are_predicted_well() -> None:
    predict, wanted = _Prediction(4, 4), torch.rand(2, 4, 5, 5)
    predict.mean = nn.Identity()
    nn.init.constant_(predict.spread, -10.0)
    assert predict.variance.min() >= 1e-5
    assert (predict(wanted, wanted) < 0).all()
