"""Where a later evaluation of a run is kept: a folder for each task, source and split."""

from hashlib import sha256
from itertools import count
from pathlib import Path

from medistill.results import RunFolder, read_known, write_json

SOURCE = "source.json"


def evaluation_folder(run: RunFolder, task: str, data: Path | str | None, part: str) -> Path:
    """The same for the same question and another for any other, folders of one name included.

    Args:
        run: That is judged again.
        task: Of it.
        data: Somebody else's folder, or None for the run's own.
        part: Of the data: a split, or all.
    """
    source = None if data is None else Path(data).resolve()
    alone = run.tasks() == [task]
    stem = "-".join([*([] if alone else [task]), "own" if source is None else source.name])
    # A run folder is handed on, and where somebody's scans lie is nobody's business.
    place = None if source is None else sha256(str(source).encode()).hexdigest()
    asked = {"task": task, "data": place, "split": part}
    names = (f"{stem}-{part}" if n == 1 else f"{stem}-{n}-{part}" for n in count(1))
    folders = (run.path / "evaluations" / name for name in names)
    folder = next(each for each in folders if read_known(each / SOURCE) in ({}, asked))
    write_json(folder / SOURCE, asked)
    return folder
