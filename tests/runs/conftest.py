"""Runs need no network, and their tests none of the seconds that latency and export take."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from medistill.runs.console import Console
from tests.attempts import Here
from tests.runs.several import FOUNDATION, asked
from tests.trained import Phantoms, quick_finish, refuse_network


@pytest.fixture(autouse=True)
def _alone_and_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_network(monkeypatch)
    quick_finish(monkeypatch)


@pytest.fixture(scope="session")
def together(tmp_path_factory: pytest.TempPathFactory, phantoms: Phantoms) -> Iterator[Path]:
    """A finished comparison of methods of several tasks, with the foundation model as a stage."""
    from medistill.runs.compare import compare

    folder = tmp_path_factory.mktemp("together")
    lorkd = {"name": "knowledge_decomposition", "experts": {"rank": 2}}
    variants = {"foundation": FOUNDATION, "LoRKD": {"after": "foundation", "method": lorkd}}
    block = {"methods": ["multi_task"], "seeds": [0], "variants": variants}
    with pytest.MonkeyPatch.context() as patch:
        refuse_network(patch)
        quick_finish(patch)
        recipe = asked(folder, phantoms, compare=block)
        compare(recipe, folder / "out", console=Console(quiet=True), begin=Here())
    yield folder / "out"
