"""Run a deployed network over the samples of a split."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import nn

from medistill.evaluation.intervals import groups_of
from medistill.results import PredictionTable
from medistill.types import Batch

Precision = Literal["fp32", "bf16", "fp16"]
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Predictions:
    """Raw answers of a network.

    Args:
        samples: Position of each sample in the data, as the batches stated it.
        targets: Class of each sample; -1 where it has no label.
        logits: Before temperature scaling.
    """

    samples: Int[np.ndarray, " samples"]
    targets: Int[np.ndarray, " samples"]
    logits: Float32[np.ndarray, "samples classes"]


def predict(
    network: nn.Module,
    batches: Iterable[Batch],
    *,
    device: torch.device | str = "cpu",
    precision: Precision = "fp32",
    memory_format: torch.memory_format | None = None,
) -> Predictions:
    """Answers of a network to all batches, in their order.

    The network runs in evaluation mode, and each of its modules is left in the mode it had.

    Args:
        network: What a method deploys for one task; it gives an `Output` with logits.
        batches: Samples of that task.
        device: Where the network lies.
        precision: What its layers compute in; logits come back in fp32.
        memory_format: Layout of the images, the network's own.
    """
    dtype = _DTYPES.get(precision, torch.float32)
    autocast = torch.autocast(torch.device(device).type, dtype, enabled=precision in _DTYPES)
    parts: list[tuple[torch.Tensor, ...]] = []
    with _evaluating(network), torch.inference_mode(), autocast:
        for batch in batches:
            images = batch.to(device, memory_format=memory_format).images
            logits = network(images).logits.float().cpu()
            parts.append((batch.samples.cpu(), batch.targets.cpu(), logits))
    return Predictions(*(torch.cat(column).numpy() for column in zip(*parts, strict=True)))


def probabilities_of(
    logits: Float[np.ndarray, "samples classes"], temperature: float = 1.0
) -> Float32[np.ndarray, "samples classes"]:
    """Softmax of logits over a temperature: what the deployed network gives out."""
    # In float64, and shifted to a largest exponent of 0, which cannot overflow.
    scaled = logits.astype(np.float64) / temperature
    exponents = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True), np.float32)


def tabulate(
    predictions: Predictions,
    *,
    task: str,
    split: str,
    classes: Sequence[str],
    digests: Sequence[str],
    patients: Sequence[str | None],
    temperature: float = 1.0,
) -> PredictionTable:
    """Put names to answers: the table that is judged, and written as it was judged.

    Args:
        predictions: Answers to the samples of one split.
        task: Name of the task.
        split: Name of the split.
        classes: Names of the classes.
        digests: Digest of the pixels of every sample of the data, by position.
        patients: Patient of every sample of the data, by position; only who shares one is kept.
        temperature: Divides the logits.
    """
    positions = predictions.samples.tolist()
    return PredictionTable(
        task,
        split,
        tuple(classes),
        tuple(digests[position] for position in positions),
        predictions.targets,
        probabilities_of(predictions.logits, temperature),
        groups_of([patients[position] for position in positions]),
    )


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    # Module by module: a frozen part that was in evaluation mode must stay there.
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
