"""One file that carries its preprocessing: a picture's pixels in, probabilities out."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from copy import deepcopy
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import onnx
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.export.metadata import EVIDENCE, PROBABILITIES, Metadata
from medistill.export.session import KEY
from medistill.resampling import resize
from medistill.results import replacing
from medistill.types import Output

OPSET = 18
LIMIT_BYTES = 2_000_000_000  # protobuf ends at 2 GiB, and the graph needs a little itself


class Pipeline(nn.Module):
    """What an exported file computes, step for step as the store and the loader do in training.

    Args:
        network: From images in [0, 1] to `Output` with logits; it normalises for itself.
        size: Edge in pixels of the images that it was trained on.
        temperature: Divides the logits.
    """

    def __init__(self, network: nn.Module, size: int, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.size = size
        self.temperature = temperature

    def forward(self, image: UInt8[Tensor, "1 height width 3"]) -> Float[Tensor, "1 classes"]:
        """Probability of each class."""
        return self.calibrated(self.look(image))

    def look(self, image: UInt8[Tensor, "1 height width 3"]) -> Output:
        """What the network says of the image as it would lie in the store."""
        resized = resize(image.permute(0, 3, 1, 2).float(), self.size)
        # The store keeps 8 bits, rounded half to even.
        stored = resized.round().clamp(0, 255)
        output: Output = self.network(stored / 255)
        return output

    def calibrated(self, output: Output) -> Float[Tensor, "1 classes"]:
        """Probabilities after temperature scaling."""
        assert output.logits is not None, "what has no logits is not exported"
        return (output.logits / self.temperature).softmax(dim=1)


class Explained(nn.Module):
    """A pipeline that also says where in the image it saw what speaks for each class.

    Args:
        pipeline: Its network ends in a global average and a Linear.
        head: That Linear.
    """

    def __init__(self, pipeline: Pipeline, head: nn.Linear) -> None:
        super().__init__()
        self.pipeline = pipeline
        self.head = head

    def forward(
        self, image: UInt8[Tensor, "1 height width 3"]
    ) -> tuple[Float[Tensor, "1 classes"], Float[Tensor, "1 classes a b"]]:
        """Probability of each class, and the evidence for it on the grid of the last map."""
        output = self.pipeline.look(image)
        return self.pipeline.calibrated(output), evidence(self.head, output.maps[-1])


def evidence(
    head: nn.Linear, last: Float[Tensor, "batch width a b"]
) -> Float[Tensor, "batch classes a b"]:
    """The class activation maps: their mean, and the bias, make the logits.

    What is above 0 in them is Grad-CAM, up to scale.
    Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016.
    """
    found: Tensor = head.weight @ last.flatten(2)
    return found.view(len(last), -1, *last.shape[2:])


def export_onnx(network: nn.Module, config: Mapping[str, Any], path: Path) -> None:
    """Write a network with its preprocessing, its calibration and its metadata as one ONNX file.

    The input `image` is uint8 of shape (1, height, width, 3) with any height and width, the output
    `probabilities` float32 of shape (1, classes). Where the network ends in a global average and a
    Linear there is a second output `evidence`, (1, classes, a, b). The same network gives the same
    bytes.

    Args:
        network: From images in [0, 1] to `Output` with logits; it is left as it is.
        config: What `Metadata.of` reads: task, classes, size, backbone, temperature, ...
        path: The file; one that is there already is replaced when the new one is whole.

    Raises:
        UserError: The network is too large for one file, or ONNX has no words for it.
    """
    metadata = Metadata.of(config)
    refuse_too_large(network, path)
    copy = portable(network)
    pipeline = Pipeline(copy, metadata.size, metadata.temperature)
    module: nn.Module = pipeline
    wanted, head = [PROBABILITIES], _averaging_head(copy, metadata.size)
    if head is not None:
        module, wanted = Explained(pipeline, head), [PROBABILITIES, EVIDENCE]
        metadata = replace(metadata, evidence=EVIDENCE)
    example = torch.zeros(1, metadata.size + 5, metadata.size + 3, 3, dtype=torch.uint8)
    height, width = torch.export.Dim("height"), torch.export.Dim("width")
    program = traced(module, example, "image", wanted, {1: height, 2: width})
    write_program(program, metadata.to_json(), path)


def write_program(program: torch.onnx.ONNXProgram, carried: str, path: Path) -> None:
    """Write a graph as one file, whole or not at all, with a document in its metadata.

    Args:
        program: As `traced` gives it.
        carried: The document, as JSON.
        path: The file; one that is there already is replaced.
    """
    model = program.model_proto
    _strip(model)
    onnx.helper.set_model_props(model, {KEY: carried})
    onnx.checker.check_model(model, full_check=True)
    with replacing(path) as draft:
        draft.write_bytes(model.SerializeToString(deterministic=True))


def portable(network: nn.Module) -> nn.Module:
    """A copy on the CPU in float32 and evaluation mode; the network itself does not change."""
    copy = deepcopy(network).cpu().float().eval()
    for module in copy.modules():
        # The exporter mistakes the strides of fused attention with a bias, as in SAM (torch 2.15).
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]
    return copy.to(memory_format=torch.contiguous_format)


def traced(
    module: nn.Module, example: Tensor, given: str, wanted: list[str], dynamic: dict[int, Any]
) -> torch.onnx.ONNXProgram:
    """The graph of a module of one input, made without a word on the terminal.

    Args:
        module: In evaluation mode.
        example: An input of the right type.
        given: Name of the input.
        wanted: Names of the outputs.
        dynamic: Axes of the input that stay open, each with its name.
    """
    try:
        with _silence():
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[given],
                output_names=wanted,
                dynamic_shapes=(dynamic,),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise UserError(f"ONNX cannot hold this network ({reason}). Choose another.") from error
    assert program is not None
    return program


@torch.no_grad()
def _averaging_head(network: nn.Module, size: int) -> nn.Linear | None:
    """The Linear whose maps of evidence average to the logits; None where there is none."""
    head = getattr(network, "head", None)
    if not isinstance(head, nn.Linear):
        return None
    logits, _, maps = network(torch.rand(1, 3, size, size, generator=torch.Generator()))
    if not maps or maps[-1].ndim != 4 or maps[-1].shape[1] != head.in_features:
        return None
    averaged = head(maps[-1].flatten(2).mean(2))
    same = torch.allclose(averaged, logits, rtol=1e-3, atol=1e-3 * logits.abs().max().item())
    return head if same else None


@contextmanager
def _silence() -> Iterator[None]:
    """The exporter prints, logs and warns about itself; none of it is for our user."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            redirect_stdout(StringIO()),
            redirect_stderr(StringIO()),
        ):
            yield
    finally:
        logging.disable(before)


def refuse_too_large(network: nn.Module, path: Path) -> None:
    """Refuse, before any work, a network that one file cannot hold."""
    numbers = sum(tensor.numel() for tensor in [*network.parameters(), *network.buffers()])
    if 4 * numbers > LIMIT_BYTES:
        raise UserError(
            f"{path}: {numbers:,} numbers make {4 * numbers / 1e9:.1f} GB, but one ONNX file "
            f"holds {LIMIT_BYTES / 1e9:.0f} GB. Choose a smaller student."
        )


def _strip(model: onnx.ModelProto) -> None:
    """Drop the exporter's traces: they hold source lines and paths of the machine it ran on."""
    graph = model.graph
    del model.metadata_props[:], graph.metadata_props[:]
    for part in (*graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
