"""Using an exported model: numpy, pillow, pydicom and ONNX Runtime are all it takes; no torch."""

import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import onnxruntime

from medistill.data.formats import Picture, image_files, read_image
from medistill.errors import UserError
from medistill.export.metadata import PROBABILITIES, Metadata
from medistill.export.overlay import Overlays
from medistill.export.session import carried, one_line, open_session, unusable
from medistill.shapes import Float, UInt8

Progress = Callable[[int, int], None]
"""Told how many files are done, and of how many."""
ASKED_ALONE = onnxruntime.RunOptions()
"""Computes the outputs that are asked for, and nothing else."""
ASKED_ALONE.only_execute_path_to_fetches = True
NO_MAP = (
    "{} has no map of evidence: its head reads more than the average of its last map, such as a "
    "class token. Leave out --explain; medistill analyze RUN draws where it looked."
)
TOO_OLD = (
    "{} does not say where it looked: it was written by an older medistill. Export it again: "
    "medistill export RUN."
)


class Model:
    """An exported model: a picture in, a probability per class out.

    Args:
        path: The `.onnx` file.
        threads: As many as ONNX Runtime may use; all cores by default.
        session: Of the file, if it is open already.

    Raises:
        UserError: The file is missing, broken, or was not made by medistill.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None = None,
        session: onnxruntime.InferenceSession | None = None,
    ) -> None:
        self.path = path
        self.session = session or open_session(path, threads)
        self.metadata = _metadata(self.session, path)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the probabilities."""
        return self.metadata.classes

    def predict(self, picture: Picture) -> Float[np.ndarray, " classes"]:
        """Probability of each class."""
        probabilities: Float[np.ndarray, " classes"]
        (probabilities,) = self._asked(picture, [PROBABILITIES])
        return probabilities

    def explain(
        self, picture: Picture
    ) -> tuple[Float[np.ndarray, " classes"], Float[np.ndarray, "classes a b"]]:
        """Probability of each class, and where in the picture the evidence for it lies.

        Raises:
            UserError: The file does not say where.
        """
        probabilities, evidence = self._asked(picture, [PROBABILITIES, self.evidence])
        return probabilities, evidence

    @property
    def evidence(self) -> str:
        """Name of the output that says where the evidence lies; see `explain` for the error."""
        if self.metadata.evidence is None:
            # A file from before there was evidence does not mention it at all.
            mentioned = "evidence" in json.loads(carried(self.session, self.path))
            raise UserError((NO_MAP if mentioned else TOO_OLD).format(self.path))
        return self.metadata.evidence

    def unlike(self, picture: Picture) -> list[str]:
        """Reasons why a picture is unlike the training images."""
        profile = self.metadata.profile
        return profile.unlike(picture) if profile else []

    def _asked(self, picture: Picture, outputs: list[str]) -> list[Any]:
        found = self.session.run(outputs, {"image": three_channels(picture)[None]}, ASKED_ALONE)
        return [batch[0] for batch in found]


@dataclass(frozen=True)
class Summary:
    """What came of predicting many files.

    Args:
        written: How many files got probabilities.
        failures: Files that could not be read, and why.
        flagged: How many of those written are unlike the training images.
    """

    written: int
    failures: dict[str, str]
    flagged: int


def three_channels(picture: Picture) -> UInt8[np.ndarray, "height width 3"]:
    """Pixels as an exported model takes them: grey is repeated."""
    height, width, _ = picture.pixels.shape
    return np.ascontiguousarray(np.broadcast_to(picture.pixels, (height, width, 3)))


def predict_files(
    model: Model,
    inputs: Sequence[Path],
    out: Path | None,
    on_progress: Progress | None = None,
    *,
    overlays: Overlays | None = None,
) -> Summary:
    """Predict files and folders into a CSV table, one row a file.

    A file that cannot be read gets a row that says why, and the rest goes on. Rows are written as
    they come into `<out>.part`, which becomes `out` at the end: a kill loses no finished row, and a
    table that bears its name is whole.

    Args:
        model: What predicts.
        inputs: Images, which are read whatever their suffix, and folders, searched for images.
        out: The table; None prints it.
        on_progress: Told after each file.
        overlays: Draws where the evidence lies; none is drawn by default.

    Raises:
        UserError: An input is missing, there is no image at all, or the table cannot be written.
    """
    files = find_images(inputs)
    _refuse_out(out, files)
    rows, failures, flagged = Rows(model, overlays), {}, 0
    with _table(out) as table:
        writer = csv.DictWriter(table, rows.columns, restval="", lineterminator="\n")
        writer.writeheader()
        for done, file in enumerate(files, start=1):
            row = rows.of(file)
            writer.writerow(row)
            table.flush()
            flagged += bool(row.get("unlike"))
            if "error" in row:
                failures[row["file"]] = row["error"]
            if on_progress:
                on_progress(done, len(files))
    return Summary(len(files) - len(failures), failures, flagged)


def find_images(inputs: Sequence[Path]) -> list[Path]:
    """All files that some files and folders stand for, each once."""
    found = list(dict.fromkeys(chain.from_iterable(map(_files_of, inputs))))
    if not found:
        raise UserError(f"No image in {', '.join(map(str, inputs)) or 'no folder at all'}.")
    return found


def _files_of(given: Path) -> list[Path]:
    """What one input stands for: the images of a folder, or the file itself, whatever it is."""
    if given.is_dir():
        return [given / name for name in image_files(given)]
    if not given.exists():
        raise UserError(f"No file or folder {given} (looked for {given.resolve()}).")
    return [given]


class Rows:
    """Turns files into rows of the table."""

    def __init__(self, model: Model, overlays: Overlays | None = None) -> None:
        self.model = model
        self.overlays = overlays
        self.headers = [f"p:{name}" for name in model.classes]
        decision = ["decision"] if model.metadata.threshold else []
        drawn = ["overlay"] if overlays else []
        self.columns = ["file", "predicted", *decision, *self.headers, *drawn, "unlike", "error"]

    def of(self, file: Path) -> dict[str, str]:
        """The row of one file, with an `error` if it cannot be read."""
        try:
            picture = read_image(file)
            return {"file": file.as_posix(), **self._answers(picture)}
        except Exception as error:  # one odd file must not end a run over thousands
            reason = one_line(error).removeprefix(f"{file}: ")
            return {"file": file.as_posix(), "error": reason}

    def _answers(self, picture: Picture) -> dict[str, str]:
        asked, drawn = self._asked(picture)
        probabilities = [float(value) for value in asked]
        classes, threshold = self.model.classes, self.model.metadata.threshold
        decision = {"decision": threshold.decide(classes, probabilities)} if threshold else {}
        digits = [f"{probability:.6f}" for probability in probabilities]
        return {
            "predicted": classes[probabilities.index(max(probabilities))],
            **decision,
            **dict(zip(self.headers, digits, strict=True)),
            **drawn,
            "unlike": "; ".join(self.model.unlike(picture)),
        }

    def _asked(self, picture: Picture) -> tuple[Float[np.ndarray, " classes"], dict[str, str]]:
        if self.overlays is None:
            return self.model.predict(picture), {}
        probabilities, evidence = self.model.explain(picture)
        best = int(probabilities.argmax())
        told = f"{self.model.classes[best]}, {100 * probabilities[best]:.0f} %"
        return probabilities, {"overlay": self.overlays.save(picture, evidence[best], told)}


def _metadata(session: onnxruntime.InferenceSession, path: Path) -> Metadata:
    text = carried(session, path)
    try:
        return Metadata.from_json(text)
    except (KeyError, TypeError, ValueError) as error:
        raise unusable(path, error) from error


def _refuse_out(out: Path | None, files: Sequence[Path]) -> None:
    if out is None:
        return
    if out.is_dir():
        raise UserError(f"{out} is a folder; name a file for the table, such as {out}/table.csv.")
    if out.resolve() in {file.resolve() for file in files}:
        raise UserError(f"{out} is one of the images; name another file for the table.")


@contextmanager
def _table(out: Path | None) -> Iterator[TextIO]:
    if out is None:
        yield sys.stdout
        return
    part = out.with_name(f"{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8", newline="") as table:
            yield table
        part.replace(out)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror or error}.") from error
