"""Sections of pages that are made, between markers."""

from __future__ import annotations

from pathlib import Path


def markers(section: str) -> tuple[str, str]:
    """Return what a section stands between."""
    return f"<!-- {section}:start -->", f"<!-- {section}:end -->"


def renew(page: Path, section: str, text: str) -> bool:
    """Replace what stands between the markers of a section; False if there are none."""
    old = page.read_text(encoding="utf-8") if page.exists() else ""
    first, last = markers(section)
    head, start, rest = old.partition(first)
    _, end, tail = rest.partition(last)
    if not (start and end):
        return False
    page.write_text(f"{head}{first}\n{text}\n{last}{tail}", encoding="utf-8")
    return True
