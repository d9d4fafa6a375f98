"""What a training costs while it runs: seconds a step, and memory at its peak."""

import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from statistics import median

import torch

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
KIBIBYTE = 1024
PEAK = "5"  # what resets the peak alone, see proc(5)


class Meter:
    """Watches the steps of a training, apart from its validation.

    Memory is that of tensors on a GPU. On a CPU it is what the process holds beyond mapped files:
    images and teacher's features are mapped, and the system may take their pages back at any time.

    Args:
        device: Where the training computes.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.reset()

    def reset(self) -> None:
        """Begin anew: what came before, validation for instance, is no part of the training."""
        self._seconds: list[float] = []
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            with suppress(OSError):  # no Linux, or none that allows it: the peak of all so far
                RESET.write_text(PEAK)

    def step(self, seconds: float) -> None:
        """Count one step."""
        self._seconds.append(seconds)

    def seconds(self) -> float:
        """Median of the steps since the reset: a pause of the machine is none of theirs."""
        return median(self._seconds)

    def peak_bytes(self) -> int | None:
        """Peak since the reset; None where this machine does not tell."""
        if self.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.device))
        return _resident_peak()

    @property
    def of(self) -> str:
        """What the peak is of, for a table's caption."""
        return "tensors on the GPU" if self.device.type == "cuda" else "the process"


def _resident_peak() -> int | None:
    if STATUS.exists():
        found = _status(STATUS.read_text(encoding="utf-8"))
        if "VmHWM" in found:  # a kernel in a sandbox may not tell it
            return found["VmHWM"] - found.get("RssFile", 0)
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * KIBIBYTE


def _status(text: str) -> Mapping[str, int]:
    """The lines that tell kibibytes, in bytes."""
    fields = (line.split() for line in text.splitlines() if line.endswith(" kB"))
    return {name.rstrip(":"): int(count) * KIBIBYTE for name, count, _ in fields}
