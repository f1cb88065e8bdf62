"""Plugin for pytest, ``-p benchmarks.bare``: tests that need optional packages skip without them.

For machines that are lent with torch and triton and little else. What is skipped is listed, with
the package that it needs; nothing else is forgiven.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any

import pytest

#: What a machine with a GPU may lack.
OPTIONAL = frozenset(
    ("SimpleITK", "nibabel", "torchio", "monai", "scipy", "hypothesis", "matplotlib", "nilearn")
    + ("PIL", "rich", "typer", "pytest_benchmark")
)
_MISSING = re.compile(r"ModuleNotFoundError: No module named '(\w+)")


def _missing(text: str) -> str | None:
    """The optional package that an error is about, if it is about one."""
    found = _MISSING.findall(text)
    return found[-1] if found and found[-1] in OPTIONAL else None


def _skip(report: Any, where: tuple[str, int]) -> None:
    name = _missing(str(report.longrepr)) if report.failed else None
    if name is not None:
        report.outcome = "skipped"
        report.longrepr = (*where, f"Skipped: {name} is not installed")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """A file that cannot be imported for want of a package is skipped."""
    report = yield
    _skip(report, (str(collector.path), 0))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """So is a test that imports it when it runs."""
    report = yield
    _skip(report, (str(item.path), item.location[1] or 0))
    return report
