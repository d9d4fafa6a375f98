"""Turn a large medical-imaging foundation model into the small model a hospital can run.

The public names are imported when they are first asked for, so that `import medistill` is light.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "UserError": "medistill.errors",
    "read_recipe": "medistill.recipe",
    "train": "medistill.runs.train",
    "evaluate": "medistill.runs.evaluate",
    "export": "medistill.runs.export",
    "predict": "medistill.runs.predict",
    "report": "medistill.runs.report",
    "check": "medistill.runs.check",
    "load": "medistill.runs.load",
}
__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"medistill has no {name!r}; it offers {', '.join(_HOME)}.")
    return getattr(import_module(_HOME[name]), name)
