from pathlib import Path

from torch import Tensor, nn

from medistill.export.latency import file_latency, network_latency
from medistill.types import Output


class Encoder(nn.Module):
    """Features without logits, as a teacher gives them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, width, 5)

    def forward(self, images: Tensor) -> Output:
        map_ = self.convolution(images).relu()
        return Output(None, map_.flatten(2).mean(2), (map_,))


def test_wider_network_takes_longer() -> None:
    narrow, wide = (network_latency(Encoder(width), 48, runs=20) for width in (2, 256))

    assert wide.p50_ms > narrow.p50_ms


def test_half_of_the_runs_are_faster_than_the_median_and_few_slower_than_the_tail(
    exported: Path,
) -> None:
    latency = file_latency(exported, height=80, width=60, runs=15)

    assert 0 < latency.p50_ms <= latency.p95_ms
    assert (latency.runs, latency.threads) == (15, 1)


def test_slow_network_is_not_timed_longer_than_asked(exported: Path) -> None:
    assert file_latency(exported, height=64, width=64, runs=10_000, seconds=0.0).runs == 10
