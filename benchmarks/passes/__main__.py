"""``python -m benchmarks.passes``."""

from . import main

if __name__ == "__main__":
    main()
