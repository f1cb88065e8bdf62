"""Results as markdown, losses included."""

from __future__ import annotations

from typing import Any

from .. import records
from ..markdown import number, table

SUITE = "training"
#: Rows of this library by what they augment.
_OURS = {"volume": "torchio_gpu", "patch": "torchio_gpu_patches"}

Row = dict[str, Any]


def text(result: dict[str, Any]) -> str:
    """A table of contenders, and what a reader must know about it."""
    rows = {row["contender"]: row for row in result["rows"]}
    setup, cuda = result["setup"], result["device"] == "cuda"
    head = ["augmented by", "steps/s", "wait, ms (mean)", "step, ms", "idle"]
    head += ["augmenting"] * cuda + ["first batch, s", "steps", "loss"]
    lines = [_line(row, rows, cuda) for row in result["rows"] if "failure" not in row]
    patch = f"{setup['batch']}x1x{setup['patch']}³"
    shape = "x".join(map(str, setup["shape"]))
    notes = [
        records.origin(result),
        f"Training steps of a 3D U-Net of {setup['levels']} levels, {setup['width']} channels at "
        f"the first, float32, with Adam, on random patches, {patch}, of {setup['subjects']} "
        f"synthetic heads of {shape} voxels that are held in memory, with their label maps; "
        "pipe6 is the augmentation.",
        "none cuts patches and does not augment. Where patches are augmented after they were cut, "
        "nothing can move in across their borders; all others augment volumes, of which "
        "torchio_gpu computes the patch, in another way for each, while TorchIO and MONAI cut "
        f"{setup['per_volume']} patches out of a volume that is augmented once.",
        _idle(cuda),
        "wait is for a batch, median and mean; step is the median, with what runs beside it. The "
        "loss is that of the first step and the mean of the last four.",
        "bold: ahead of us, that is of torchio_gpu, or of the row of ours that augments alike.",
    ]
    notes += [f"{_title(row)}: {row['failure']}." for row in result["rows"] if "failure" in row]
    return "\n".join([table(head, lines), "", *(f"- {note}" for note in notes)])


def _title(row: Row) -> str:
    """Name and version; the library's name comes before a comma."""
    name, comma, how = row["title"].partition(",")
    version = row.get("version", "") if row["augments"] else ""
    return f"{name} {version}".strip() + comma + how


def _line(row: Row, rows: dict[str, Row], cuda: bool) -> list[str]:
    rate = number(row["steps_per_s"])
    if beaten := _beaten(row, rows):
        rate = f"**{rate}, ahead of {' and '.join(beaten)}**"
    shares = ["idle", "augmenting"] if cuda else ["idle"]
    return [
        _title(row),
        rate,
        f"{number(row['wait_ms'])} ({number(row['mean_wait_ms'])})",
        number(row["step_ms"]),
        *(f"{100 * row[name]:.0f} %" if name in row else "-" for name in shares),
        number(row["first_batch_s"]),
        str(row["steps"]),
        f"{number(row['first_loss'])} to {number(row['last_loss'])}",
    ]


def _beaten(row: Row, rows: dict[str, Row]) -> list[str]:
    """Rows of ours that a peer is ahead of: the first of ours, and the one that augments alike."""
    if row["contender"] in _OURS.values() or not row["augments"]:
        return []
    own = dict.fromkeys([_OURS["volume"], _OURS[row["augments"]]])
    ours = [rows[name] for name in own if "steps_per_s" in rows.get(name, {})]
    return [our["title"] for our in ours if row["steps_per_s"] > our["steps_per_s"]]


def _idle(cuda: bool) -> str:
    if cuda:
        return (
            "idle: share of the time in which the GPU had nothing to do, since the batch was not "
            "there; augmenting: in which it worked between training steps."
        )
    return (
        "idle: share of the time that is not needed for the steps alone, as none takes them; the "
        "cores that train also augment."
    )
