"""Somebody who types what a page says, in a folder of their own, with patience for small runs only.

Commands of medistill run within this process: a second import of torch for each would take minutes.
"""

import contextlib
import io
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

import medistill
from medistill.assemble import method_settings, views
from medistill.cli.main import SLIP, run
from medistill.data import phantoms
from medistill.export.latency import Latency, network_latency
from medistill.recipe import Recipe, read_recipe, validate
from tests.attempts import Here
from tests.docs.blocks import Block

SMALL = (
    "training.epochs=1", "data.size=32", "data.views=2", "evaluation.draws=20",
    "student.name=timm/test_resnet",
)  # fmt: skip
PER_CLASS, SIDE = 16, 32  # of phantoms
FILES = {"cat", "cp", "head", "ls", "mkdir", "mv", "rm"}
ELSEWHERE = {"make", "open", "pip", "pre-commit"}  # of the machine, not of medistill


@dataclass
class Reader:
    """Runs blocks in one folder.

    Args:
        folder: Where the reader stands.
        settings: Overrides that the page needs beside `SMALL`, whatever its recipe says.
    """

    folder: Path
    settings: tuple[str, ...] = ()
    namespace: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})

    def follow(self, block: Block) -> None:
        """Do what a block shows; a block of another language is only looked at."""
        if "not-run" in block.marks or "source" in block.marks:
            return
        if "file" in block.marks:
            path = self.folder / block.marks["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif known := {
            "bash": self._bash, "console": self._console, "python": self._python,
            "yaml": self._yaml,
        }.get(block.language):  # fmt: skip
            with contextlib.chdir(self.folder):
                known(block)

    def _bash(self, block: Block) -> None:
        for line in lines(block.text):
            code, output = self._command(line, block)
            assert code == 0, f"{block.where}: {line}\n{output}"

    def _console(self, block: Block) -> None:
        for command, expected in dialogues(block.text):
            code, output = self._command(command, block)
            refused = bool(expected) and expected[0].startswith("medistill: ")
            assert refused or code != SLIP, f"{block.where}: {command}\n{output}"
            _must_show(output, expected, f"{block.where}: {command}")

    def _python(self, block: Block) -> None:
        code = compile("\n" * int(block.where.rpartition(":")[2]) + block.text, block.where, "exec")
        small = (*SMALL, *self._asked(block))

        def read_small(path: Path | str, overrides: list[str] | None = None) -> Recipe:
            return read_recipe(path, [*(overrides or []), *small])  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patch, _silence():
            patch.setattr(medistill, "read_recipe", read_small, raising=False)
            exec(code, self.namespace)

    def _yaml(self, block: Block) -> None:
        document = yaml.safe_load(block.text)
        document.setdefault("data", {}).setdefault("root", "my_images")
        recipe = validate(document)
        method_settings(recipe)
        views(recipe)

    def _command(self, line: str, block: Block) -> tuple[int, str]:
        words = shlex.split(line, comments=True)
        if not words or words[0] in ELSEWHERE:
            return 0, ""
        if "train" in words or "compare" in words:
            small = (*SMALL, *self._asked(block))
            words += [word for setting in small for word in ("--set", setting)]
        if words[0] == "torchrun":
            # As one process: that several come out the same is the matter of tests/runs.
            words = words[words.index("medistill") :]
        if words[0] == "medistill":
            with _silence() as said:
                return run(words[1:]), said.getvalue()
        assert words[0] in FILES, f"{block.where}: who runs {words[0]}? Mark it not-run."
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def _asked(self, block: Block) -> list[str]:
        return [*self.settings, *shlex.split(block.marks.get("with", ""))]


def lines(text: str) -> list[str]:
    """Lines of a shell, with those that go on joined."""
    return text.replace("\\\n", " ").splitlines()


def dialogues(text: str) -> list[tuple[str, list[str]]]:
    """Each command after a `$`, with the lines that it prints."""
    found: list[tuple[str, list[str]]] = []
    for line in lines(text):
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif line.strip():
            found[-1][1].append(line.rstrip())
    return found


def _must_show(output: str, expected: list[str], where: str) -> None:
    """Each line is found after the one before it; `...` stands for anything."""
    rest = output
    for line in expected:
        pattern = ".*".join(map(re.escape, re.split(r"\.\.\.", line)))
        match = re.search(f"^{pattern}[ ]*$", rest, re.MULTILINE)
        assert match, f"{where}\nno line {line!r} in\n{rest}"
        rest = rest[match.end() :]


@contextlib.contextmanager
def _silence() -> Iterator[io.StringIO]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        yield said


@contextlib.contextmanager
def small_world(home: Path) -> Iterator[None]:
    """Inside, phantoms are few and small, and stores lie in a home of the test's own.

    The latency of a network is measured once, and then said again: `tests/export` looks at it.
    """
    make = phantoms.make_phantoms
    measured: list[Latency] = []

    def make_few(
        folder: Path, region: str, *, per_class: int, seed: int = 0, size: int = 96
    ) -> Path:
        few = min(per_class, PER_CLASS)
        return make(folder, region, per_class=few, seed=seed, size=min(size, SIDE))

    def measure_once(*arguments: Any, **settings: Any) -> Latency:
        if not measured:
            measured.append(network_latency(*arguments, **settings))
        return measured[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", os.fspath(home))
        patch.setattr(phantoms, "make_phantoms", make_few)
        patch.setattr("medistill.runs.shipping.network_latency", measure_once)
        patch.setattr("medistill.runs.comparing.running.in_processes", lambda jobs: Here())
        yield
