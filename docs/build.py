"""Build the documentation site: ``python -m docs.build``.

The pages of this folder are copied to build/docs, with pages made of the examples, of the results
of the benchmarks, and of each public name. zensical makes build/site of them, and stops at links
that lead nowhere. The finished pages may load nothing from outside.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import yaml

import torchio_gpu as tio
from torchio_gpu.docstrings import plain_text
from torchio_gpu.names import NAMES, TRANSFORMS

from . import gallery

ROOT = Path(__file__).resolve().parent.parent
#: Files outside docs/ that are part of the site.
OTHERS = {
    "COMING_FROM_TORCHIO.md": "coming_from_torchio.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/RESULTS.md": "results.md",
}
#: Files that are copied as they are, and their folders on the site.
COPIED = {
    "examples/*.jpg": "examples",
    "benchmarks/results/*.png": "results",
    "docs/*.css": ".",
    "docs/tutorials/*.jpg": "tutorials",
}
#: Public names whose value is a string, a number or such: they share a page.
CONSTANTS = [name for name in NAMES if name.isupper()]
_LINK = re.compile(r"(\]\()([^)#\s]+)")
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"(?<!\[)`(?:tio\.)?([A-Z]\w+)`")


def places() -> dict[str, str]:
    """Return where each file of the repository that is part of the site goes.

    >>> places()["examples/register.py"], places()["docs/recipes/README.md"]
    ('examples/register.md', 'recipes/index.md')
    """
    pages = {p.relative_to(ROOT).as_posix() for p in (ROOT / "docs").rglob("*.md")}
    found = {p: p.removeprefix("docs/").replace("README.md", "index.md") for p in sorted(pages)}
    for pattern, folder in COPIED.items():
        copied = {p: (PurePosixPath(folder) / p.name).as_posix() for p in ROOT.glob(pattern)}
        found |= {p.relative_to(ROOT).as_posix(): place for p, place in copied.items()}
    examples = sorted((ROOT / "examples").glob("*.py"))
    return found | OTHERS | {f"examples/{p.name}": f"examples/{p.stem}.md" for p in examples}


def page_of(name: str) -> str:
    """Return the page that describes a public name.

    >>> page_of("RandomFlip"), page_of("INTENSITY")
    ('reference/RandomFlip.md', 'reference/constants.md')
    """
    return f"reference/{'constants' if name in CONSTANTS else name}.md"


def reference() -> dict[str, str]:
    """Return the pages of the reference: one for each public name, and an index."""
    pages = {page_of(name): _directive(name, 1) for name in (*TRANSFORMS, *NAMES)}
    constants = ["# Constants", *(_directive(name, 2) for name in CONSTANTS)]
    pages["reference/constants.md"] = "\n".join(constants)
    lines = ["# Reference", ""]
    for title, names in groups().items():
        lines += [f"## {title}", "", "| name | what it is |", "|---|---|"]
        lines += [f"| [`{n}`]({n}.md) | {_first_line(n)} |" for n in names]
        lines += [""]
    lines += ["[Constants](constants.md) are the keys and types that TorchIO names.", ""]
    return pages | {"reference/index.md": "\n".join(lines)}


def _directive(name: str, level: int) -> str:
    """Return Markdown that mkdocstrings replaces by a heading, the signature and the docstring."""
    return f"::: torchio_gpu.{name}\n    options: {{heading_level: {level}}}\n"


def groups() -> dict[str, list[str]]:
    """Return the public names but constants, by what they are."""
    values = {n: getattr(tio, n) for n in sorted(NAMES, key=str.lower) if n not in CONSTANTS}
    modules = [n for n, value in values.items() if inspect.ismodule(value)]
    functions = [n for n, value in values.items() if inspect.isroutine(value)]
    rest = [n for n in values if n not in modules and n not in functions]
    transforms = sorted(TRANSFORMS, key=str.lower)
    return {"Transforms": transforms, "Classes": rest, "Functions": functions, "Modules": modules}


def _first_line(name: str) -> str:
    text = (inspect.getdoc(getattr(tio, name)) or "").partition("\n\n")[0]
    return plain_text(text).replace("|", r"\|")


def example_page(source: str) -> str:
    """Return a page that shows a script: its docstring as text, and its code.

    >>> example_page('\"\"\"Add: ``python add.py``.\"\"\"\\n\\nprint(1 + 1)\\n')
    '# Add\\n\\nAdd: ``python add.py``.\\n\\n\\n```python\\nprint(1 + 1)\\n```\\n'
    """
    tree = ast.parse(source)
    text = ast.get_docstring(tree) or ""
    code = "".join(source.splitlines(keepends=True)[tree.body[0].end_lineno :]).lstrip()
    title, _, rest = text.partition("\n")
    heading = title.partition(": ``")[0].rstrip(".")
    return f"# {heading}\n\n{title}\n{rest}\n\n```python\n{code}```\n"


def staged(text: str, source: str, found: dict[str, str]) -> str:
    """Return a page as it is on the site: links lead to its pages, names to the reference.

    Args:
        text: Markdown.
        source: Path of the page in the repository.
        found: Places, see :func:`places`.

    Raises:
        ValueError: A link leads to a file that is not part of the site.
    """
    here = PurePosixPath(found[source]).parent.as_posix()

    def target(match: re.Match[str]) -> str:
        if urlsplit(match[2]).scheme:
            return match[0]
        path = os.path.normpath(f"{PurePosixPath(source).parent}/{match[2]}")
        if path not in found:
            raise ValueError(f"{source}: a link must lead to a part of the site, got {match[2]}")
        return match[1] + os.path.relpath(found[path], here)

    def name(match: re.Match[str]) -> str:
        if match[1] not in (*TRANSFORMS, *NAMES):
            return match[0]
        return f"[{match[0]}]({os.path.relpath(page_of(match[1]), here)})"

    def prose(part: str) -> str:
        lines = _LINK.sub(target, part).split("\n")
        return "\n".join(line if line.startswith("#") else _NAME.sub(name, line) for line in lines)

    codes = _CODE.findall(text)
    parts = [prose(part) for part in _CODE.split(text)]
    return "".join(a + b for a, b in zip(parts, [*codes, ""], strict=True))


def stage(folder: Path) -> None:
    """Write all pages of the site, and its configuration, to a folder."""
    found = places()
    for source, place in found.items():
        goal = folder / "docs" / place
        goal.parent.mkdir(parents=True, exist_ok=True)
        if source.endswith((".png", ".jpg", ".css")):
            shutil.copyfile(ROOT / source, goal)
            continue
        text = (ROOT / source).read_text(encoding="utf-8")
        text = example_page(text) if source.endswith(".py") else staged(text, source, found)
        if gallery.HERE in text:
            text = text.replace(gallery.HERE, gallery.page(goal.with_suffix("")))
        text = gallery.with_pictures(text, os.path.relpath(folder / "docs", goal.parent))
        goal.write_text(text, encoding="utf-8")
    for place, text in reference().items():
        goal = folder / "docs" / place
        goal.parent.mkdir(parents=True, exist_ok=True)
        goal.write_text(text, encoding="utf-8")
    configuration = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = [{t: [{n: page_of(n)} for n in names]} for t, names in groups().items()]
    configuration["nav"].append(
        {"Reference": ["reference/index.md", *listed, "reference/constants.md"]}
    )
    configuration |= {"docs_dir": "docs", "site_dir": "site"}
    (folder / "mkdocs.yml").write_text(yaml.safe_dump(configuration), encoding="utf-8")


class _Links(HTMLParser):
    """Addresses that a page loads and links to, and the anchors that it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.anchors |= {values[key] for key in ("id", "name") if key in values}
        address = values.get("src") or values.get("href")
        if address:
            (self.linked if tag == "a" else self.loaded).append(address)


def faults(site: Path) -> Iterator[str]:
    """Return what is wrong with a built site: addresses outside, links that lead nowhere."""
    pages = {
        path.resolve(): _Links(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")
    }
    for path, links in pages.items():
        if path.name == "404.html":  # whose links begin where the site will be
            continue
        where = path.relative_to(site.resolve())
        for address in links.loaded:
            if urlsplit(address).scheme not in ("", "data") or address.startswith("//"):
                yield f"{where} loads {address}"
        for address in (*links.loaded, *links.linked):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                yield f"{where} links to {address}, which does not exist"
            elif parts.fragment and target in pages:
                anchor = unquote(parts.fragment)
                if anchor not in pages[target].anchors and not anchor.startswith("__"):
                    yield f"{where} links to {address}, which has no such place"
    for path in site.rglob("*.css"):
        for address in re.findall(
            r"""(?:url\(|@import )["']?(?:https?:)?//[^)"'\s]+""", path.read_text()
        ):
            yield f"{path.relative_to(site)} loads {address}"


def main(arguments: list[str] | None = None) -> None:
    """Build the site, and check it."""
    p = argparse.ArgumentParser(prog="python -m docs.build", description=__doc__)
    p.add_argument("--folder", type=Path, default=ROOT / "build", help="where pages and site go")
    folder = p.parse_args(arguments).folder.resolve()
    for old in ("docs", "site", ".cache"):
        shutil.rmtree(folder / old, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    stage(folder)
    command = ["-m", "zensical", "build", "--strict", "-f", str(folder / "mkdocs.yml")]
    done = subprocess.run([sys.executable, *command], cwd=ROOT)
    found = [] if done.returncode else list(faults(folder / "site"))
    print(*found, sep="\n", file=sys.stderr)
    if done.returncode or found:
        raise SystemExit("the site has faults, see above")
    print(folder / "site" / "index.html")


if __name__ == "__main__":
    main()
