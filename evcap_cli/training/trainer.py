"""A run of training: epochs that a kill cannot spoil, the choice of the epoch, the checkpoint at the end.

``final_scores.py`` scores a finished run.

The state is written whole after each epoch and everything random derives from (seed, epoch): a run that is killed at
any instant and started again ends, on a CPU, with the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evcap_cli import console
from evcap_cli.checkpoints.checkpoint import Checkpoint
from evcap_cli.data.origins import together
from evcap_cli.errors import TrainingError, UsageError
from evcap_cli.files import write_whole
from evcap_cli.search.beam_search import BeamConfig
from evcap_cli.training.acceleration import deterministic, make_accelerator
from evcap_cli.training.evaluation import evaluate
from evcap_cli.training.loop import Loop
from evcap_cli.training.model_card import model_card
from evcap_cli.training.optimiser import make_optimiser
from evcap_cli.training.recipe import ORACLE
from evcap_cli.training.run_log import RunLog, announcement
from evcap_cli.training.run_preparation import prepare
from evcap_cli.training.run_report import RunReport, reported_run
from evcap_cli.training.run_state import (
    RECIPE,
    Progress,
    RunState,
    load_state,
    optimiser_tensors,
    restore_optimiser,
    save_state,
)
from evcap_cli.training.self_critical import PHASE, SelfCritical, check, count, next_phase
from evcap_cli.training.trained_checkpoint import RunFacts, make_checkpoint
from evcap_cli.training.training_tables import FeatureTable
from evcap_cli.training.validation import OracleSplit

if TYPE_CHECKING:
    import torch

    from evcap_cli.data.lexicon import Lexicon
    from evcap_cli.scoring.score_texts import Scores
    from evcap_cli.systems.contract import CaptionModel
    from evcap_cli.training.feature_sources import FeatureSource
    from evcap_cli.training.initial_weights import InitialWeights
    from evcap_cli.training.recipe import Recipe, TrainConfig


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
        device: "cpu", "cuda" or "cuda:1"; several processes are started by ``accelerate launch``.
        glove: file of word vectors to start from.
        sampling: how the source chose its moments, for the checkpoint.
        tensorboard: False leaves TensorBoard out.
        command: the command line, for the checkpoint.
        test: video -> raw captions of the test split. Looked at before the end for ``select = "oracle"`` only.
        extra: raw captions whose words join the vocabulary.
        data: what the data is called, for the checkpoint.
        initial: the checkpoint whose weights the run starts from; None: random ones.
        files: clip -> the file that it is a segment of: the validation split is made of whole files.
        labels_by: what wrote ``captions`` and ``test``, where people did not (``DataRoot.labels_by``).

    Raises:
        TrainingError, UsageError, DataError: see ``prepare``; an oracle without a test split.
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
        test: Mapping[str, Sequence[str]] | None = None,
        extra: Sequence[str] = (),
        data: str = "",
        initial: InitialWeights | None = None,
        files: Mapping[str, str] | None = None,
        labels_by: str = "",
    ) -> None:
        self.recipe, self.source, self.run, self.sampling = recipe, source, run, sampling
        self.config: TrainConfig = recipe.train
        name = run.resolve().name
        origin = None if initial is None else initial.origin
        self.labels_by = labels_by
        every = together([labels_by, "" if initial is None else initial.checkpoint.labels_by])
        self.facts = RunFacts(recipe, source.backbones, sampling, name, command, data, len(extra), origin, every)
        self.accelerator = make_accelerator(device, self.config.precision)
        with self.accelerator.main_process_first():  # the others then find the features in the cache
            self.prepared = prepare(
                recipe,
                captions,
                lexicon,
                source,
                sampling=sampling,
                glove=glove,
                extra=extra,
                initial=initial,
                files=files,
            )
            self.oracle = self._oracle(test or {}) if self.config.select == ORACLE else None
        self.tensorboard = tensorboard and self.accelerator.is_main_process
        self.beam = BeamConfig(
            self.config.beam_size, self.config.max_words, self.config.length_penalty, rerank=self.config.rerank
        )
        self.planned = self.config.epochs + self.config.self_critical_epochs

    def fit(self) -> TrainResult:
        """Train from the last finished epoch on and write the checkpoint.

        Raises:
            TrainingError: a loss that is not a number (the best epoch so far is written as a checkpoint first).
            UsageError: the folder holds another run.
            WriteError: no permission, a full disk; the run goes on from the last finished epoch when started again.
        """
        main, device = self.accelerator.is_main_process, self.accelerator.device
        model = self.prepared.model.to(device)
        optimiser = make_optimiser(self.config, model.parameters(), device)
        state = self._state(model, optimiser)
        if main:
            write_whole(self.run / RECIPE, self.recipe.to_toml())
        loop = Loop(self.prepared, self.accelerator, model, optimiser, self.beam, self.run, self.oracle)
        critic = SelfCritical(loop)
        log = RunLog(self.run, state.progress.history, tensorboard=self.tensorboard) if main else None
        reported = reported_run(self.prepared, self.facts, self.source)
        report = RunReport(self.run, reported, state.progress.epochs)
        with deterministic(device), nullcontext() if log is None else closing(log):
            while phase := next_phase(state.progress.history, self.config):
                try:
                    if phase == PHASE and not count(state.progress.history):
                        loop.restart(state.best)
                    entry = (critic if phase == PHASE else loop).epoch(state.progress.epochs)
                except TrainingError as problem:
                    if main and state.progress.best_epoch:
                        self._checkpoint(state)
                    raise state.progress.ended(problem, "checkpoint") from problem
                state = self._advance(state, model, optimiser, entry)
                if log is not None:
                    report.keep(state.progress.epochs, loop.validation.texts)
                    save_state(self.run, state)
                    log.write(state.progress.history)
                    report.write()
                    console.info(announcement(state.progress.history, state.progress.best_epoch, self.planned))
        self.accelerator.wait_for_everyone()
        checkpoint = self._checkpoint(state) if main else self._made(state)
        if main and state.progress.history:
            report.write()  # also of a run that was finished before there were pages
        return TrainResult(checkpoint, state.progress.history, state.progress.best_epoch)

    def _state(self, model: CaptionModel, optimiser: torch.optim.Optimizer) -> RunState:
        """The state after the last finished epoch, loaded into model and optimiser; that of a new run where none is."""
        fingerprint = self.prepared.fingerprint
        state = load_state(self.run, fingerprint)
        if state is None:
            return RunState(Progress(fingerprint), model.state_dict(), {}, model.state_dict())
        model.load_state_dict(state.model)
        restore_optimiser(optimiser, state.optimiser)
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state.progress.scaler)
        check(state.progress.history, self.config, self.run)
        console.info(f"{self.run}: going on after epoch {state.progress.epochs} of {self.planned}")
        return state

    def test(self, captions: Mapping[str, Sequence[str]], *, bootstrap: int = 0) -> tuple[dict[str, str], Scores]:
        """Caption and score videos that took no part with the checkpoint in the run's folder; after ``fit``.

        Args:
            captions: video -> raw references.
            bootstrap: resamplings for 95 % intervals.

        Returns:
            Captions by video, and their scores.

        Raises:
            TrainingError: none of the videos has features.
        """
        made = Checkpoint.from_pretrained(self.run)  # as users will load it: perhaps rounded to half precision
        table = self._table(captions) if self.oracle is None else self.oracle.features
        made.model.to(self.accelerator.device)
        return evaluate(
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

    def _table(self, captions: Mapping[str, Sequence[str]]) -> FeatureTable:
        return FeatureTable.build(self.source.read(list(captions)), len(captions), self.prepared.config)

    def _oracle(self, captions: Mapping[str, Sequence[str]]) -> OracleSplit:
        if not captions:
            raise UsageError("select = oracle chooses on the test split, and there is none", hint="use --select cfs")
        console.warn("--select oracle: every epoch is scored on the test split, and the epoch is chosen there")
        return OracleSplit(self._table(captions), captions)

    def _advance(
        self, state: RunState, model: CaptionModel, optimiser: torch.optim.Optimizer, entry: dict[str, Any]
    ) -> RunState:
        """The state after one more epoch."""
        weights = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
        scaler = self.accelerator.scaler
        return state.advanced(
            entry,
            self.config.select,
            weights,
            optimiser_tensors(optimiser),
            None if scaler is None else scaler.state_dict(),
        )

    def _made(self, state: RunState) -> Checkpoint:
        return make_checkpoint(self.facts, self.prepared, state)

    def _checkpoint(self, state: RunState) -> Checkpoint:
        checkpoint = self._made(state)
        checkpoint.save_pretrained(self.run, card=model_card(checkpoint), half=self.config.store == "float16")
        return checkpoint
