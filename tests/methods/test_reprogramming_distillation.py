"""RD: methods.md §1.6, 6 to 8, and what its settings do."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from medistill.errors import UserError
from medistill.losses.similarity import linear_cka
from medistill.methods._settings import Reprogramming, Weights
from medistill.methods.base import faded
from medistill.methods.reprogramming_distillation import ReprogrammingDistillation
from medistill.recipe import checked_settings
from tests.tiny import tiny_batch, tiny_student, tiny_teacher


def rd(grid: int | None = None, **settings) -> ReprogrammingDistillation:
    return ReprogrammingDistillation(tiny_student(), tiny_teacher(grid=grid), **settings)


def gradients(method: ReprogrammingDistillation, part: str) -> list[Tensor | None]:
    return [p.grad for p in getattr(method, part).parameters()]


def learned(method: ReprogrammingDistillation, *terms: str, progress: float = 0.0) -> None:
    losses = method.losses(tiny_batch(), progress)
    method.backward({term: losses[term] for term in terms} if terms else losses)


class TestGradients:
    """§1.6.6."""

    @pytest.mark.parametrize("grid", [None, 1])
    def test_the_teacher_gets_none_and_all_else_gets_some(self, grid: int | None) -> None:
        method = rd(grid)
        learned(method)
        assert all(p.grad is None for p in method.teacher.encoder.parameters())
        assert all(p.grad is not None and p.grad.any() for p in method.student.parameters())
        assert all(g is not None for g in gradients(method, "reprogram"))

    def test_phi_learns_nothing_without_labels_and_geometry_from_detached_logits(self) -> None:
        method = rd(weights=Weights(reprogrammed=0.0, geometry=0.0))
        learned(method)
        assert not any(g is not None and g.any() for g in gradients(method, "reprogram"))
        assert all(g.any() for g in gradients(method, "student"))

    @pytest.mark.parametrize("term", ["logits", "geometry"])
    @pytest.mark.parametrize("detached", [(), ("logits",), ("geometry",), ("logits", "geometry")])
    def test_a_term_reaches_phi_exactly_if_it_is_not_detached(
        self, term: str, detached: tuple
    ) -> None:
        method = rd(detached=detached)
        learned(method, term)
        reached = any(g is not None and g.any() for g in gradients(method, "reprogram"))
        assert reached == (term not in detached)

    def test_the_shared_classifier_learns_from_both_branches(self) -> None:
        for term in ("student", "reprogrammed"):
            method = rd()
            learned(method, term)
            assert method.student.head.weight.grad.any()


class TestFading:
    """§1.6.7."""

    def test_it_falls_linearly_from_1_to_0(self) -> None:
        assert [faded(progress, 0.0) for progress in (0.0, 0.25, 0.5, 1.0)] == [1, 0.75, 0.5, 0]

    def test_it_may_end_above_0_or_stay_at_1(self) -> None:
        assert faded(1.0, 0.3) == pytest.approx(0.3)
        assert [faded(progress, 1.0) for progress in (0.0, 0.5, 1.0)] == [1, 1, 1]

    def test_logits_and_geometry_fade_and_the_labels_do_not(self) -> None:
        batch, method = tiny_batch(), rd().eval()
        first, half, last = (method.losses(batch, progress) for progress in (0.0, 0.5, 1.0))
        for term in ("student", "reprogrammed"):
            assert first[term] == half[term] == last[term]
        for term in ("logits", "geometry"):
            assert_close(half[term], first[term] / 2)
            assert last[term] == 0

    def test_alignments_may_come_in_while_the_reprogramming_learns(self) -> None:
        batch, method = tiny_batch(), rd().eval()
        plain = {at: method.losses(batch, at) for at in (0.1, 0.4, 0.7)}
        method.weights = Weights(rising=0.4)
        for at, share in {0.1: 0.25, 0.4: 1.0, 0.7: 1.0}.items():
            found = method.losses(batch, at)
            assert found["reprogrammed"] == plain[at]["reprogrammed"]
            for term in ("logits", "geometry"):
                assert_close(found[term], share * plain[at][term])
        assert method.losses(batch, 0.0)["geometry"] == 0

    def test_without_both_alignments_the_student_learns_from_both_label_losses_alone(self) -> None:
        batch, method = tiny_batch(), rd(weights=Weights(logits=0.0, geometry=0.0))
        method.backward(method.losses(batch, 0.0))
        found = [p.grad.clone() for p in method.student.parameters()]
        method.zero_grad()
        plain = F.cross_entropy(method.student(batch.images).logits, batch.targets)
        taught = method.student.head(method.reprogram(method.teacher(batch)))
        (plain + F.cross_entropy(taught, batch.targets)).backward()
        expected = [p.grad for p in method.student.parameters()]
        assert_close(found, expected, atol=1e-6, rtol=1e-5)


class TestTerms:
    def test_each_weight_scales_its_term(self) -> None:
        batch, method = tiny_batch(), rd().eval()
        plain = method.losses(batch, 0.0)
        method.weights = Weights(reprogrammed=2.0, logits=3.0, geometry=0.5)
        weighted = method.losses(batch, 0.0)
        factors = {"student": 1.0, "reprogrammed": 2.0, "logits": 3.0, "geometry": 0.5}
        for term, factor in factors.items():
            assert_close(weighted[term], factor * plain[term])

    def test_geometry_is_one_minus_cka_of_what_the_classifier_sees(self) -> None:
        batch, method = tiny_batch(), rd().eval()
        student = method.student(batch.images).features
        similarity = linear_cka(student, method.reprogram(method.teacher(batch)))
        assert_close(method.losses(batch, 0.0)["geometry"], 1 - similarity)

    def test_the_unbiased_geometry_of_a_very_short_batch_is_left_out(self) -> None:
        assert rd(estimator="unbiased").losses(tiny_batch(6), 0.0)["geometry"] == 0

    def test_the_unbiased_estimator_sees_unrelated_features_as_farther_apart(self) -> None:
        torch.manual_seed(1)
        batch, method = tiny_batch(24), rd().eval()
        torch.manual_seed(1)
        unbiased = rd(estimator="unbiased").eval()
        unbiased.load_state_dict(method.state_dict())
        unbiased.teacher = method.teacher
        first, second = method.losses(batch, 0.0), unbiased.losses(batch, 0.0)
        assert second["geometry"] > first["geometry"]

    def test_phi_follows_its_settings(self) -> None:
        plain, slim = rd(), rd(reprogramming=Reprogramming(blocks=1, bottleneck=True, dropout=0.5))
        sizes = [sum(p.numel() for p in m.reprogram.parameters()) for m in (plain, slim)]
        assert sizes[1] < sizes[0] / 2
        assert slim.reprogram.dropout.p == 0.5


class TestDeployment:
    """§1.6.8."""

    def test_the_deployed_student_equals_the_training_graph_bit_for_bit(self) -> None:
        batch, method = tiny_batch(), rd()
        seen: list[Tensor] = []
        method.student.register_forward_hook(lambda _m, _i, output: seen.append(output.logits))
        method.eval().losses(batch, 0.5)
        assert torch.equal(method.deploy()["all"].eval()(batch.images).logits, seen[0])

    def test_neither_phi_nor_the_teacher_is_in_the_deployed_state(self) -> None:
        method = rd()
        (deployed,) = method.deploy().values()
        assert deployed.state_dict().keys() == tiny_student().state_dict().keys()


class TestRecipes:
    def test_a_list_of_yaml_names_the_detached_terms(self) -> None:
        settings = checked_settings(ReprogrammingDistillation, {"detached": []}, "method")
        assert settings["detached"] == ()

    def test_settings_come_from_plain_values(self) -> None:
        given = {"temperature": 10, "weights": {"geometry": 0}, "reprogramming": {"blocks": 1}}
        settings = checked_settings(ReprogrammingDistillation, given, "method")
        assert settings["weights"] == Weights(geometry=0.0)
        method = rd(**settings)
        assert method.temperature == 10 and method.weights.logits == 1

    @pytest.mark.parametrize(
        ("given", "named"),
        [
            ({"temperature": 0}, "temperature"),
            ({"weights": {"geometry": -1}}, "weights.geometry"),
            ({"weights": {"geometri": 1}}, "weights.geometri"),
            ({"weights": {"faded_to": 2}}, "weights.faded_to"),
            ({"estimator": "fair"}, "estimator"),
            ({"detached": ["student"]}, "detached"),
            ({"reprogramming": {"blocks": 0}}, "reprogramming.blocks"),
            ({"alpha": 1}, "alpha"),
        ],
    )
    def test_a_setting_without_sense_is_refused_by_name(self, given: dict, named: str) -> None:
        with pytest.raises(UserError, match=named):
            checked_settings(ReprogrammingDistillation, given, "method")
