"""The command line, as ``python -m torchio_gpu``."""

from .cli import main

main()
