"""How long one image takes on a CPU, by ONNX Runtime."""

import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from medistill.export.onnx import portable, traced
from medistill.export.runtime import ASKED_ALONE
from medistill.export.session import open_session

WARM_UP = 3
FEWEST = 10  # runs, however slow


@dataclass(frozen=True)
class Latency:
    """Time for one image, when the network is warm.

    Args:
        p50_ms: Half of the runs took no longer.
        p95_ms: Nor did 95 % of them.
        threads: How many ONNX Runtime might use.
        runs: How many were timed.
    """

    p50_ms: float
    p95_ms: float
    threads: int
    runs: int


def network_latency(
    network: nn.Module, size: int, *, threads: int = 1, runs: int = 50, seconds: float = 10.0
) -> Latency:
    """Latency of a network alone, so that teachers and students compare whatever they answer.

    Args:
        network: From images in [0, 1] to `Output`; without logits, its features count.
        size: Edge in pixels of the image.
        threads: As many as ONNX Runtime may use.
        runs: How many to time.
        seconds: After so long no further run begins, once there were a few.
    """
    image = torch.rand(1, 3, size, size)
    program = traced(_Answer(portable(network)), image, "image", ["answer"], {})
    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        program.save(path, external_data=True)  # a teacher may exceed what one file holds
        return _measure(open_session(path, threads), image.numpy(), threads, runs, seconds)


def file_latency(
    path: Path,
    *,
    height: int,
    width: int,
    threads: int = 1,
    runs: int = 50,
    seconds: float = 10.0,
) -> Latency:
    """Latency of an exported file for a picture of some height and width, preprocessing included.

    See `network_latency` for the other arguments.
    """
    image = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    return _measure(open_session(path, threads), image, threads, runs, seconds)


class _Answer(nn.Module):
    """One tensor of a network's output, for a graph of one output."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Float[Tensor, "1 3 size size"]) -> Float[Tensor, "1 width"]:
        output = self.network(images)
        answer: Tensor = output.features if output.logits is None else output.logits
        return answer


def _measure(
    session: onnxruntime.InferenceSession,
    image: NDArray[np.uint8] | NDArray[np.float32],
    threads: int,
    runs: int,
    seconds: float,
) -> Latency:
    # The answer alone: nobody waits for the evidence who has not asked for it.
    wanted = [session.get_outputs()[0].name]
    for _ in range(WARM_UP):
        session.run(wanted, {"image": image}, ASKED_ALONE)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < runs and (len(times) < FEWEST or time.perf_counter() < end):
        start = time.perf_counter()
        session.run(wanted, {"image": image}, ASKED_ALONE)
        times.append(1000 * (time.perf_counter() - start))
    p50, p95 = np.percentile(times, [50, 95])
    return Latency(float(p50), float(p95), threads, len(times))
