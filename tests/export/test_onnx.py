import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from medistill.analysis.gradcam import grad_cam
from medistill.data.formats import decode_array
from medistill.errors import UserError
from medistill.export.metadata import Metadata
from medistill.export.onnx import Pipeline, export_onnx, portable, traced
from medistill.export.parity import _Both, check_parity
from medistill.export.runtime import Model, open_session
from medistill.models.backbones.base import build_backbone
from medistill.models.networks import Encoder, Student
from medistill.types import Output
from tests.tiny import tiny_student

from .conftest import CLASSES, Small, config, random_picture


def test_pipeline_of_an_image_of_the_right_size_changes_no_pixel(small: nn.Module) -> None:
    image = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    logits = small(image.permute(0, 3, 1, 2) / 255).logits

    answer = Pipeline(small, 64, 2.0)(image)

    assert torch.allclose(answer, (logits / 2).softmax(1), atol=1e-6)


def test_pixels_are_rounded_half_to_even_as_the_store_does() -> None:
    seen = []

    class Spy(Small):
        def forward(self, images: torch.Tensor) -> object:
            seen.append(images * 255)
            return super().forward(images)

    # Two pixels to one: the mean of 0 and 1 is a half, of 2 and 3 too.
    image = torch.tensor([[0, 1], [0, 1]], dtype=torch.uint8).repeat(8, 8)
    odd = (image + 1)[None, ..., None].repeat(1, 1, 1, 3)
    even = image[None, ..., None].repeat(1, 1, 1, 3)
    # Weights of the widened triangle: inside the image neighbours count 1, 3, 3, 1 of 8.
    Pipeline(Spy().eval(), 8, 1.0)(torch.cat([even]))
    Pipeline(Spy().eval(), 8, 1.0)(torch.cat([odd]))

    assert seen[0][..., 1:-1, 1:-1].unique().tolist() == [0.0]
    assert seen[1][..., 1:-1, 1:-1].unique().tolist() == [2.0]


def test_input_is_open_in_height_and_width_and_the_output_has_a_name(exported: Path) -> None:
    session = open_session(exported)
    (image,), (probabilities,) = session.get_inputs(), session.get_outputs()

    assert (image.name, image.type) == ("image", "tensor(uint8)")
    assert image.shape == [1, "height", "width", 3]
    assert (probabilities.name, probabilities.shape) == ("probabilities", [1, 3])


def test_probabilities_sum_to_one(exported: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 30, 500, 3), np.uint8)
    (probabilities,) = open_session(exported).run(None, {"image": image})

    assert probabilities.sum() == pytest.approx(1)


def test_one_file_holds_all_that_predict_needs(exported: Path) -> None:
    model = onnx.load(exported)
    (entry,) = model.metadata_props
    said = json.loads(entry.value)

    assert entry.key == "medistill"
    assert said["classes"] == CLASSES
    assert said["threshold"] == {"class": "malignant", "value": 0.2, "sensitivity": 0.95}
    assert (said["task"], said["size"], said["temperature"]) == ("breast", 64, 1.5)
    assert said["backbone"] == "torchvision/small"
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert list(exported.parent.iterdir()) == [exported]
    assert model.opset_import[0].version >= 18


def test_file_names_no_path_of_the_machine_that_wrote_it(exported: Path) -> None:
    assert b".py" not in exported.read_bytes()
    assert str(Path.cwd()).encode() not in exported.read_bytes()


def test_the_same_network_gives_the_same_bytes_and_stays_as_it_is(
    small: nn.Module, tmp_path: Path
) -> None:
    small.train()
    before = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    for name in ("first.onnx", "second.onnx"):
        export_onnx(small, config(), tmp_path / name)

    assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()
    assert small.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in small.state_dict().items())


def test_exporter_says_nothing(
    small: nn.Module, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    export_onnx(small, config(), tmp_path / "model.onnx")

    assert capfd.readouterr() == ("", "")


def test_file_holds_the_tensors_of_the_student_alone(small: nn.Module, exported: Path) -> None:
    own = {name for name, _ in small.named_parameters()}
    large = [tensor.name for tensor in onnx.load(exported).graph.initializer if tensor.dims]

    # Small constants of the graph aside, such as the 255 that pixels are divided by.
    assert {name.removeprefix("network.") for name in large if name.endswith("t")} <= own
    assert sum("network." in name for name in large) == len(own)


def test_network_beyond_what_one_file_holds_is_refused_in_one_line(tmp_path: Path) -> None:
    with torch.device("meta"):
        huge = nn.Linear(30_000, 20_000)

    with pytest.raises(UserError, match=r"make 2\.4 GB, but one ONNX file holds 2 GB") as caught:
        export_onnx(huge, config(), tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(
    torch.__version__ < (2, 9),
    reason="torch 2.8 traces what it cannot export; the check against torch is then what notices",
)
def test_network_that_onnx_has_no_words_for_is_refused_in_one_line(tmp_path: Path) -> None:
    class Bound(Small):
        def forward(self, images: torch.Tensor) -> object:
            if images.sum() > 0:  # a decision that no graph can hold
                return super().forward(images)
            return super().forward(-images)

    with pytest.raises(UserError, match="ONNX cannot hold this network") as caught:
        export_onnx(Bound().eval(), config(), tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)


def test_traced_graph_of_fixed_shape_has_no_open_axis(small: nn.Module) -> None:
    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = small

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.network(images).logits

    model = traced(Logits().eval(), torch.rand(1, 3, 9, 9), "image", ["answer"], {}).model_proto
    dims = model.graph.input[0].type.tensor_type.shape.dim

    assert [dim.dim_value for dim in dims] == [1, 3, 9, 9]


@pytest.fixture(scope="module", params=["cnn", "vit"])
def student(request: pytest.FixtureRequest) -> Student:
    """A network that ends in a global average and a Linear."""
    torch.manual_seed(0)
    if request.param == "cnn":
        return tiny_student().eval()
    backbone = build_backbone("timm/test_vit", {"img_size": 32})
    return Student(Encoder(backbone, size=32), 3).eval()


@pytest.fixture(scope="module")
def file(student: Student, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explained") / "model.onnx"
    export_onnx(student, config(size=32), path)
    return path


def test_a_file_stretches_as_its_network_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = build_backbone("timm/test_vit", {"img_size": 32})
    student = Student(Encoder(backbone, stretch=True, size=32), 3).eval()
    export_onnx(student, config(size=32, temperature=1.0), tmp_path / "model.onnx")
    faint = decode_array(random_picture(40, 50).pixels // 8 + 90)
    blank = decode_array(np.full((33, 21, 3), 77, np.uint8))
    for picture in (faint, blank):
        found = Model(tmp_path / "model.onnx").predict(picture)
        pixels = torch.from_numpy(picture.pixels)[None].expand(-1, -1, -1, 3)
        wanted = Pipeline(student, 32, 1.0)(pixels)[0]
        assert found == pytest.approx(wanted.detach().numpy(), abs=1e-5)
        plain = Student(Encoder(backbone, size=32), 3).eval()
        plain.head.load_state_dict(student.head.state_dict())
        unlike = Pipeline(plain, 32, 1.0)(pixels)[0]
        assert not torch.allclose(unlike, wanted, atol=1e-3)


class TestEvidence:
    """The second output, of networks that have one."""

    def test_it_is_grad_cam_up_to_scale(self, student: Student, file: Path) -> None:
        picture = random_picture(32, 32)
        images = torch.from_numpy(picture.pixels).permute(2, 0, 1)[None] / 255
        probabilities, evidence = Model(file).explain(picture)
        classes = torch.arange(3)
        wanted = grad_cam(student, images.expand(3, -1, -1, -1), classes)
        places = evidence.shape[1] * evidence.shape[2]
        found = torch.from_numpy(evidence).relu() / places
        assert found.max() > 0
        assert torch.allclose(found, wanted, atol=1e-5)
        assert Model(file).predict(picture) == pytest.approx(probabilities)

    def test_its_mean_and_the_bias_make_the_probabilities(
        self, student: Student, file: Path
    ) -> None:
        probabilities, evidence = Model(file).explain(random_picture(50, 40))
        logits = evidence.mean((1, 2)) + student.head.bias.detach().numpy()
        exponents = np.exp(logits / 1.5)
        assert probabilities == pytest.approx(exponents / exponents.sum(), abs=1e-5)

    def test_who_does_not_ask_for_it_does_not_wait_for_it(
        self, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = []
        model = Model(file)
        run = model.session.run
        session = SimpleNamespace(run=lambda *given: (asked.append(given), run(*given))[1])
        monkeypatch.setattr(model, "session", session)
        model.predict(random_picture(20, 20))
        ((outputs, _, options),) = asked
        assert outputs == ["probabilities"]
        assert options.only_execute_path_to_fetches

    def test_a_file_with_it_agrees_with_torch(self, student: Student, file: Path) -> None:
        pictures = [random_picture(*size) for size in ((32, 32), (70, 45))]
        assert check_parity(file, student, config(size=32), pictures).largest < 1e-5

    def test_rounded_pixels_are_found_behind_it(self, student: Student, file: Path) -> None:
        both = _Both(file, portable(student), Metadata.of(config(size=32)))
        assert both.rounded(random_picture(40, 40))


def test_network_that_does_not_end_in_an_average_has_no_evidence(tmp_path: Path) -> None:
    class Squared(Small):
        def forward(self, images: torch.Tensor) -> Output:
            last = self.convolution(images - 0.5).relu()
            features = last.flatten(2).mean(2)
            return Output(self.head(features.square()), features, (last,))

    export_onnx(Squared().eval(), config(size=16), tmp_path / "model.onnx")
    model = Model(tmp_path / "model.onnx")
    assert len(model.session.get_outputs()) == 1
    with pytest.raises(UserError, match=r"has no map of evidence: its head .* analyze RUN"):
        model.explain(random_picture(20, 20))
