"""Who may import whom, and what the folders promise."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import medistill

ROOT = Path(medistill.__file__).parent
LEAVES = {
    "types", "catalog", "errors", "results", "case_results", "spreads", "resampling", "documents",
    "grids", "series", "scans", "windows", "shapes", "modalities", "nifti",
}  # fmt: skip
PARTS = LEAVES | {
    "data", "losses", "models", "methods", "training", "evaluation", "analysis", "export",
    "report", "recipe", "assemble", "runs",
}  # fmt: skip
NOUNS = {"types", "catalog", "errors", "resampling"}
SCANS = {"grids", "series", "scans", "modalities"}
MAY_IMPORT = {
    "types": {"errors"},
    "catalog": set(),
    "errors": set(),
    "results": {"errors"},
    "resampling": {"shapes"},
    "shapes": set(),
    "modalities": set(),
    "grids": set(),
    "series": {"errors"},
    "nifti": {"errors", "grids"},
    "scans": {"errors", "grids", "series", "modalities", "nifti"},
    "windows": {"errors", "shapes"},
    "data": NOUNS | SCANS | {"results"},
    "losses": NOUNS,
    "models": NOUNS | {"results"},
    "methods": NOUNS | {"losses", "models"},
    "analysis": NOUNS | {"losses", "models"},
    "training": NOUNS | {"results", "methods"},
    "case_results": {"results"},
    "spreads": set(),
    "evaluation": NOUNS | SCANS | {"results", "case_results", "spreads", "data", "windows"},
    # Of data the formats alone: one way to read an image.
    "export": NOUNS | SCANS | {"results", "data", "windows", "shapes"},
    "report": {"errors", "results", "case_results", "spreads"},
    "documents": {"errors"},
    "recipe": {"catalog", "errors", "documents"},
    "assemble": PARTS - {"runs", "report", "export", "evaluation", "analysis"},
    "runs": PARTS,
    "cli": {"runs", "recipe", "catalog", "errors", "cli"},
    "__main__": {"cli"},
}
LIGHT = ("medistill", "medistill.results", "medistill.data.formats", "medistill.export.runtime",
         "medistill.report.page", "medistill.recipe", "medistill.scans", "medistill.windows",
         "medistill.export.volume_runtime", "medistill.runs.predict",
         "medistill.cli.main")  # fmt: skip


def imports(path: Path) -> set[str]:
    """Modules of ours that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.startswith("medistill.")}


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_data_goes_down_the_tree_and_never_back_up(path: Path) -> None:
    me = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if me == "__init__":
        return
    others = {name.split(".")[1] for name in imports(path)} - {me}
    assert others <= MAY_IMPORT[me], f"{me} may not import {sorted(others - MAY_IMPORT[me])}"


@pytest.mark.parametrize("module", LIGHT)
def test_what_a_hospital_runs_imports_no_torch(module: str) -> None:
    code = f"import sys; sys.modules['torch'] = None; import {module}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_command_line_imports_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "matplotlib", "onnx", "onnxruntime", "pydicom", "pydantic")
    code = f"import sys, medistill.cli.main; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_packages_say_what_they_are_for_and_do_nothing() -> None:
    for path in ROOT.rglob("__init__.py"):
        if path.parent != ROOT:
            (statement,) = ast.parse(path.read_text()).body
            assert isinstance(statement, ast.Expr), f"{path} does more than say what it is"
