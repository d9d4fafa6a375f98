"""Label-free distillation of pooled features."""

import torch
from torch.testing import assert_close

from medistill.losses.similarity import linear_cka
from medistill.methods.feature_distillation import FeatureDistillation, _Standardisation
from tests.tiny import tiny_batch, tiny_student, tiny_tasks, tiny_teacher


def test_labels_and_tasks_change_nothing() -> None:
    batch = tiny_batch()
    method = FeatureDistillation(tiny_student(), tiny_teacher(), tiny_tasks())
    method.losses(batch, 0.0)
    method.eval()
    before = method.losses(batch, 0.0)
    batch.targets[:], batch.tasks[:] = -1, 0
    assert_close(method.losses(batch, 0.9), before)


def test_the_head_of_what_it_deploys_predicts_the_teachers_features() -> None:
    student = tiny_student()
    method = FeatureDistillation(student, tiny_teacher(width=10), tiny_tasks())
    (deployed,) = method.deploy().values()
    assert deployed.head.out_features == 10
    assert deployed.encoder is student.encoder


def test_a_student_that_predicts_the_mean_has_an_error_of_1() -> None:
    batch, teacher = tiny_batch(64), tiny_teacher()
    method = FeatureDistillation(tiny_student(), teacher, tiny_tasks())
    torch.nn.init.zeros_(method.student.head.weight)
    torch.nn.init.zeros_(method.student.head.bias)
    # 0.02: the floor under the variance of each dimension
    assert_close(method.losses(batch, 0.0)["features"].item(), 1.0, atol=0.02, rtol=0)


def test_the_geometry_is_that_of_the_students_own_features() -> None:
    batch, teacher = tiny_batch(16), tiny_teacher()
    method = FeatureDistillation(tiny_student(), teacher, tiny_tasks(), geometry=0.5).eval()
    similarity = linear_cka(method.student(batch.images).features, teacher(batch).features)
    assert_close(method.losses(batch, 0.0)["geometry"], 0.5 * (1 - similarity))


class TestStandardisation:
    def test_its_moments_are_those_of_all_rows_however_they_were_dealt(self) -> None:
        rows = 100 + 3 * torch.randn(50, 4)
        standardise = _Standardisation(4)
        for part in rows.split([7, 20, 1, 22]):
            standardise(part)
        assert_close(standardise.mean, rows.mean(0), atol=1e-3, rtol=1e-5)
        variance = standardise.squares / standardise.count
        assert_close(variance, rows.var(0, correction=0), atol=1e-3, rtol=1e-3)

    def test_it_stands_still_in_evaluation(self) -> None:
        standardise = _Standardisation(4)
        standardise(torch.randn(9, 4))
        before = standardise.mean.clone()
        standardise.eval()(torch.randn(9, 4) + 5)
        assert torch.equal(standardise.mean, before)

    def test_a_dimension_that_never_varies_becomes_0(self) -> None:
        rows = torch.cat([torch.randn(9, 3), torch.full((9, 1), 7.0)], dim=1)
        assert not _Standardisation(4)(rows)[:, 3].any()

    def test_constant_features_stay_finite(self) -> None:
        assert _Standardisation(2)(torch.full((5, 2), 3.0)).isfinite().all()
