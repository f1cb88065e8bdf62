"""``python -m benchmarks``."""

from .versus import main

if __name__ == "__main__":
    main()
