"""One run of a comparison, in a process of its own that ends with the one that began it.

    python -m medistill.runs.comparing.cell RECIPE FOLDER

Its memory is its own, and what kills it leaves the other runs alone.
"""

import os
import sys
import threading
from pathlib import Path

from medistill.errors import Failure, UserError
from medistill.recipe import read_recipe

SLIP, FAILED = 2, 1  # as the command line ends


def main() -> int:
    """Train what a recipe says, from where an earlier attempt stopped."""
    recipe, folder = map(Path, sys.argv[1:])
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    try:
        from medistill.runs.train import train

        train(read_recipe(recipe), folder, resume=True)
    except UserError as error:
        print(error, file=sys.stderr)
        return FAILED if isinstance(error, Failure) else SLIP
    return 0


def _end_with_the_parent() -> None:
    """Whoever began this run holds the other end of its standard input, and dies with it."""
    # Not through sys.stdin, whose lock a thread may hold while the interpreter ends.
    while os.read(0, 1):
        pass
    os._exit(FAILED)


if __name__ == "__main__":
    sys.exit(main())
