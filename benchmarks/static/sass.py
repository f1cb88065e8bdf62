"""Machine code of a compiled kernel: what is in it, and how often each instruction is executed."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

#: A file and a line of it.
Place = tuple[str, int]

_PLACE = re.compile(r'//## File "(.+?)", line (\d+)')
_LABEL = re.compile(r"^(\.L\w+):")
_CODE = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:(@!?U?P\w+)\s+)?([A-Z][A-Z0-9_.]*)(.*?);")
_TARGET = re.compile(r"`\((\.L\w+)\)")
_USAGE = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")
#: What jumps to a label. Some calls do too; those of functions, as of the slow path of a division,
#: lead to names of another kind.
_JUMPS = ("BRA", "CALL")
#: What is not followed by the next instruction, if it is executed.
_ENDS = ("BRA", "EXIT", "RET")
#: Instructions by which memory is read and written. Local memory is where registers are spilled to.
_MEMORY = {
    "LDG": "loads",
    "STG": "stores",
    "LDL": "local_loads",
    "STL": "local_stores",
    "ATOMG": "atomics",
    "ATOM": "atomics",
    "RED": "atomics",
    "REDG": "atomics",
}
_BITS = {"8": 8, "U8": 8, "S8": 8, "16": 16, "U16": 16, "S16": 16, "64": 64, "128": 128}


class Usage(NamedTuple):
    """What a kernel takes, of each thread: registers, and bytes of its stack and local memory."""

    registers: int
    stack: int
    local: int


class Instruction(NamedTuple):
    """One line of machine code.

    Args:
        op: As the disassembler calls it: 'LDG.E.128'.
        place: The line of source that it comes from, where that is known.
        target: The instruction that it may jump to.
        always: Whether it is executed whatever the predicates say.
    """

    op: str
    place: Place | None
    target: int | None
    always: bool

    @property
    def kind(self) -> str:
        """The operation without its modifiers: 'LDG'."""
        return self.op.partition(".")[0]

    @property
    def bits(self) -> int:
        """Of a load or store, how many bits a thread moves."""
        return next((_BITS[part] for part in self.op.split(".") if part in _BITS), 32)


class Loop(NamedTuple):
    """Instructions that are executed over and over.

    Args:
        members: Their numbers.
        places: Lines of source that the jumps back come from, then those of where they lead.
    """

    members: frozenset[int]
    places: tuple[Place, ...]


#: How often a loop runs each time it is reached. Several loops that come from one line of source
#: are one, unrolled, and what is left over.
Trips = Callable[[Loop], float]


class Code:
    """The code of one kernel.

    Args:
        instructions: In the order of memory.
    """

    def __init__(self, instructions: list[Instruction]) -> None:
        self.all = instructions
        self._blocks, self._next = _blocks(instructions)
        reached = sorted(_reach([0], self._next)) if instructions else []
        #: Without what is never reached, or by calls only: padding, and slow paths of divisions.
        self.reached = [n for block in reached for n in self._blocks[block]]

    @staticmethod
    def parse(text: str) -> Code:
        """Code as ``nvdisasm -c -g`` prints it."""
        rows: list[tuple[str, Place | None, str | None, bool]] = []
        labels: dict[str, int] = {}
        place = None
        for line in text.splitlines():
            if found := _PLACE.search(line):
                place = found[1], int(found[2])
            elif found := _LABEL.match(line):
                labels[found[1]] = len(rows)
            elif found := _CODE.match(line):
                _, predicate, op, rest = found.groups()
                jump = _TARGET.search(rest) if op.startswith(_JUMPS) else None
                # a second predicate may stand among the operands: BRA P1, target
                always = predicate is None and not re.match(r"\s*!?U?P\d", rest)
                rows.append((op, place, jump[1] if jump else None, always))
        return Code([Instruction(o, p, labels.get(t) if t else None, a) for o, p, t, a in rows])

    def mix(self) -> Counter[str]:
        """How many instructions of each kind there are."""
        return Counter(self.all[n].kind for n in self.reached)

    def memory(self) -> dict[str, dict[int, int]]:
        """How many instructions move how many bits: of 'loads', 'stores', 'local_loads', ..."""
        found: dict[str, Counter[int]] = {name: Counter() for name in _MEMORY.values()}
        for n in range(len(self.all)):  # also in slow paths
            instruction = self.all[n]
            if instruction.kind in _MEMORY:
                found[_MEMORY[instruction.kind]][instruction.bits] += 1
        return {name: dict(sorted(counts.items())) for name, counts in found.items()}

    def loops(self) -> list[Loop]:
        """Natural loops: from where a jump back leads to where it comes from."""
        before = _dominators(self._next)
        back = defaultdict(list)
        for block, following in self._next.items():
            for header in following:
                if header in before.get(block, ()):
                    back[header].append(block)
        inverse = _inverse(self._next)
        found = []
        for header, ends in sorted(back.items()):
            blocks = {header} | _reach(ends, inverse, header)
            members = frozenset(n for block in blocks for n in self._blocks[block])
            at = [self._blocks[end][-1] for end in ends] + [self._blocks[header][0]]
            places = dict.fromkeys(p for n in at if (p := self.all[n].place))
            found.append(Loop(members, tuple(places)))
        return found

    def executed(self, trips: Trips) -> float:
        """How many instructions a thread executes: those of a loop times its trips.

        Both sides of a forward branch count, so this is an upper bound where there are branches.
        """
        times = dict.fromkeys(self.reached, 1.0)
        loops = self.loops()
        for loop, count in zip(loops, _shared(loops, trips), strict=True):
            for n in loop.members & times.keys():
                times[n] *= count
        return sum(times.values())


@lru_cache
def disassemble(cubin: bytes, tools: Path) -> tuple[Usage, Code]:
    """Take a compiled kernel apart.

    Args:
        cubin: The kernel.
        tools: Where cuobjdump and nvdisasm are.
    """
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage = _run(tools / "cuobjdump", "-res-usage", file.name)
        text = _run(tools / "nvdisasm", "-c", "-g", file.name)
    found = _USAGE.search(usage)
    if found is None:
        raise ValueError(f"cuobjdump says nothing of registers: {usage.strip()!r}")
    registers, stack, _, local = map(int, found.groups())
    return Usage(registers, stack, local), Code.parse(text)


def _run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout


def _blocks(code: list[Instruction]) -> tuple[list[range], dict[int, list[int]]]:
    """Pieces without jumps into or out of their middle, and which come after which."""
    starts = {0} | {i.target for i in code if i.target is not None}
    ends = {n + 1 for n, i in enumerate(code) if i.target is not None or i.kind in _ENDS}
    blocks = [range(*ends) for ends in pairwise(sorted(starts | ends | {len(code)}))]
    number = {block.start: n for n, block in enumerate(blocks)}
    following: dict[int, list[int]] = {}
    for n, block in enumerate(blocks):
        last = code[block[-1]]
        leads = [] if last.target is None else [number[last.target]]
        ended = last.kind in _ENDS and last.always
        if not ended and block.stop in number:
            leads.append(number[block.stop])
        following[n] = leads
    return blocks, following


def _inverse(edges: dict[int, list[int]]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for block, following in edges.items():
        for one in following:
            found[one].append(block)
    return found


def _reach(starts: Iterable[int], edges: dict[int, list[int]], stop: int | None = None) -> set[int]:
    """What is reached from some blocks, without passing one."""
    seen: set[int] = set()
    ahead = list(starts)
    while ahead:
        block = ahead.pop()
        if block not in seen and block != stop:
            seen.add(block)
            ahead += edges.get(block, [])
    return seen


def _dominators(following: dict[int, list[int]]) -> dict[int, set[int]]:
    """For each block that is reached, the blocks that every way to it passes, itself included."""
    if not following:
        return {}
    reached = sorted(_reach([0], following))
    inverse = _inverse({block: following[block] for block in reached})
    known = {block: set(reached) for block in reached}
    known[0] = {0}
    changed = True
    while changed:
        changed = False
        for block in reached[1:]:
            new = {block} | set.intersection(*(known[one] for one in inverse[block]))
            changed |= new != known[block]
            known[block] = new
    return known


def _shared(loops: list[Loop], trips: Trips) -> list[float]:
    """Trips of each loop. Of two that come from one line, neither within the other, the longer is
    unrolled, and the shorter does what it leaves over.
    """
    result = [float(trips(loop)) for loop in loops]
    for one, long in enumerate(loops):
        for other, short in enumerate(loops):
            twins = long.places[:1] == short.places[:1] and not long.members & short.members
            if twins and len(long.members) > len(short.members):
                unrolled = round(len(long.members) / len(short.members))
                result[one], result[other] = divmod(trips(long), unrolled)
    return result
