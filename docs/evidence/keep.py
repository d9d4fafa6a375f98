"""Keep what finished runs found, of a comparison or single, as cells beside those of the grids.

    python docs/evidence/keep.py FOLDER --name baselines --command "medistill compare ..."

A cell that is kept already is left as it is.
"""

import argparse
import json
from pathlib import Path

from grid import HERE, content


def main() -> None:
    """Write a cell for each finished run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of a comparison, or of a run")
    parser.add_argument("--name", required=True, help="what the cells' names begin with")
    parser.add_argument("--command", required=True, help="what made them")
    options = parser.parse_args()
    runs = sorted((options.folder / "cells").glob("*")) or [options.folder]
    for run in runs:
        if (run / "finished").exists():
            file = HERE / "cells" / f"{called(run, options.name, alone=run == options.folder)}.json"
            if not file.exists():
                seconds = round(json.loads((run / "environment.json").read_text())["seconds"])
                cell = {"command": options.command.split(" ")}
                file.write_text(json.dumps(content(cell, run, seconds), indent=1) + "\n")
                print(file.name)


def called(run: Path, name: str, *, alone: bool) -> str:
    """`<name>-<data>[@<percent>]-<entrant>-<seed>`; of a run that stands alone, the name."""
    if alone:
        return name
    data, *between, entrant, seed = run.name.split("--")
    share = "".join(f"@{part.removesuffix('%')}" for part in between if part.endswith("%"))
    return f"{name}-{data}{share}-{entrant}-{seed.removeprefix('seed')}"


if __name__ == "__main__":
    main()
