"""A run of training: epochs that a kill cannot spoil, the choice of the epoch, the checkpoint at the end.

The state is written whole after each epoch and everything random derives from (seed, epoch): a run that is killed at
any instant and started again ends, on a CPU, with the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from evcap_cli import console
from evcap_cli.captioner.beam_search import BeamConfig
from evcap_cli.captioner.checkpoint import BeamDefaults, Checkpoint
from evcap_cli.captioner.hub import CARD
from evcap_cli.errors import TrainingError
from evcap_cli.output.atomic import write_whole
from evcap_cli.training.acceleration import deterministic, make_accelerator
from evcap_cli.training.evaluation import evaluate
from evcap_cli.training.log import RunLog
from evcap_cli.training.loop import Loop
from evcap_cli.training.model_card import model_card
from evcap_cli.training.preparation import prepare
from evcap_cli.training.state import Progress, RunState, load_state, optimiser_tensors, restore_optimiser, save_state
from evcap_cli.training.tables import FeatureTable

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Kind
    from evcap_cli.captioner.model import Captioner
    from evcap_cli.data.lexicon import Lexicon
    from evcap_cli.scoring.score import Scores
    from evcap_cli.training.config import Recipe, TrainConfig
    from evcap_cli.training.sources import FeatureSource


@dataclass(frozen=True)
class TrainResult:
    """What a run came to: the checkpoint of the chosen epoch (as written to the run's folder) and every epoch's log."""

    checkpoint: Checkpoint
    history: list[dict[str, Any]]
    best_epoch: int


class Trainer:
    """One run of training.

    Args:
        recipe: every number of it.
        captions: video -> raw captions, training and validation together.
        lexicon: of the emotion labels and masks.
        source: of the features.
        run: folder for state, log and checkpoint.
        device: "cpu" or "cuda"; several processes are started by ``accelerate launch``.
        glove: word vectors to start from.
        sampling: how the source chose its moments, for the checkpoint.
        tensorboard: False leaves TensorBoard out.
        command: the command line, for the checkpoint.
    """

    def __init__(
        self,
        recipe: Recipe,
        captions: Mapping[str, Sequence[str]],
        lexicon: Lexicon,
        source: FeatureSource,
        run: Path,
        *,
        device: str = "cpu",
        glove: Path | None = None,
        sampling: str = "moments",
        tensorboard: bool = True,
        command: str = "",
    ) -> None:
        self.recipe, self.source, self.run, self.sampling = recipe, source, run, sampling
        self.config: TrainConfig = recipe.train
        self.command = command
        self.accelerator = make_accelerator(device, self.config.precision)
        with self.accelerator.main_process_first():  # the others then find the features in the cache
            self.prepared = prepare(recipe, captions, lexicon, source, glove=glove)
        self.tensorboard = tensorboard and self.accelerator.is_main_process
        self.beam = BeamConfig(self.config.beam_size, self.config.max_words, self.config.length_penalty)

    def fit(self) -> TrainResult:
        """Train from the last finished epoch on and write the checkpoint.

        Raises:
            TrainingError: a loss that is not a number (the best epoch so far is written as a checkpoint first).
            UsageError: the folder holds another run.
            WriteError: no permission, a full disk; the run goes on from the last finished epoch when started again.
        """
        prepared, main = self.prepared, self.accelerator.is_main_process
        device = self.accelerator.device
        # "moments" is not part of it: runs from before there was another sampling go on
        fingerprint = prepared.fingerprint + ("" if self.sampling == "moments" else f"-{self.sampling}")
        state = load_state(self.run, fingerprint)
        model = prepared.model.to(device)
        optimiser = torch.optim.Adam(
            model.parameters(),
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
            fused=device.type in ("cpu", "cuda"),
        )
        if state is None:
            state = RunState(Progress(fingerprint), model.state_dict(), {}, model.state_dict())
        else:
            model.load_state_dict(state.model)
            restore_optimiser(optimiser, state.optimiser)
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(state.progress.scaler)
            console.info(f"{self.run}: going on after epoch {state.progress.epochs} of {self.config.epochs}")
        loop = Loop(prepared, self.accelerator, model, optimiser, self.beam, self.run)
        log = RunLog(self.run, state.progress.history, tensorboard=self.tensorboard) if main else None
        try:
            with deterministic(device):
                while state.progress.epochs < self.config.epochs and not self._stale(state.progress):
                    try:
                        entry = loop.epoch(state.progress.epochs)
                    except TrainingError:
                        if main and state.progress.best_epoch:
                            self._checkpoint(state)
                        raise
                    state = self._advance(state, model, optimiser, entry)
                    if main and log is not None:
                        save_state(self.run, state)
                        log.write(state.progress.history)
                        self._announce(state.progress)
        finally:
            if log is not None:
                log.close()
        self.accelerator.wait_for_everyone()
        checkpoint = self._checkpoint(state) if main else self._made(state)
        return TrainResult(checkpoint, state.progress.history, state.progress.best_epoch)

    def test(self, captions: Mapping[str, Sequence[str]], *, bootstrap: int = 0) -> tuple[dict[str, str], Scores]:
        """Score the checkpoint on videos that took no part, and put the scores in its model card; after ``fit``.

        Args:
            captions: video -> raw references.
            bootstrap: resamplings for 95 % intervals.

        Returns:
            Captions by video, and their scores.

        Raises:
            TrainingError: none of the videos has features.
        """
        made = Checkpoint.from_pretrained(self.run)  # as users will load it: perhaps rounded to half precision
        table = FeatureTable.build(self.source.read(list(captions)), len(captions), made.model.config)
        made.model.to(self.accelerator.device)
        written, scores = evaluate(
            made.model,
            table,
            range(len(table)),
            captions,
            made.vocabulary,
            made.lexicon,
            self.beam,
            meteor=True,
            bootstrap=bootstrap,
        )
        write_whole(self.run / CARD, model_card(made, scores))
        return written, scores

    def _advance(
        self, state: RunState, model: Captioner, optimiser: torch.optim.Optimizer, entry: dict[str, Any]
    ) -> RunState:
        """The state after one more epoch; validation decides whether it is the best so far."""
        done = state.progress.epochs + 1
        weights = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
        score = self._score(entry)
        better = state.progress.best_epoch == 0 or score > state.progress.best_score
        entry["best"] = better
        scaler = self.accelerator.scaler
        progress = replace(
            state.progress,
            epochs=done,
            history=[*state.progress.history, entry],
            best_epoch=done if better else state.progress.best_epoch,
            best_score=score if better else state.progress.best_score,
            scaler={} if scaler is None else scaler.state_dict(),
        )
        return RunState(progress, weights, optimiser_tensors(optimiser), weights if better else state.best)

    def _score(self, entry: Mapping[str, Any]) -> list[float]:
        """What epochs are compared by, ties by the next; without held-out videos the last one counts as the best."""
        held = entry.get("validation")
        if not held or self.config.select == "last":
            return [float(entry["epoch"])]
        loss = -float(held["cross_entropy"])
        return [float(held["cfs"]), loss] if self.config.select == "cfs" else [loss]

    def _stale(self, progress: Progress) -> bool:
        return 0 < self.config.early_stop <= progress.epochs - progress.best_epoch and progress.epochs > 0

    def _announce(self, progress: Progress) -> None:
        entry = progress.history[-1]
        text = f"epoch {entry['epoch']}/{self.config.epochs}: loss {entry['loss']['total']:.3f}"
        held = entry.get("validation")
        if held:
            text += f", held out: CFS {held['cfs']:.1f}, Acc_sw {held['acc_sw']:.1f}, CIDEr {held['cider']:.1f}"
        text += " (best so far)" if entry["best"] else f" (best: epoch {progress.best_epoch})"
        console.info(f"{text}, {entry['seconds']:.0f} s")

    def _made(self, state: RunState) -> Checkpoint:
        """The chosen epoch's weights as a checkpoint, in memory."""
        from evcap_cli.captioner.model import Captioner

        prepared, progress = self.prepared, state.progress
        model = Captioner(prepared.config, torch.from_numpy(prepared.lexicon.mask()))
        model.load_state_dict({name: tensor.cpu() for name, tensor in state.best.items()})
        chosen = progress.history[progress.best_epoch - 1] if progress.best_epoch else {}
        return Checkpoint(
            model=model.eval(),
            vocabulary=prepared.vocabulary,
            lexicon=prepared.lexicon,
            backbones=cast("dict[Kind, dict[str, Any]]", {k: dict(r) for k, r in self.source.backbones.items()}),
            beam=BeamDefaults(self.config.beam_size, self.config.max_words, self.config.length_penalty),
            sampling=self.sampling,
            training={
                "recipe": self.recipe.name,
                "command": self.command,
                "seed": self.config.seed,
                "epochs": progress.epochs,
                "epoch": progress.best_epoch,
                "select": self.config.select,
                "validation": chosen.get("validation", {}),
                **({} if progress.epochs else {"untrained": True}),
            },
            name=self.run.resolve().name,
        )

    def _checkpoint(self, state: RunState) -> Checkpoint:
        checkpoint = self._made(state)
        checkpoint.save_pretrained(self.run, card=model_card(checkpoint), half=self.config.store == "float16")
        return checkpoint
