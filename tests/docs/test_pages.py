"""Every block of the pages does what it says; a page that went stale is a test that fails."""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import medistill.methods
from tests.docs.blocks import blocks, page_mark
from tests.docs.reader import ELSEWHERE, Reader, lines, small_world

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TUTORIAL = DOCS / "tutorial.md"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted(p for p in DOCS.rglob("*.md") if "evidence" not in p.parts),
]
OTHERS = [page for page in PAGES if page != TUTORIAL]
NOT_RUN = {
    "docs/README.md": 1,
    "docs/how-to/add-a-method.md": 1,
    "docs/how-to/choose-a-segmenter.md": 1,
    "docs/how-to/compare-methods.md": 3,
    "docs/how-to/offline.md": 2,
    "docs/how-to/several-processes.md": 1,
}
README = ("teacher.name=timm/test_resnet", "teacher.weights=foundation.safetensors",
          "teacher.grid=1")  # fmt: skip


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home whose decoded images and teacher's features all pages share."""
    folder = tmp_path_factory.mktemp("home")
    with small_world(folder):
        yield folder


@pytest.fixture(scope="session")
def tutorial(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of somebody who followed the tutorial to its end."""
    folder = tmp_path_factory.mktemp("tutorial")
    reader = Reader(folder)
    for block in blocks(TUTORIAL):
        reader.follow(block)
    known = folder / "runs/foundation/deployed/brain_mr/model.safetensors"
    shutil.copy(known, folder / "foundation.safetensors")
    return folder


@pytest.fixture
def folder(tutorial: Path, tmp_path: Path) -> Path:
    """A copy of the tutorial's folder, for one page to change."""
    return shutil.copytree(tutorial, tmp_path / "here")


@pytest.fixture
def _methods_of_the_reader(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A method that a page adds is found as if it lay in the package."""
    before = set(sys.modules)
    theirs = folder / "src/medistill/methods"
    monkeypatch.setattr(medistill.methods, "__path__", [*medistill.methods.__path__, str(theirs)])
    yield
    for added in set(sys.modules) - before:
        if added.startswith("medistill.methods."):
            del sys.modules[added]


def test_the_tutorial_ends_with_predictions(tutorial: Path) -> None:
    assert (tutorial / "new.csv").read_text().startswith("file,predicted,p:benign")


@pytest.mark.usefixtures("_methods_of_the_reader")
@pytest.mark.parametrize("page", OTHERS, ids=name)
def test_a_page_does_what_it_says(page: Path, folder: Path) -> None:
    world = page_mark(page, "runs-with") or "images"
    if world == "images":
        shutil.rmtree(folder / "runs")
        (folder / "recipe.yaml").unlink()
    if page == ROOT / "README.md":  # where the other hospital has a word of its own
        (folder / "other_hospital/malignant").rename(folder / "other_hospital/cancer")
    reader = Reader(folder, README if page == ROOT / "README.md" else ())
    for block in blocks(page):
        reader.follow(block)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_quotation_stands_in_its_source(page: Path) -> None:
    for block in (block for block in blocks(page) if "source" in block.marks):
        text = (ROOT / block.marks["source"]).read_text(encoding="utf-8")
        known = {line.strip() for line in text.splitlines()}
        assert {line.strip() for line in block.text.splitlines()} <= known, block.where


def test_hardly_a_block_is_left_out_and_each_is_known() -> None:
    left_out = {
        name(page): sum("not-run" in block.marks for block in blocks(page)) for page in PAGES
    }
    assert {page: count for page, count in left_out.items() if count} == NOT_RUN


def test_what_is_left_to_the_machine_is_not_medistill() -> None:
    for page in PAGES:
        for block in (b for b in blocks(page) if b.language == "bash"):
            for line in lines(block.text):
                assert not (line.split(" ")[0] in ELSEWHERE and " medistill " in line), line


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{name(page)} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_anchor_is_a_heading(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)]+)\)", page.read_text("utf-8")):
        if "://" not in target:
            text = (page.parent / target if target else page).read_text(encoding="utf-8")
            assert anchor in headings(text), f"{name(page)} links to {target}#{anchor}"


def headings(text: str) -> set[str]:
    """Anchors as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in found}
