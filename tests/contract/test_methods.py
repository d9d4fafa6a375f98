"""What holds for every method; a new file in `methods/` is covered before its author writes a test.

No test asks for a method's name: a difference is declared by its class.
"""

import copy
import io
import sys
from typing import ClassVar, get_type_hints

import pytest
import torch
from torch.testing import assert_close

from medistill import catalog
from medistill.errors import UserError
from medistill.methods.base import Method
from medistill.models.networks import Student
from medistill.models.teachers import Frozen
from medistill.types import Batch
from tests.tiny import (
    student_for,
    tiny_batch,
    tiny_judges,
    tiny_settings,
    tiny_tasks,
    tiny_teacher,
    tiny_vit,
)

PACKAGE = "medistill.methods"
MOMENTS = (0.05, 0.5, 0.95)
SHIPPED = ("torch.", "timm.", "medistill.models.networks", "medistill.models.backbones",
           "medistill.models.adapters", "tests.")  # fmt: skip


@pytest.fixture(params=catalog.available(PACKAGE))
def kind(request: pytest.FixtureRequest) -> type[Method]:
    return catalog.find(PACKAGE, request.param, Method)


@pytest.fixture
def batch() -> Batch:
    return tiny_batch()


def teacher_of(kind: type[Method], grid: int | None = None) -> Frozen:
    """A teacher that gives what the method declares to need, and logits."""
    scales = "all" if kind.scales == "all" else "last"
    return tiny_teacher(grid=grid, logits=True, scales=scales)


def build(
    kind: type[Method], teacher: Frozen | None = None, student: Student | None = None
) -> Method:
    teacher = teacher or teacher_of(kind)
    student = student or student_for(kind)
    offered = {
        "student": student, "teacher": teacher, "tasks": tiny_tasks(),
        "judges": tiny_judges(teacher.width),
    }  # fmt: skip
    return kind(*(offered[name] for name in catalog.collaborators(kind)), **tiny_settings(kind))


def descended(method: Method, batch: Batch, progress: float, steps: int) -> list[float]:
    """The loss of each of some steps of Adam."""
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-2)
    history = []
    for _ in range(steps):
        method.train()
        optimizer.zero_grad()
        losses = method.losses(batch, progress)
        method.backward(losses)
        optimizer.step()
        history.append(sum(loss.item() for loss in losses.values()))
    return history


class TestTraining:
    @pytest.mark.parametrize("progress", [0.0, *MOMENTS, 1.0])
    @pytest.mark.parametrize("grid", [None, 2])
    def test_losses_are_finite_scalars(
        self, kind: type[Method], batch: Batch, progress: float, grid: int | None
    ) -> None:
        losses = build(kind, teacher_of(kind, grid)).losses(batch, progress)
        assert losses
        assert all(loss.shape == () and loss.isfinite() for loss in losses.values())

    def test_a_teacher_of_vectors_alone_serves_or_is_refused_as_declared(
        self, kind: type[Method], batch: Batch
    ) -> None:
        vectors = tiny_teacher(grid=1, logits=True)
        if kind.scales == "none":
            assert all(loss.isfinite() for loss in build(kind, vectors).losses(batch, 0.5).values())
        else:
            with pytest.raises(UserError, match="needs the teacher's maps"):
                build(kind, vectors)

    def test_transformers_teach_and_learn_too(self, kind: type[Method], batch: Batch) -> None:
        scales = teacher_of(kind).scales
        teacher = Frozen(tiny_vit(), scales=scales, image_shape=tuple(batch.images.shape[1:]))
        method = build(kind, teacher, tiny_vit())
        losses = method.losses(batch, 0.5)
        method.backward(losses)
        assert all(loss.isfinite() for loss in losses.values())

    def test_losses_stay_in_float32_under_autocast(self, kind: type[Method], batch: Batch) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            losses = build(kind).losses(batch, 0.5)
        assert {loss.dtype for loss in losses.values()} == {torch.float32}

    @pytest.mark.parametrize("progress", [0.05, 0.95])
    def test_loss_falls_in_60_steps_on_one_batch(
        self, kind: type[Method], batch: Batch, progress: float
    ) -> None:
        history = descended(build(kind), batch, progress, steps=60)
        assert history[-1] < history[0]

    def test_every_parameter_receives_a_gradient_at_some_moment_unless_it_is_frozen(
        self, kind: type[Method], batch: Batch
    ) -> None:
        method = build(kind)
        reached = set()
        for progress in MOMENTS:
            method.zero_grad(set_to_none=True)
            method.backward(method.losses(batch, progress))
            reached |= {name for name, p in method.named_parameters() if p.grad is not None}
        assert reached == {name for name, p in method.named_parameters() if p.requires_grad}

    def test_the_same_seed_gives_the_same_losses(self, kind: type[Method], batch: Batch) -> None:
        histories = []
        for _ in range(2):
            torch.manual_seed(3)
            histories.append(descended(build(kind), batch, 0.3, steps=3))
        assert histories[0] == histories[1]

    def test_a_batch_of_several_tasks_or_without_labels_is_no_surprise(
        self, kind: type[Method], batch: Batch
    ) -> None:
        batch.targets[::3] = -1
        losses = build(kind).losses(batch, 0.5)
        assert all(loss.isfinite() for loss in losses.values())


class TestTeacher:
    def test_never_learns_and_never_moves(self, kind: type[Method], batch: Batch) -> None:
        teacher = teacher_of(kind)
        method = build(kind, teacher)
        before = copy.deepcopy(teacher.encoder.state_dict())
        for progress in MOMENTS:
            descended(method, batch, progress, steps=2)
        assert not any(module.training for module in teacher.encoder.modules())
        assert all(p.grad is None for p in teacher.encoder.parameters())
        for name, tensor in teacher.encoder.state_dict().items():
            assert torch.equal(tensor, before[name]), name

    def test_stays_out_of_the_state(self, kind: type[Method]) -> None:
        teacher = teacher_of(kind)
        method = build(kind, teacher)
        inside = {id(p) for p in method.parameters()}
        assert inside.isdisjoint(id(p) for p in teacher.encoder.parameters())
        assert not any("teacher" in key for key in method.state_dict())


class TestDeployment:
    def test_holds_plain_networks_alone(self, kind: type[Method]) -> None:
        for network in build(kind).deploy().values():
            modules = {type(module).__module__ for module in network.modules()}
            assert all(module.startswith(SHIPPED) for module in modules), modules

    def test_leaves_the_teacher_behind_wherever_there_is_a_student(
        self, kind: type[Method]
    ) -> None:
        teacher = teacher_of(kind)
        deployed = build(kind, teacher).deploy().values()
        kept = {id(p) for network in deployed for p in network.parameters()}
        of_the_teacher = kept & {id(p) for p in teacher.encoder.parameters()}
        assert not of_the_teacher or "student" not in catalog.collaborators(kind)

    def test_is_named_by_task_or_all(self, kind: type[Method]) -> None:
        deployed = build(kind).deploy()
        if "tasks" in catalog.collaborators(kind):
            assert deployed and "all" not in deployed
        else:
            assert list(deployed) == ["all"]

    def test_judges_images(self, kind: type[Method], batch: Batch) -> None:
        for network in build(kind).deploy().values():
            logits = network.eval()(batch.images).logits
            assert logits.shape[0] == len(batch) and logits.isfinite().all()

    def test_changes_nothing_of_the_method(self, kind: type[Method]) -> None:
        method = build(kind)
        before = copy.deepcopy(method.state_dict())
        method.deploy()
        assert_close(method.state_dict(), before, rtol=0, atol=0)


class TestCheckpoint:
    def test_a_state_travels_through_a_file(self, kind: type[Method], batch: Batch) -> None:
        torch.manual_seed(1)
        trained, file = build(kind), io.BytesIO()
        descended(trained, batch, 0.3, steps=3)
        torch.save(trained.state_dict(), file)
        file.seek(0)
        torch.manual_seed(1)  # the teacher is the same, the rest is loaded
        fresh = build(kind)
        fresh.load_state_dict(torch.load(file, weights_only=True))
        losses = []
        for method in (trained, fresh):
            torch.manual_seed(2)  # as `fit` restores what a method draws from
            losses += descended(method, batch, 0.6, steps=1)
        assert losses[0] == losses[1]


class TestForm:
    def test_names_its_paper(self, kind: type[Method]) -> None:
        assert get_type_hints(Method)["paper"] == ClassVar[str]
        assert len(kind.paper) > 10

    def test_stands_alone_in_the_file_of_its_name(self, kind: type[Method]) -> None:
        module = sys.modules[kind.__module__]
        public = [
            name
            for name, value in vars(module).items()
            if isinstance(value, type)
            and value.__module__ == module.__name__
            and not name.startswith("_")
        ]
        file = module.__name__.rpartition(".")[2]
        assert public == ["".join(word.capitalize() for word in file.split("_"))]

    def test_keeps_to_the_four_collaborators(self, kind: type[Method]) -> None:
        assert set(catalog.collaborators(kind)) <= {"student", "teacher", "tasks", "judges"}

    def test_every_setting_has_a_type_and_a_default(self, kind: type[Method]) -> None:
        for parameter in catalog.settings(kind).values():
            assert parameter.default is not parameter.empty, parameter
            assert parameter.annotation is not parameter.empty, parameter


def test_aliases_are_unique_and_no_method_is_called_like_one() -> None:
    kinds = [catalog.find(PACKAGE, name, Method) for name in catalog.available(PACKAGE)]
    names = [alias for kind in kinds for alias in kind.aliases] + catalog.available(PACKAGE)
    assert len(names) == len(set(names))
