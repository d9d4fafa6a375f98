"""`python -m medistill` is `medistill`."""

from medistill.cli.main import main

main()
