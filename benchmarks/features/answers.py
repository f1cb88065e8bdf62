"""What a probe says: an outcome, a note, and how it is known."""

from __future__ import annotations

from dataclasses import dataclass

#: How each outcome is shown; 'failed' is a broken probe, never a missing feature.
SHOWN = {
    "yes": "yes",
    "partly": "partly",
    "no": "no",
    "unchecked": "unchecked",
    "failed": "**probe failed**",
}
#: By trying it, by looking for public names, by reading, or because the API has no place for it.
HOW = ("script", "names", "documentation", "declared")


@dataclass(frozen=True)
class Answer:
    """A cell of the table.

    Args:
        outcome: One of :data:`SHOWN`, or 'fact' for a row of facts, whose note is shown itself.
        note: A few words; a reason where the answer is not a plain yes.
        by: One of :data:`HOW`.
    """

    outcome: str
    note: str = ""
    by: str = "script"

    def __post_init__(self) -> None:
        if self.outcome not in (*SHOWN, "fact"):
            raise ValueError(f"outcome must be one of {[*SHOWN, 'fact']}, got {self.outcome!r}")
        if self.by not in HOW:
            raise ValueError(f"by must be one of {list(HOW)}, got {self.by!r}")
        if self.outcome not in ("yes", "fact") and not self.note:
            raise ValueError(f"an answer {self.outcome!r} needs a reason in its note")


def yes(note: str = "", by: str = "script") -> Answer:
    """Tried, and right."""
    return Answer("yes", note, by)


def partly(note: str, by: str = "script") -> Answer:
    """Less than was asked for."""
    return Answer("partly", note, by)


def no(reason: str, by: str = "script") -> Answer:
    """Not offered, or tried and wrong."""
    return Answer("no", reason, by)


def lacks(reason: str) -> Answer:
    """What the API has no place for, so that there is nothing to try."""
    return no(reason, "declared")


def unchecked(reason: str) -> Answer:
    """What cannot be tried here; the note says what is written about it."""
    return Answer("unchecked", reason, "documentation")


#: How the note of an answer by :func:`unnamed` begins; the table's mark says the same.
UNNAMED = "no public name with "


def unnamed(names: list[str], *words: str) -> Answer:
    """No public name holds any of these words, in small letters.

    Raises:
        LookupError: There is such a name, so that the probe must be written.
    """
    public = [name for name in names if not name.startswith("_")]
    found = [name for name in public if any(word in name.lower() for word in words)]
    if found:
        raise LookupError(f"there are names with {words}: {found}")
    return no(UNNAMED + " or ".join(map(repr, words)), "names")


def both(first: Answer, second: Answer, names: tuple[str, str]) -> Answer:
    """One answer to a question of two parts: yes if both are, partly if one is."""
    if "failed" in (first.outcome, second.outcome):
        return first if first.outcome == "failed" else second
    parts = zip(names, (first, second), strict=True)
    right = [name for name, part in parts if part.outcome == "yes"]
    if len(right) == 2:
        return yes("; ".join(filter(None, (first.note, second.note))))
    if right:
        other = second if first.outcome == "yes" else first
        return partly(f"{right[0]} only; {other.note}")
    return no("; ".join(dict.fromkeys((first.note, second.note))))
