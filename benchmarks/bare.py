"""Plugin for pytest, ``-p benchmarks.bare``: skip what imports optional packages, without them."""

import re
from collections.abc import Generator
from typing import Any

import pytest

#: Packages that a machine with a GPU may lack; no other is forgiven.
OPTIONAL = "SimpleITK nibabel torchio monai scipy hypothesis matplotlib nilearn PIL rich typer"
_MISSING = re.compile(r"ModuleNotFoundError: No module named '(\w+)")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """Report a test that could not import an optional package as skipped."""
    report = yield
    missing = _MISSING.findall(str(report.longrepr))
    if report.failed and missing and missing[-1] in [*OPTIONAL.split(), "pytest_benchmark"]:
        report.outcome = "skipped"
        report.longrepr = (report.nodeid, 0, f"Skipped: {missing[-1]} is not installed")
    return report


pytest_make_collect_report = pytest_runtest_makereport  # and so a file that cannot be imported
