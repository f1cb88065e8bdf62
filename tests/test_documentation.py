"""Pages of the documentation: their code runs, outputs and figures are its own, links resolve."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import torchio_gpu as tio
from docs import build, gallery, pages

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs"
RECIPES = sorted(page for page in FOLDER.glob("recipes/*.md") if page.name != "README.md")
TUTORIALS = sorted(pages.TUTORIALS.glob("*.md"))
PAGES = sorted(FOLDER.rglob("*.md"))
#: Largest relative difference of printed numbers after trainings, which amplify the rounding of a
#: processor: without mkldnn and kernels of this library, it was 0.1 at most.
TOLERANCE = 0.2
#: Largest mean difference of the pixels of a figure, of 255: 0.01 without kernels, and 13 for a
#: curve that is upside down; between them is what fonts may change.
PIXELS = 3


def name(page: Path) -> str:
    return page.relative_to(FOLDER).with_suffix("").as_posix()


def blocks(page):
    return pages.blocks(page.read_text(encoding="utf-8"))


CODE = [page for page in PAGES if any(block.language == "python" for block in blocks(page))]


@pytest.mark.parametrize("page", CODE, ids=name)
def test_page_runs(page, tmp_path, monkeypatch):
    """Run the blocks as one session, in a folder of their own, and compare what the page shows."""
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    if page not in (*RECIPES, *TUTORIALS):  # which bring their own files
        x = torch.rand(1, 32, 32, 32)
        tio.ScalarImage(x).save("t1.nii.gz")
        tio.LabelMap((x > 0.5).byte()).save("seg.nii.gz")
    for block, printed in pages.run(page, text):
        if block.output is not None:
            assert not pages.difference(block.output, printed, TOLERANCE), f"line {block.line}"
    for figure in pages.figures(text):
        drawn, shown = pixels(tmp_path / figure), pixels(page.parent / figure)
        assert drawn.shape == shown.shape
        assert np.abs(drawn - shown).mean() < PIXELS, f"{figure} is not what the page draws"


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture, dtype=np.float32)


@pytest.mark.parametrize("page", RECIPES, ids=name)
def test_recipes_have_code_and_are_short(page):
    assert page in CODE, f"{page.name} has no block of Python"
    lines = page.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 100, f"{page.name} is longer than 100 lines"


@pytest.mark.parametrize("page", TUTORIALS, ids=name)
def test_tutorials_are_short_and_show_outputs_and_figures(page):
    text = page.read_text(encoding="utf-8")
    outputs = [block.output for block in blocks(page) if block.output is not None]
    lines = text.count("\n") - sum(output.count("\n") + 3 for output in outputs)
    assert lines <= 150, f"{page.name} has {lines} lines besides outputs"
    assert outputs
    assert pages.figures(text)


def test_every_figure_of_the_tutorials_is_shown():
    shown = [each for page in TUTORIALS for each in pages.figures(page.read_text(encoding="utf-8"))]
    assert sorted(shown) == sorted(path.name for path in pages.TUTORIALS.glob("*.jpg"))


def test_index_names_every_recipe_once():
    index = (FOLDER / "recipes" / "README.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\(([^)#]+)\)", index)
    assert sorted(linked) == [page.name for page in RECIPES]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_within_the_repository_resolve(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_blocks_know_their_lines_and_outputs():
    text = (
        "# Title\n\n```python\nx = 1\n```\n\ntext\n\n```bash\nls\n```\n\n```text\na\nb\n```\n\n"
        "```text\nfurther\n```\n"
    )
    assert pages.blocks(text) == [(3, "python", "x = 1\n", None), (9, "bash", "ls\n", "a\nb\n")]


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("loss 0.45, 3 labels", "loss  0.55, 3 labels", True),
        ("loss 0.45, 3 labels", "loss 0.56, 3 labels", False),
        ("loss 0.001", "loss 0.003", False),
        ("loss 0.45, 3 labels", "loss 0.45, 4 labels", False),
        ("loss 0.45, 3 labels", "gain 0.45, 3 labels", False),
        ("loss 0.45", "loss 0.45\nloss 0.45", False),
        ("loss 0.45", "loss nan", False),
        ("at -0.40 mm", "at 0.40 mm", False),
    ],
)
def test_outputs_are_compared_by_their_words_and_numbers(shown, printed, same):
    assert (not pages.difference(shown, printed, TOLERANCE)) is same


def test_errors_name_the_lines_of_a_page(tmp_path):
    run = pages.run(tmp_path / "page.md", "# Title\n\n```python\n1 / 0\n```\n")
    with pytest.raises(ZeroDivisionError) as error:
        list(run)
    assert error.traceback[-1].lineno == 3  # from 0


def test_commands_of_a_tutorial_are_those_of_this_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "```bash\ntorchio-gpu --version\npwd\n```\n\n```bash\nexit 2\n```\n"
    assert list(pages.run(tmp_path / "page.md", text)) == [], "commands of other pages are not run"
    run = pages.run(pages.TUTORIALS / "page.md", text)
    assert next(run)[1].split()[-2:] == [tio.__version__, "/home/me/study"]
    with pytest.raises(RuntimeError, match="exit code 0 or 1, got 2"):
        next(run)


def test_every_public_name_has_a_page():
    reference = build.reference()
    for public in tio.__all__:
        text = reference[build.page_of(public)]
        assert f"::: torchio_gpu.{public}\n" in text
    listed = [each for names in build.groups().values() for each in names]
    assert sorted([*listed, *build.CONSTANTS]) == sorted(tio.__all__)


def test_every_page_is_in_the_navigation():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    named = re.findall(r"[\w/]+\.md", repr(nav))
    listed = [place for place in build.places().values() if place.endswith(".md")]
    assert sorted(named) == sorted(listed)


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
