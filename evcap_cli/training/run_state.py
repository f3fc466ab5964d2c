"""What a run needs to go on after a kill: written whole after each finished epoch, in one safetensors file.

One file, because weights, optimiser and the best epoch so far must belong together whenever the process dies. Random
numbers are not in it: they derive from the seed and the epoch.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evcap_cli.errors import TrainingError, UsageError, WriteError
from evcap_cli.files import NEXT_STEP, WholeFile, write_error
from evcap_cli.reading.typed import from_json
from evcap_cli.training.epoch_selection import epoch_score

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from evcap_cli.training.recipe import Select

FILE: Final = "state/epoch.safetensors"
RECIPE: Final = "recipe.toml"
"""All values of a run's recipe, in its folder."""
_MODEL, _OPTIMISER, _BEST = "model.", "optimiser.", "best."
_NOTHING_FINISHED: Final = "no epoch was finished"


@dataclass
class Progress:
    """How far a run has come.

    Args:
        fingerprint: digest of everything that decides the weights; another one means another run.
        epochs: finished ones. history: one entry each, as in log.jsonl.
        best_epoch: the chosen one so far, counted from 1; 0: none.
        best_score: what it was chosen by, compared in order, more is better.
        scaler: of fp16 training.
    """

    fingerprint: str
    epochs: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_score: list[float] = field(default_factory=list)
    scaler: dict[str, Any] = field(default_factory=dict)

    def ended(self, problem: TrainingError, kept: str) -> TrainingError:
        """``problem`` with what is left of the run and how to go on.

        Args:
            problem: what ended it.
            kept: what is written of the best epoch: "checkpoint", "adapter".
        """
        left = f"the {kept} of epoch {self.best_epoch} is kept in the folder" if self.best_epoch else _NOTHING_FINISHED
        again = "another -o, or --overwrite, starts again with other settings"
        return TrainingError(problem.cause, path=problem.path, hint=f"{left}; {problem.hint}; {again}")


@dataclass
class RunState:
    """A ``Progress`` with its tensors.

    Args:
        model: weights and buffers after the last epoch. optimiser: state by parameter number. best: the chosen epoch's.
    """

    progress: Progress
    model: dict[str, Tensor]
    optimiser: dict[int, dict[str, Tensor]]
    best: dict[str, Tensor]

    def advanced(
        self,
        entry: dict[str, Any],
        select: Select,
        model: dict[str, Tensor],
        optimiser: dict[int, dict[str, Tensor]],
        scaler: dict[str, Any] | None = None,
    ) -> RunState:
        """The state after one more epoch; validation decides whether it is the best so far.

        Args:
            entry: the epoch's, which gets ``best``.
            select: what the epoch is chosen by.
            model: weights and buffers as they are now, copied.
            optimiser: its state, copied.
            scaler: of fp16 training.
        """
        before = self.progress
        score = epoch_score(entry, select)
        better = before.best_epoch == 0 or score > before.best_score
        entry["best"] = better
        progress = replace(
            before,
            epochs=before.epochs + 1,
            history=[*before.history, entry],
            best_epoch=before.epochs + 1 if better else before.best_epoch,
            best_score=score if better else before.best_score,
            scaler=scaler or {},
        )
        return RunState(progress, model, optimiser, model if better else self.best)


def save_state(run: Path, state: RunState) -> None:
    """Write the state whole.

    Raises:
        WriteError: no permission, a full disk; the epoch before is still there.
    """
    import safetensors.torch
    from safetensors import SafetensorError

    tensors = {_MODEL + name: tensor for name, tensor in state.model.items()}
    for number, values in state.optimiser.items():
        tensors |= {f"{_OPTIMISER}{number}.{name}": tensor for name, tensor in values.items()}
    if state.progress.best_epoch != state.progress.epochs:  # else they are the model's own
        tensors |= {_BEST + name: tensor for name, tensor in state.best.items()}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    file = WholeFile(run / FILE)
    try:
        # to the file, not to bytes first: the state is four times the model
        safetensors.torch.save_file(plain, file.temporary, metadata={"progress": json.dumps(asdict(state.progress))})
        file.commit()
    except OSError as problem:
        raise write_error(run / FILE, problem) from problem
    except SafetensorError as problem:  # how it reports a full disk
        raise WriteError(f"cannot write ({problem})", path=run / FILE, hint=NEXT_STEP) from problem
    finally:
        file.discard()


def load_state(run: Path, fingerprint: str) -> RunState | None:
    """The state of the last finished epoch; None where there is none.

    Raises:
        UsageError: the state belongs to another run, or is damaged.
    """
    from safetensors import SafetensorError, safe_open

    path = run / FILE
    if not path.exists():
        return None
    hint = "give another -o, or --overwrite to start again"
    try:
        with safe_open(path, framework="pt") as file:
            progress = from_json(Progress, file.metadata()["progress"], path=path, error=UsageError, hint=hint)
            if progress.fingerprint != fingerprint:
                raise UsageError("holds a run with other data or settings", path=run, hint=hint)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as problem:
        raise UsageError(f"the state of the last epoch cannot be read ({problem})", path=path, hint=hint) from problem
    model = _part(tensors, _MODEL)
    optimiser: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _part(tensors, _OPTIMISER).items():
        number, _, key = name.partition(".")
        optimiser.setdefault(int(number), {})[key] = tensor
    best = model if progress.best_epoch == progress.epochs else _part(tensors, _BEST)
    return RunState(progress, model, optimiser, best)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[int, dict[str, Tensor]]:
    """State by parameter number; everything that Adam and Adamax keep is a tensor."""
    state: dict[int, dict[str, Tensor]] = optimiser.state_dict()["state"]
    return state


def restore_optimiser(optimiser: torch.optim.Optimizer, state: dict[int, dict[str, Tensor]]) -> None:
    """Put the state back; learning rates are set at each step anyway."""
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})
