"""``python -m benchmarks.static``."""

from . import main

if __name__ == "__main__":
    main()
