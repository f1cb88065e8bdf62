"""Fuzzers: damaged input must give the correct result or an error that names it.

A fuzzer is a module here with two functions::

    def prepare(folder: Path) -> None       # once in each worker process
    def run(number: int, seed: int) -> tuple[str, str]   # outcome of one case, and details

Outcomes are counted by name; names that start with "bad" fail. `pool` adds "bad: crash" and
"bad: hang". Each module is listed in `FUZZERS`, run shortly by a test of its own, and at length
by `make fuzz`.
"""

#: Names of modules in this folder, which are options of ``python -m tests.robustness``, too.
FUZZERS = ("files", "arguments", "records", "pipelines", "configurations")
