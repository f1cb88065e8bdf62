"""Run the tutorials, and write what they print and draw: ``python -m docs.pages``.

A block ```` ```text ```` right after a block of code is what that code prints, and a JPEG of
docs/tutorials is drawn by the page that shows it. Tests compare both with another run.
"""

from __future__ import annotations

import contextlib
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TUTORIALS = ROOT / "docs" / "tutorials"
_BLOCK = re.compile(
    r"^```(python|bash)\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL
)
_FIGURE = re.compile(r"!\[[^\]]*\]\(([\w-]+\.jpg)\)")
_NUMBER = re.compile(r"-?\b\d+(?:\.\d+)?(?:e-?\d+)?")


class Block(NamedTuple):
    """Code of a page.

    Args:
        line: Number of lines before it.
        language: 'python' or 'bash'.
        code: The code.
        output: Output that the page shows; None if it shows none.
    """

    line: int
    language: str
    code: str
    output: str | None


def blocks(text: str) -> list[Block]:
    r"""Return the Python and bash blocks of a page.

    >>> blocks("# Sum\n\n```python\nprint(1 + 1)\n```\n\n```text\n2\n```\n")
    [Block(line=3, language='python', code='print(1 + 1)\n', output='2\n')]
    """
    return [
        Block(text[: found.start(2)].count("\n"), *found.groups())
        for found in _BLOCK.finditer(text)
    ]


def figures(text: str) -> list[str]:
    """Return the names of JPEGs beside a page that it shows.

    >>> figures("![A head](head.jpg) and ![others](../examples/gallery.jpg)")
    ['head.jpg']
    """
    return _FIGURE.findall(text)


def run(page: Path, text: str) -> Iterator[tuple[Block, str]]:
    """Run the blocks of a page as one session in the working folder; yield each with its output.

    Commands of a shell are run in tutorials alone.
    """
    scope: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(text):
        if block.language == "python":
            printed = io.StringIO()
            # the lines of errors are those of the page
            code = compile("\n" * block.line + block.code, str(page), "exec")
            with contextlib.redirect_stdout(printed):
                exec(code, scope)
            yield block, printed.getvalue()
        elif page.parent == TUTORIALS:
            yield block, _shell(block.code)


def _shell(code: str) -> str:
    """Return what commands print; ``torchio-gpu`` is that of this interpreter and repository.

    The working folder and the name of the machine are replaced by others, the same everywhere.
    Commands may end with the exit code 1, by which ``torchio-gpu`` says that cases have failed.
    """
    command = f'torchio-gpu() {{ "{sys.executable}" -m torchio_gpu "$@"; }}\n{code}'
    paths = [str(ROOT), str(ROOT / "kernels"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(
        ["bash", "-c", command], env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode > 1:
        raise RuntimeError(
            f"code must end with the exit code 0 or 1, got {done.returncode}: {code}"
        )
    printed = done.stdout.replace(os.getcwd(), "/home/me/study")
    return printed.replace(f" on {platform.node()}  ", " on laptop  ")


def difference(shown: str, printed: str, tolerance: float = 0) -> str:
    """Return how an output differs from the one of a page; '' if it does not.

    Args:
        shown: Output in the page.
        printed: Output of a run.
        tolerance: Largest relative difference of numbers that have a decimal point, besides one of
            their last digit. Others are counts, and equal.

    >>> difference("3 voxels: 0.71", "3 voxels:  0.68", 0.1)
    ''
    >>> difference("3 voxels: 0.71", "4 voxels: 0.71", 0.1)
    "the page shows 3, the code prints 4 in '4 voxels: 0.71'"
    """
    if [*map(str.split, _NUMBER.split(shown))] != [*map(str.split, _NUMBER.split(printed))]:
        return f"the page shows {shown!r}, the code prints {printed!r}"
    for one, other in zip(_NUMBER.findall(shown), _NUMBER.findall(printed), strict=True):
        decimals = len(one.partition(".")[2])
        allowed = tolerance * abs(float(one)) + 10.0**-decimals if decimals else 0
        if abs(float(one) - float(other)) > allowed * (1 + 1e-9):
            return f"the page shows {one}, the code prints {other} in {printed!r}"
    return ""


def main() -> None:
    """Run all tutorials, or those named; write their outputs and figures."""
    names = sys.argv[1:]
    for page in sorted(TUTORIALS.glob("*.md")):
        if names and page.stem not in names:
            continue
        text = page.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            outputs = iter([*run(page, text)])
            for figure in figures(text):
                shutil.copyfile(figure, TUTORIALS / figure)
            os.chdir(ROOT)

        def fresh(match: re.Match[str], outputs: Iterator[tuple[Block, str]] = outputs) -> str:
            block, printed = next(outputs)
            if block.output is None:
                return match[0]
            return f"```{block.language}\n{block.code}```\n\n```text\n{printed}```"

        page.write_text(_BLOCK.sub(fresh, text), encoding="utf-8")
        print(page.relative_to(ROOT))


if __name__ == "__main__":
    warnings.simplefilter("error")
    main()
