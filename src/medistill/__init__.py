"""Turn a large medical-imaging foundation model into the small model a hospital can run.

The public names are imported when they are first asked for, so that `import medistill` is light.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "UserError": ("medistill.errors", "UserError"),
    "read_recipe": ("medistill.recipe", "read_recipe"),
    "train": ("medistill.runs.train", "train"),
    "compare": ("medistill.runs.compare", "compare"),
    "evaluate": ("medistill.runs.evaluate", "evaluate"),
    "predict": ("medistill.runs.predict", "predict"),
    "check": ("medistill.runs.check", "check"),
    "load": ("medistill.runs.load", "load"),
    "analyze": ("medistill.runs.analyze", "analyze"),
    # Not `export` and `report`: those are packages here, and would take the place of a function.
    "export_run": ("medistill.runs.export", "export"),
    "report_run": ("medistill.runs.report", "report"),
}
__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"medistill has no {name!r}; it offers {', '.join(_HOME)}.")
    module, attribute = _HOME[name]
    return getattr(import_module(module), attribute)
