"""The log of a run: log.jsonl (a line an epoch, always whole) and TensorBoard.

The state decides which epochs are finished (``run_state.py``). It is written before the log, so a run that is stopped
between the two has one epoch more than its log; the next process writes the log again from the state. No epoch is
missing then, none stands there twice, and all but the wall times is what a run never stopped would have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evcap_cli.files import write_whole
from evcap_cli.scoring.metrics import LABELS, PRINTED_DECIMALS, metric_text

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

FILE: Final = "log.jsonl"


class RunLog:
    """Writes what each epoch came to.

    Args:
        run: folder of the run.
        history: entries of epochs finished before, by an earlier process; what else was logged is void.
        tensorboard: False leaves TensorBoard out.
    """

    def __init__(self, run: Path, history: Sequence[Mapping[str, Any]], *, tensorboard: bool) -> None:
        self.path = run / FILE
        self.board: SummaryWriter | None = None
        if tensorboard:
            from torch.utils.tensorboard.writer import SummaryWriter

            self.board = SummaryWriter(str(run / "tensorboard"), purge_step=max(len(history), 1))
        if history:
            self._replace(history)
            self._show(history[-1])  # the last one may not have come that far
        else:
            self.path.unlink(missing_ok=True)

    def write(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Replace log.jsonl by ``history`` and show TensorBoard its last entry."""
        self._replace(history)
        self._show(history[-1])

    def _show(self, last: Mapping[str, Any]) -> None:
        if self.board is None:
            return
        epoch = int(last["epoch"])
        for group in ("loss", "validation", "test"):
            for name, value in last.get(group, {}).items():
                if isinstance(value, (int, float)):
                    self.board.add_scalar(f"{group}/{name}", value, epoch)
        for name in ("learning_rate", "gradient_norm", "captions_per_second", "reward", "advantage_spread"):
            if name in last:
                self.board.add_scalar(name, last[name], epoch)
        for video, caption in last.get("samples", {}).items():
            self.board.add_text(f"samples/{video}", caption, epoch)
        self.board.flush()

    def _replace(self, history: Sequence[Mapping[str, Any]]) -> None:
        write_whole(self.path, "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in history))

    def close(self) -> None:
        """End TensorBoard's file."""
        if self.board is not None:
            self.board.close()


def announcement(history: Sequence[Mapping[str, Any]], best_epoch: int, planned: int) -> str:
    """The last epoch in one line, for people.

    Args:
        history: entries of all epochs.
        best_epoch: the chosen one so far.
        planned: how many epochs there are to be.
    """
    entry = history[-1]
    text = f"epoch {entry['epoch']}/{planned}"
    if "phase" in entry:
        text += f" ({entry['phase']}): mean reward {entry['reward']:.1f}"
    else:
        text += f": loss {entry['loss']['total']:.3f}"
    validation = entry.get("validation")
    if validation:
        text += f", held out: {_values(validation, 'cfs', 'acc_sw', 'cider')}"
    tested = entry.get("test")
    if tested:
        text += f", test (oracle): {_values(tested, 'cfs', 'acc_sw')}"
    text += " (best so far)" if entry["best"] else f" (best: epoch {best_epoch})"
    return f"{text}, {entry['seconds']:.0f} s"


def _values(scores: Mapping[str, Any], *metrics: str) -> str:
    return ", ".join(f"{LABELS[metric]} {metric_text(scores[metric], PRINTED_DECIMALS)}" for metric in metrics)
