"""The command line, as ``python -m torchio_gpu.cli``."""

from . import main

main()
