"""One tiny run that is trained once and looked at by many tests; its data bear telling names."""

import csv
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

SIZE = 32
COUNTS = {"train": 10, "val": 5, "test": 6}  # of each class
FILE_MARK, PATIENT_MARK, ROOT_MARK = "WARD7", "MRS-BLOGGS", "st-elsewhere"
RECIPE = """\
data: {{root: {root}, name: breast, size: 32, views: 2, store: {store}}}
teacher: {{name: timm/test_resnet, weights: random, size: 64, grid: 2}}
student: {{name: timm/test_efficientnet}}
method:
  name: rd
  reprogramming: {{dropout: 0.1}}
training: {{epochs: 6, batch_size: 8, learning_rate: 1e-3, threads: 1}}
evaluation: {{draws: 20}}
"""


class Phantoms(NamedTuple):
    """Folders of tiny images.

    Args:
        breast: A manifest with splits and patients, whose names must not leave it.
        brain: Classes without splits.
        chest: The same of another region.
        flat: Images without labels.
        store: Where they are decoded to.
    """

    breast: Path
    brain: Path
    chest: Path
    flat: Path
    store: Path


class Finished(NamedTuple):
    """A run as `medistill train` leaves it.

    Args:
        path: Its folder.
        recipe: The file it was trained from.
        said: What was printed.
    """

    path: Path
    recipe: Path
    said: str


def refuse_network(patch: pytest.MonkeyPatch) -> None:
    """From now on nothing reaches another machine."""

    def refused(*_: object, **__: object) -> None:
        raise OSError("no network in this test")

    patch.setattr(socket.socket, "connect", refused)
    patch.setattr(socket, "getaddrinfo", refused)


def quick_finish(patch: pytest.MonkeyPatch, *, export: bool = False) -> None:
    """Leave out what takes seconds each and has tests of its own: latency and, if asked, export."""
    measured = SimpleNamespace(p50_ms=1.0, p95_ms=2.0)
    patch.setattr("medistill.runs.shipping.network_latency", lambda network, size: measured)
    if not export:
        patch.setattr("medistill.runs.finishing.export_task", lambda *_, **__: "not exported")


def written(folder: Path) -> dict[str, int]:
    """When each file of a folder was written."""
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def make_manifest(folder: Path) -> Path:
    """Breast phantoms in one folder, described by a table with splits and patients."""
    from medistill.data.phantoms import FINDINGS, make_phantoms

    rows = []
    for seed, (split, count) in enumerate(COUNTS.items()):
        made = make_phantoms(folder / split, "breast_us", per_class=count, seed=seed, size=SIZE)
        for finding in FINDINGS:
            for number, image in enumerate(sorted((made / finding).iterdir())):
                named = image.rename(folder / f"{FILE_MARK}-{split}-{finding}-{number}.png")
                patient = f"{PATIENT_MARK}-{split}-{finding}-{number // 2}"
                rows.append((named.name, finding, split, patient))
            (made / finding).rmdir()
        made.rmdir()
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split", "patient"), *rows])
    return folder


def write_recipe(path: Path, phantoms: Phantoms, **changes: Any) -> Path:
    """The recipe of the finished run, or one that differs in whole sections."""
    import yaml

    from medistill.documents import parse_yaml

    text = RECIPE.format(root=phantoms.breast, store=phantoms.store)
    document = {**parse_yaml(text, "recipe"), **changes}
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Phantoms:
    from medistill.data.phantoms import make_phantoms

    root = tmp_path_factory.mktemp(ROOT_MARK)
    brain, chest = (
        make_phantoms(root / name, name, per_class=8, size=SIZE)
        for name in ("brain_mr", "chest_xray")
    )
    flat = make_phantoms(root / "loose", "abdomen_ct", per_class=10, size=SIZE) / "normal"
    store = tmp_path_factory.mktemp("store")
    return Phantoms(make_manifest(root / "breast"), brain, chest, flat, store)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, phantoms: Phantoms) -> Iterator[Finished]:
    """Trained by the command line, exported for real, and with the network unplugged."""
    from contextlib import redirect_stdout
    from io import StringIO

    from medistill.cli.main import run

    folder = tmp_path_factory.mktemp("finished")
    recipe, said = write_recipe(folder / "recipe.yaml", phantoms), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said):
        refuse_network(patch)
        quick_finish(patch, export=True)
        assert run(["train", str(recipe), "--out", str(folder / "run")]) == 0
    before = written(folder / "run")
    yield Finished(folder / "run", recipe, said.getvalue())
    after = written(folder / "run")
    changed = [name for name, when in before.items() if after.get(name) != when]
    assert not changed, f"a test wrote to the run that all share: {changed}. Give it a copy."
