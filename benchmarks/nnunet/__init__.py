"""Training of nnU-Net v2 on a toy data set: ``python -m benchmarks.nnunet``.

Its own trainer, whose workers augment while the network trains, and that of this library, whose
training step augments, train the same network on the same data, after which nnU-Net validates.

- ``step_ms``: the time of an epoch over its steps, what the loop waits for batches included, as the
  median of all epochs but the first.
- ``dice``: mean of the foreground, of the validation by nnU-Net itself.
"""

from typing import Any

from ..markdown import table
from ..records import Result, origin

SUITE = "nnunet"


def text(result: Result) -> str:
    """Return a table of the trainers."""

    def row(found: dict[str, Any]) -> list[str]:
        spread = f"{found['step_ms']:.0f} ({found['fastest_ms']:.0f} to {found['slowest_ms']:.0f})"
        return [found["trainer"], f"{found['dice']:.3f}", spread, f"{found['last_loss']:.3f}"]

    setup = result["setup"]
    about = (
        f"{setup['epochs']} epochs of {setup['steps']} steps on batches of {setup['batch']} "
        f"patches of {setup['patch']}³, {setup['cases']} volumes of {setup['size']}³ with balls "
        f"and boxes in noise, {setup['workers']} workers, nnU-Net {result['nnunetv2']}. {NOTE}"
    )
    head = ["trainer", "Dice", "ms a step, median of epochs", "loss of the last epoch"]
    return f"{about}\n\n{table(head, map(row, result['rows']))}\n\n{origin(result)}"


NOTE = (
    "In nnU-Net's own trainer workers augment beside the step, and share its cores; here the step "
    "does so itself. Each has trained once, on random patches of its own."
)
