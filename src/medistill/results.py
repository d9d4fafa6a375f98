"""What a run leaves on disk: written by training and evaluation, read by reports; no torch.

Every file is written beside itself and then renamed, so that a reader meets the old one or the new
one and never a half. Nothing here names a patient or a file of the data.
"""

import csv
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypedDict
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray


class Estimate(TypedDict):
    """A measured value and its 95 % interval; None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None


SHARED = "shared"
"""What a backbone that several tasks have in common is called among what a run deploys."""

CELLS = "cells"
"""The folder of a comparison in which its runs lie."""

Metrics = dict[str, dict[str, dict[str, Estimate]]]
"""Split, then task, then metric: the shape of `metrics.json`."""


@dataclass(frozen=True)
class DeployedFolder:
    """One network as it is shipped."""

    path: Path

    @property
    def weights(self) -> Path:
        """Tensors of the network."""
        return self.path / "model.safetensors"

    @property
    def config(self) -> Path:
        """How to rebuild the network, and what its outputs mean."""
        return self.path / "config.json"

    @property
    def onnx(self) -> Path:
        """The network with its preprocessing, for ONNX Runtime."""
        return self.path / "model.onnx"


@dataclass(frozen=True)
class RunFolder:
    """Where each file of a run lies."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.yaml"

    @property
    def environment(self) -> Path:
        """Versions, hardware, and hashes of weights and data."""
        return self.path / "environment.json"

    @property
    def log(self) -> Path:
        """One JSON object a line, appended while training."""
        return self.path / "log.jsonl"

    @property
    def expense(self) -> Path:
        """What the training took: seconds a step, and memory at its peak."""
        return self.path / "expense.json"

    @property
    def splits(self) -> Path:
        """Which images, by the digest of their pixels, stand in which split."""
        return self.path / "splits.json"

    @property
    def last(self) -> Path:
        """Checkpoint that a resume continues from."""
        return self.path / "checkpoints" / "last.pt"

    @property
    def best(self) -> Path:
        """Checkpoint that did best on validation."""
        return self.path / "checkpoints" / "best.pt"

    @property
    def probe(self) -> Path:
        """Linear probe that gives the teacher its logits, where there is one labelled task."""
        return self.path / "probe.safetensors"

    @property
    def predictions(self) -> Path:
        """Probabilities of every judged sample."""
        return self.path / "predictions.csv"

    @property
    def cases(self) -> Path:
        """Of a segmentation: the scores of every judged volume."""
        return self.path / "cases.csv"

    @property
    def metrics(self) -> Path:
        """Metrics by split, task and name, with their intervals."""
        return self.path / "metrics.json"

    @property
    def regions(self) -> Path:
        """Of a segmentation of several tasks: metrics by split, region and name."""
        return self.path / "regions.json"

    @property
    def teacher_metrics(self) -> Path:
        """The same of the teacher's probe, on the same images."""
        return self.path / "teacher-metrics.json"

    @property
    def data(self) -> Path:
        """Classes, counts by split and class, and findings of each task."""
        return self.path / "data.json"

    @property
    def parity(self) -> Path:
        """How far the exported files are from torch."""
        return self.path / "parity.json"

    @property
    def differences(self) -> Path:
        """Paired differences to other runs on the same images."""
        return self.path / "differences.json"

    @property
    def sources(self) -> Path:
        """Digests and thumbnails of the images that were learnt from."""
        return self.path / "sources.json"

    @property
    def cost(self) -> Path:
        """What teacher and student cost, and their ratios; of several tasks each, and together."""
        return self.path / "cost.json"

    @property
    def card(self) -> Path:
        """Model card."""
        return self.path / "README.md"

    @property
    def report(self) -> Path:
        """The page that shows all of it."""
        return self.path / "report.html"

    @property
    def worst(self) -> Path:
        """Folder of the worst mistakes as images."""
        return self.path / "worst"

    @property
    def slices(self) -> Path:
        """Of a segmentation: folder of slices with the outlines of truth and prediction."""
        return self.path / "slices"

    @property
    def analysis(self) -> Path:
        """What `medistill analyze` found, in numbers; its pictures lie beside it."""
        return self.path / "analysis" / "analysis.json"

    def deployed(self, task: str) -> DeployedFolder:
        """The network that answers a task."""
        return DeployedFolder(self.path / "deployed" / task)

    def tasks(self) -> list[str]:
        """Names of the tasks that have a deployed network; what they share is none."""
        found = (self.path / "deployed").glob("*/config.json")
        return sorted({config.parent.name for config in found} - {SHARED})

    @property
    def finished(self) -> bool:
        """Whether the run reached its end."""
        return self._marker.exists()

    def finish(self) -> None:
        """Mark the run as finished; nothing may be written after."""
        write_text(self._marker, "")

    @property
    def _marker(self) -> Path:
        return self.path / "finished"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A draft to write, which takes the place of `path` when all of it is on disk.

    The draft keeps the suffix, lies in the same folder, and is removed when writing it fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{uuid4().hex}-{path.name}")
    try:
        yield draft
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        # Only after the bytes are safe: a power cut must not leave the name without them.
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, value: object) -> None:
    """Write JSON, whole or not at all; what is not finite becomes null."""
    write_text(path, json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """What a JSON file holds."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_known(path: Path) -> dict[str, Any]:
    """What a JSON file holds under each name; nothing when there is no file yet."""
    return read_json(path) if path.exists() else {}


def append_jsonl(path: Path, record: Mapping[str, object]) -> None:
    """Add one line to a log; a line that a kill tore before is dropped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(plain(record), ensure_ascii=False) + "\n"
    with path.open("ab+") as file:
        _drop_torn_line(file)
        file.write(line.encode())


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a log; none when there is no log yet."""
    if not path.exists():
        return []
    # A line counts by its line feed: the torn number 12 of 125 is valid JSON as well.
    *lines, _ = path.read_bytes().split(b"\n")
    return [json.loads(line) for line in lines]


def write_jsonl(path: Path, records: Iterable[Mapping[str, object]]) -> None:
    """Write a log anew: a resume drops what came after its checkpoint."""
    lines = (json.dumps(plain(record), ensure_ascii=False) + "\n" for record in records)
    write_text(path, "".join(lines))


def write_metrics(path: Path, metrics: Metrics) -> None:
    """Write `metrics.json`."""
    write_json(path, metrics)


def read_metrics(path: Path) -> Metrics:
    """Read `metrics.json`."""
    metrics: Metrics = read_json(path)
    return metrics


def plain(value: object) -> object:
    """The same value as JSON knows it: arrays become lists, NaN and infinities become null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    # Sets have no order to keep, and a file should not change with the hash seed.
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, float):  # also np.float64, which is a float
        return float(value) if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return value


def _drop_torn_line(file: BinaryIO) -> None:
    if file.tell() == 0:  # opened for appending, so at its end
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


@dataclass(frozen=True)
class PredictionTable:
    """What a network said about the samples of one task and split.

    Args:
        task: Name of the task.
        split: Name of the split.
        classes: Names of the classes, in the order of the columns of `probabilities`.
        samples: Digest of the pixels of each sample; identical images share it.
        targets: Class of each sample; -1 where it has no label.
        probabilities: As deployed: after temperature scaling.
        groups: Number of each sample's patient, counted from 0 within the task, or -1: it tells
            who belongs together and nothing else.
    """

    task: str
    split: str
    classes: tuple[str, ...]
    samples: tuple[str, ...]
    targets: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    groups: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable class of each sample."""
        return np.asarray(self.probabilities.argmax(axis=1), np.int64)


_COLUMNS = ["task", "split", "sample", "group", "target", "predicted"]
_PROBABILITY = "p:"  # then task/class, since tasks may order the same classes differently


def write_predictions(path: Path, tables: Sequence[PredictionTable]) -> None:
    """Write `predictions.csv`: a row a sample, a probability column per task and class."""
    headers = list(dict.fromkeys(header for table in tables for header in _headers(table)))
    with replacing(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS + headers, restval="")
        writer.writeheader()
        for table in tables:
            writer.writerows(_rows(table))


def read_predictions(path: Path) -> list[PredictionTable]:
    """Read `predictions.csv`: one table per task and split, in the order of the file."""
    rows: dict[tuple[str, str], list[dict[str, str]]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        for row in reader:
            rows.setdefault((row["task"], row["split"]), []).append(row)
        headers = [name for name in reader.fieldnames or () if name.startswith(_PROBABILITY)]
    return [_table(task, split, some, headers) for (task, split), some in rows.items()]


def _headers(table: PredictionTable) -> list[str]:
    return [f"{_PROBABILITY}{table.task}/{name}" for name in table.classes]


def _rows(table: PredictionTable) -> Iterator[dict[str, object]]:
    headers, names = _headers(table), [*table.classes, ""]  # target -1 is the empty name
    columns = zip(
        table.samples, table.groups, table.targets, table.predicted, table.probabilities,
        strict=True,
    )  # fmt: skip
    for sample, group, target, predicted, probabilities in columns:
        known = [table.task, table.split, sample, group, names[target], names[predicted]]
        # Nine digits bring back every float32 bit for bit.
        digits = [f"{probability:.9g}" for probability in probabilities]
        yield dict(zip(_COLUMNS + headers, known + digits, strict=True))


def _table(
    task: str, split: str, rows: list[dict[str, str]], headers: list[str]
) -> PredictionTable:
    own = [name for name in headers if name.startswith(f"{_PROBABILITY}{task}/")]
    classes = tuple(name.removeprefix(f"{_PROBABILITY}{task}/") for name in own)
    place = {name: index for index, name in enumerate(classes)} | {"": -1}
    return PredictionTable(
        task,
        split,
        classes,
        tuple(row["sample"] for row in rows),
        np.array([place[row["target"]] for row in rows], np.int64),
        np.array([[row[name] for name in own] for row in rows]).astype(np.float32),
        np.array([row["group"] for row in rows]).astype(np.int64),
    )
