"""Machine code of a compiled kernel: what it takes, and how often each instruction is executed."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

import networkx as nx
import triton

_TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
_USAGE = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)")
_PLACE = re.compile(r'//## File "(.+?)", line (\d+)')
_LABEL = re.compile(r"^(\.L\w+):")
_CODE = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)(.*?);")
#: Calls of functions, as of the slow path of a division, lead to names of another kind.
_TARGET = re.compile(r"`\((\.L\w+)\)")
_BITS = re.compile(r"\.[US]?(8|16|64|128)(?=\.|$)")


class Loop(NamedTuple):
    """Instructions that are executed over and over, by their numbers."""

    header: int  # the one that is executed first
    members: set[int]
    places: list[tuple[str, int]]  # file and line of the jumps back to the header, then of it


@lru_cache
def disassemble(cubin: bytes) -> tuple[int, int, nx.DiGraph]:
    """Return registers of a thread, bytes that it spills, and the code; see :func:`parse`."""

    def run(tool: str, *options: str) -> str:
        command = [_TOOLS / tool, *options, file.name]
        return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage, text = run("cuobjdump", "-res-usage"), run("nvdisasm", "-c", "-g")
    registers, stack, local = map(int, _USAGE.search(usage).groups())
    return registers, stack + local, parse(text)


def parse(text: str) -> nx.DiGraph:
    """Return the flow of code that ``nvdisasm -c -g`` prints: instructions, by 'op' and 'place'.

    Those that are never reached, or by calls only, are left out: padding, slow paths of divisions.
    """
    code, labels, jumps, place = nx.DiGraph(), {}, {}, None
    for line in text.splitlines():
        if found := _PLACE.search(line):
            place = found[1], int(found[2])
        elif found := _LABEL.match(line):
            labels[found[1]] = len(code)
        elif found := _CODE.match(line):
            predicate, op, rest = found.groups()
            if op.startswith(("BRA", "CALL")) and (target := _TARGET.search(rest)):
                jumps[len(code)] = target[1]
            # a second predicate may stand among the operands: BRA P1, target
            always = predicate is None and not re.match(r"\s*!?U?P\d", rest)
            ends = always and op.startswith(("BRA", "EXIT", "RET"))
            code.add_node(len(code), op=op, place=place, ends=ends)
    following = [n for n, ends in code.nodes(data="ends") if not ends and n + 1 in code]
    code.add_edges_from((n, n + 1) for n in following)
    code.add_edges_from((n, labels[label]) for n, label in jumps.items() if label in labels)
    return code.subgraph({0} | nx.descendants(code, 0)).copy()


def widths(ops: list[str], kind: str) -> str:
    """Return how many instructions of a kind, 'LDG', move how many bits: '29x32 4x128'."""
    found = (_BITS.search(op) for op in ops if op.startswith(f"{kind}."))
    bits = Counter(int(each[1]) if each else 32 for each in found)
    return " ".join(f"{bits[width]}x{width}" for width in sorted(bits))


def loops(code: nx.DiGraph, within: set[int]) -> Iterator[Loop]:
    """Yield natural loops, each before those within it."""
    for members in nx.strongly_connected_components(code.subgraph(within)):
        if len(members) > 1:
            (header,) = (n for n in members if n == 0 or code.pred[n].keys() - members)
            back = sorted(code.pred[header].keys() & members)
            yield Loop(header, members, [code.nodes[n]["place"] for n in (*back, header)])
            yield from loops(code, members - {header})


def executed(code: nx.DiGraph, trips: Callable[[Loop], float]) -> float:
    """Return how many instructions a thread executes: those of a loop times its trips.

    Both sides of a forward branch count, so this is an upper bound where there are branches. Of two
    loops that come from one line, the longer is unrolled, and the shorter does what it leaves over.
    """
    found = sorted(loops(code, set(code)))
    counts = [float(trips(loop)) for loop in found]
    for (one, long), (other, short) in permutations(enumerate(found), 2):
        twins = long.places[0] == short.places[0] and not long.members & short.members
        if twins and len(long.members) > len(short.members):
            unrolled = round(len(long.members) / len(short.members))
            counts[one], counts[other] = divmod(trips(long), unrolled)
    times = dict.fromkeys(code, 1.0)
    for loop, count in zip(found, counts, strict=True):
        times.update((n, times[n] * count) for n in loop.members)
    return sum(times.values())
