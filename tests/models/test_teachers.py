"""A teacher answers for a batch, and no method can train, save or move it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.models.caching import build_cache
from medistill.models.probes import Probe
from medistill.models.teachers import Cached, Frozen, Precomputed, Probed, Teacher, save_features
from medistill.types import Batch, Output


class Tiny(nn.Module):
    """A convolution, a batch norm, and perhaps a head."""

    def __init__(self, classes: int | None = None) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 5, 3, 2, 1), nn.BatchNorm2d(5), nn.ReLU())
        self.head = None if classes is None else nn.Linear(5, classes)

    def forward(self, images: Tensor) -> Output:
        maps = self.layers(images)
        features = maps.mean((2, 3))
        return Output(None if self.head is None else self.head(features), features, (images, maps))


def batch(samples: int = 4, views: int = 1) -> Batch:
    pairs = torch.cartesian_prod(torch.arange(samples), torch.arange(views)).view(-1, 2)
    labels = torch.zeros(len(pairs), dtype=torch.long)
    images = torch.rand(len(pairs), 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return Batch(images, labels, labels, pairs[:, 0], pairs[:, 1], torch.ones(len(pairs)))


def frozen(classes: int | None = None, grid: int | None = None) -> Frozen:
    return Frozen(Tiny(classes), grid=grid, image_shape=(3, 16, 16))


def cached(folder: Path) -> Cached:
    return Cached(
        build_cache(frozen(), [batch()], samples=4, views=1, folder=folder / "cache", key="k")
    )


def precomputed(_: Path) -> Precomputed:
    return Precomputed(torch.rand(4, 5, 2, 2), torch.arange(4))


def probed(_: Path) -> Probed:
    return Probed(frozen(), Probe(torch.rand(3, 5), torch.rand(3), 1.0, 1.0, 0.0))


def of_all_scales(_: Path) -> Frozen:
    return Frozen(Tiny(), scales="all", image_shape=(3, 16, 16))


BUILDERS = [lambda _: frozen(), of_all_scales, cached, precomputed, probed]
EVERY = pytest.mark.parametrize("build", BUILDERS)


@EVERY
def test_every_teacher_yields_the_shapes_that_it_states(
    build: Callable[[Path], Teacher], tmp_path: Path
) -> None:
    teacher = build(tmp_path)
    assert isinstance(teacher, Teacher)
    output = teacher(batch())
    assert output.features.shape == (4, teacher.width)
    assert [tuple(m.shape) for m in output.maps] == [(4, *shape) for shape in teacher.map_shapes]
    assert teacher.map_shapes[-1] == teacher.map_shape
    assert (output.logits is None) == (teacher.classes is None)
    assert {t.dtype for t in (output.features, *output.maps)} == {torch.float32}
    assert not output.features.requires_grad


@EVERY
def test_no_teacher_enters_the_parameters_state_or_mode_of_a_method(
    build: Callable[[Path], Teacher], tmp_path: Path
) -> None:
    method = nn.Linear(2, 2)
    method.teacher = build(tmp_path)
    assert set(method.state_dict()) == {"weight", "bias"}
    assert len(list(method.parameters())) == 2
    assert not isinstance(method.teacher, nn.Module)


def test_statistics_of_a_frozen_teacher_never_move_even_if_somebody_trains_it() -> None:
    teacher = frozen()
    before = {name: value.clone() for name, value in teacher.encoder.state_dict().items()}
    expected = teacher(batch()).features
    teacher.encoder.train()
    assert torch.equal(teacher(batch()).features, expected)
    after = teacher.encoder.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_no_gradient_enters_a_frozen_teacher() -> None:
    teacher, phi = frozen(), nn.Linear(5, 2)
    phi(teacher(batch()).features).sum().backward()
    assert phi.weight.grad is not None
    assert all(parameter.grad is None for parameter in teacher.encoder.parameters())


def test_a_frozen_teacher_gives_its_last_map_alone() -> None:
    assert frozen().map_shape == (5, 8, 8)
    (last,) = frozen()(batch()).maps
    assert last.shape == (4, 5, 8, 8)


def test_a_teacher_asked_for_all_scales_gives_its_maps_as_they_are() -> None:
    teacher = of_all_scales(Path())
    assert teacher.map_shapes == ((3, 16, 16), (5, 8, 8))
    images, _ = teacher(batch()).maps
    assert torch.equal(images, batch().images)


def test_limits_average_the_finer_maps_and_the_grid_the_last() -> None:
    limits, shape = [(40, 40), (8, 20), (2, 2)], (3, 16, 16)
    teacher = Frozen(Tiny(), grid=4, scales="all", limits=limits, image_shape=shape)
    assert teacher.map_shapes == ((3, 8, 16), (5, 4, 4))
    fine, last = teacher(batch()).maps
    expected = batch().images.view(4, 3, 8, 2, 16).mean(3)
    torch.testing.assert_close(fine, expected)
    whole = frozen(grid=4)
    whole.encoder.load_state_dict(teacher.encoder.state_dict())
    torch.testing.assert_close(last, whole(batch()).maps[-1])


def test_a_map_without_a_limit_is_left_as_it_is() -> None:
    teacher = Frozen(Tiny(), scales="all", limits=[None, (2, 2)], image_shape=(3, 16, 16))
    assert teacher.map_shapes == ((3, 16, 16), (5, 8, 8))


def test_maps_finer_than_any_that_is_looked_at_are_left_out() -> None:
    teacher = Frozen(Tiny(), scales="all", limits=[(2, 2)], image_shape=(3, 16, 16))
    assert teacher.map_shapes == ((5, 8, 8),)
    assert len(teacher(batch()).maps) == 1


def test_a_grid_averages_the_map_and_leaves_the_features() -> None:
    teacher = frozen()
    whole = teacher(batch())
    teacher.grid = 4
    pooled = teacher(batch())
    assert torch.equal(pooled.features, whole.features)
    expected = whole.maps[0].view(4, 5, 4, 2, 4, 2).mean((3, 5))
    torch.testing.assert_close(pooled.maps[0], expected)


def test_grid_one_yields_pooled_vectors_alone() -> None:
    teacher = frozen(grid=1)
    assert teacher.map_shape is None
    assert teacher.map_shapes == ()
    assert teacher(batch()).maps == ()


@pytest.mark.parametrize("grid", [0, 9])
def test_a_grid_that_the_map_cannot_fill_is_refused(grid: int) -> None:
    with pytest.raises(UserError, match=r"teacher\.grid .* 8x8\. Set it between 1"):
        frozen(grid=grid)


def test_a_frozen_classifier_states_its_classes_and_gives_logits() -> None:
    teacher = frozen(classes=3)
    assert teacher.classes == 3
    assert teacher(batch()).logits.shape == (4, 3)


def test_volumes_are_pooled_to_a_grid_too() -> None:
    class Volume(nn.Module):
        def forward(self, images: Tensor) -> Output:
            return Output(None, images.mean((2, 3, 4)), (images,))

    assert Frozen(Volume(), grid=2, image_shape=(3, 4, 6, 4)).map_shape == (3, 2, 2, 2)


def test_a_probe_adds_logits_and_changes_nothing_else() -> None:
    probe = Probe(torch.rand(3, 5), torch.rand(3), 1.0, 1.0, 0.0)
    teacher = Probed(frozen(), probe)
    output, plain = teacher(batch()), teacher.teacher(batch())
    assert teacher.classes == 3
    assert torch.equal(output.logits, plain.features @ probe.weight.T + probe.bias)
    assert torch.equal(output.maps[0], plain.maps[0])


SOURCES = [f"train/a/{i}.png" for i in range(4)]


def written(
    folder: Path, features: Tensor, paths: list[str] = SOURCES, views: int = 1
) -> Precomputed:
    save_features(folder / "f.safetensors", features, paths)
    return Precomputed.open(folder / "f.safetensors", SOURCES, views=views)


def test_rows_are_found_by_path_in_any_order_and_extra_rows_do_no_harm(tmp_path: Path) -> None:
    features = torch.rand(5, 6)
    paths = [*reversed(SOURCES), "elsewhere.png"]
    teacher = written(tmp_path, features, paths)
    assert torch.equal(teacher(batch()).features, features[:4].flip(0))


def test_paths_written_on_windows_are_the_same_paths(tmp_path: Path) -> None:
    paths = [source.replace("/", "\\") for source in SOURCES]
    assert written(tmp_path, torch.rand(4, 6), paths).width == 6


def test_half_precision_files_give_float32(tmp_path: Path) -> None:
    features = torch.rand(4, 6).bfloat16()
    assert torch.equal(written(tmp_path, features)(batch()).features, features.float())


def test_each_view_has_its_features(tmp_path: Path) -> None:
    features = torch.rand(4, 3, 6)
    output = written(tmp_path, features, views=3)(batch(views=3))
    assert torch.equal(output.features, features.view(12, 6))


@pytest.mark.parametrize("shape", [(4, 6), (4, 1, 6)])
def test_the_only_view_serves_for_all(tmp_path: Path, shape: tuple[int, ...]) -> None:
    features = torch.rand(shape)
    output = written(tmp_path, features, views=3)(batch(views=3))
    assert torch.equal(output.features, features.view(4, 6).repeat_interleave(3, 0))


def test_fewer_views_than_asked_for_are_refused_at_opening_and_at_the_call(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds 2 views of each image, but 3 are asked for"):
        written(tmp_path, torch.rand(4, 2, 6), views=3)
    teacher = written(tmp_path, torch.rand(4, 2, 6))
    with pytest.raises(UserError, match=r"Set data\.views to 2"):
        teacher(batch(views=3))


@pytest.mark.parametrize("space", [(3, 3), (2, 3, 3)])
def test_maps_are_kept_and_averaged_to_features(tmp_path: Path, space: tuple[int, ...]) -> None:
    features = torch.rand(4, 6, *space)
    teacher = written(tmp_path, features)
    output = teacher(batch())
    assert (teacher.width, teacher.map_shape) == (6, (6, *space))
    assert torch.equal(output.maps[0], features)
    torch.testing.assert_close(output.features, features.flatten(2).mean(2))


def test_missing_paths_are_counted_and_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"2 of 4 images have no row \(train/a/2.png, train/a/3"):
        written(tmp_path, torch.rand(2, 6), SOURCES[:2])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_rows_that_are_not_finite_are_named(tmp_path: Path, value: float) -> None:
    features = torch.rand(4, 6)
    features[2, 1] = value
    with pytest.raises(UserError, match=r"1 rows hold NaN .* train/a/2\.png"):
        written(tmp_path, features)


def test_a_path_that_stands_twice_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"names \./train/a/0\.png twice|names train/a/0\.png"):
        written(tmp_path, torch.rand(5, 6), [*SOURCES, "./" + SOURCES[0]])


def test_as_many_paths_as_rows_are_needed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="3 rows of features, but 4 paths"):
        save_features(tmp_path / "f.safetensors", torch.rand(3, 6), SOURCES)


@pytest.mark.parametrize(
    ("tensors", "metadata", "message"),
    [
        ({"features": torch.rand(4, 6)}, None, "no metadata entry 'paths'"),
        ({"features": torch.rand(4, 6)}, {"paths": "not JSON"}, "no metadata entry 'paths'"),
        ({"other": torch.rand(4, 6)}, {"paths": json.dumps(SOURCES)}, "float tensor 'features'"),
        ({"features": torch.ones(4, 6).long()}, {"paths": json.dumps(SOURCES)}, "float tensor"),
        ({"features": torch.rand(3, 6)}, {"paths": json.dumps(SOURCES)}, "3 rows .* 4 paths"),
    ],
)
def test_files_of_another_form_are_refused(
    tmp_path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None, message: str
) -> None:
    save_file(tensors, tmp_path / "f.safetensors", metadata)
    with pytest.raises(UserError, match=message):
        Precomputed.open(tmp_path / "f.safetensors", SOURCES)


def test_absent_and_broken_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not found"):
        Precomputed.open(tmp_path / "none.safetensors", SOURCES)
    (tmp_path / "broken.safetensors").write_bytes(b"no such thing")
    with pytest.raises(UserError, match="no readable safetensors file"):
        Precomputed.open(tmp_path / "broken.safetensors", SOURCES)


def test_images_of_another_order_still_get_their_own_rows() -> None:
    features = torch.rand(4, 6)
    shuffled = replace(batch(), samples=torch.tensor([2, 0, 3, 0]))
    output = Precomputed(features, torch.arange(4))(shuffled)
    assert torch.equal(output.features, features[[2, 0, 3, 0]])
