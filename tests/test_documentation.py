"""Pages of the documentation: their code runs, their links lead somewhere, the site is whole."""

import re
import sys
from pathlib import Path

import pytest
import torch
import yaml

import torchio_gpu as tio
from docs import build, gallery

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs"
RECIPES = sorted(page for page in FOLDER.glob("recipes/*.md") if page.name != "README.md")
PAGES = sorted(FOLDER.rglob("*.md"))
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def name(page: Path) -> str:
    return page.relative_to(FOLDER).with_suffix("").as_posix()


def blocks(text):
    """Return the Python blocks of a page, each with the number of lines before it."""
    return [(text[: found.start(1)].count("\n"), found[1]) for found in _BLOCK.finditer(text)]


CODE = [page for page in PAGES if blocks(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", CODE, ids=name)
def test_page_runs(page, tmp_path, monkeypatch):
    """Run the blocks as one session, in a folder of their own; errors name lines of the page."""
    monkeypatch.chdir(tmp_path)
    if page not in RECIPES:  # which bring their own files
        x = torch.rand(1, 32, 32, 32)
        tio.ScalarImage(x).save("t1.nii.gz")
        tio.LabelMap((x > 0.5).byte()).save("seg.nii.gz")
    scope = {"__name__": "__main__"}
    for lines, block in blocks(page.read_text(encoding="utf-8")):
        exec(compile("\n" * lines + block, str(page), "exec"), scope)


@pytest.mark.parametrize("page", RECIPES, ids=name)
def test_recipes_have_code_and_are_short(page):
    assert page in CODE, f"{page.name} has no block of Python"
    lines = page.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 100, f"{page.name} is longer than 100 lines"


def test_index_names_every_recipe_once():
    index = (FOLDER / "recipes" / "README.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\(([^)#]+)\)", index)
    assert sorted(linked) == [page.name for page in RECIPES]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_within_the_repository_resolve(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_blocks_know_their_lines():
    text = "# Title\n\n```python\nx = 1\n```\n\ntext\n\n```python\n1 / 0\n```\n"
    assert blocks(text) == [(3, "x = 1\n"), (9, "1 / 0\n")]


def test_every_public_name_has_a_page():
    pages = build.reference()
    for public in tio.__all__:
        text = pages[build.page_of(public)]
        assert f"::: torchio_gpu.{public}\n" in text
    listed = [each for names in build.groups().values() for each in names]
    assert sorted([*listed, *build.CONSTANTS]) == sorted(tio.__all__)


def test_every_page_is_in_the_navigation():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    named = re.findall(r"[\w/]+\.md", repr(nav))
    pages = [place for place in build.places().values() if place.endswith(".md")]
    assert sorted(named) == sorted(pages)


def test_links_and_names_of_a_page_lead_to_pages_of_the_site():
    found = build.places()
    text = "# `Blur`\nSee [a](../../examples/register.py) and `tio.Blur`.\n```python\n`Blur`\n```\n"
    expected = (
        "# `Blur`\nSee [a](../examples/register.md) and [`tio.Blur`](../reference/Blur.md).\n"
        "```python\n`Blur`\n```\n"
    )
    assert build.staged(text, "docs/recipes/monai.md", found) == expected
    with pytest.raises(ValueError, match=r"docs/index.md: .* got ../pyproject.toml"):
        build.staged("[x](../pyproject.toml)", "docs/index.md", found)


def test_examples_of_docstrings_become_blocks_of_code():
    docstrings = pytest.importorskip("docs.docstrings", reason="griffe needs Python 3.11")
    text = "Add.\n\n>>> 1 + 1\n2\n\nEnd, as :func:`predict` and :func:`of_others` do."
    assert docstrings.markdown(text) == (
        "Add.\n\n```pycon\n>>> 1 + 1\n2\n```\n\n"
        "End, as [`predict`][torchio_gpu.predict] and `of_others` do."
    )


def test_faults_of_a_site_are_named(tmp_path):
    (tmp_path / "style.css").write_text('@import "https://fonts.example/a.css";')
    (tmp_path / "a.html").write_text('<h1 id="top">A</h1><a href="https://example.org">fine</a>')
    (tmp_path / "index.html").write_text(
        '<script src="https://cdn.example/x.js"></script><link href="//cdn.example/y.css">'
        '<a href="a.html#top">A</a><a href="a.html#middle">B</a><a href="b.html">C</a>'
    )
    assert list(build.faults(tmp_path)) == [
        "index.html loads https://cdn.example/x.js",
        "index.html loads //cdn.example/y.css",
        "index.html links to a.html#middle, which has no such place",
        "index.html links to b.html, which does not exist",
        'style.css loads @import "https://fonts.example/a.css',
    ]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="zensical needs Python 3.11")
def test_site_is_built_and_has_no_faults(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    build.main(["--folder", str(tmp_path)])
    for public in ("RandomFlip", "Subject", "predict", "functional"):
        page = tmp_path / "site" / "reference" / public / "index.html"
        assert f'id="torchio_gpu.{public}"' in page.read_text(encoding="utf-8")
    cards = (tmp_path / "site" / "gallery" / "index.html").read_text(encoding="utf-8")
    for transform in gallery.names():
        assert f'href="../reference/{transform}/"' in cards
        assert re.search(rf'<img alt="{transform}, before and after: [^"]+" src="[^"]+', cards)
        assert (tmp_path / "site" / "gallery" / f"{transform}.jpg").stat().st_size > 5000
    assert gallery.HERE not in cards
