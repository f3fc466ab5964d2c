"""A run of training an adapter: the split, epochs that a kill cannot spoil, the choice of the epoch, the checkpoint.

The state is written whole after each epoch and everything random derives from (seed, epoch): a run that is killed at
any instant and started again ends, on a CPU, with the same adapter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from evcap_cli import console
from evcap_cli.backbones.identity import digest_of
from evcap_cli.checkpoints.adapter import Adapter, AdapterConfig, adapter_of
from evcap_cli.console import counted, noun
from evcap_cli.data.learnable import learnable
from evcap_cli.data.origins import labels_note
from evcap_cli.devices import choose_dtype
from evcap_cli.errors import TrainingError
from evcap_cli.files import write_whole
from evcap_cli.systems.clip_captioner import OWN_PROMPT
from evcap_cli.training.acceleration import deterministic, make_accelerator
from evcap_cli.training.run_log import RunLog, announcement
from evcap_cli.training.run_report import Reported, RunReport, trained_on
from evcap_cli.training.run_state import (
    RECIPE,
    Progress,
    RunState,
    load_state,
    optimiser_tensors,
    restore_optimiser,
    save_state,
)
from evcap_cli.training.tuning.adapter_card import adapter_card
from evcap_cli.training.tuning.tuning_loop import TuningLoop

if TYPE_CHECKING:
    from torch.nn import Parameter

    from evcap_cli.data.lexicon import Lexicon
    from evcap_cli.features.kept_clips import KeptClips
    from evcap_cli.scoring.score_texts import Scores
    from evcap_cli.systems.tunable_captioner import TunableCaptioner
    from evcap_cli.training.tuning.tuning_recipe import TuningRecipe


@dataclass(frozen=True)
class RunData:
    """What an adapter is trained on.

    Args:
        captions: video -> raw captions, training and validation together.
        test: the same of the test split.
        lexicon: of the scores.
        files: clip -> the file that it is a segment of: the validation split is made of whole files.
        name: what the data is called, for the checkpoint.
        labels_by: what wrote the captions, where people did not.
    """

    captions: Mapping[str, Sequence[str]]
    test: Mapping[str, Sequence[str]]
    lexicon: Lexicon
    files: Mapping[str, str]
    name: str = ""
    labels_by: str = ""


@dataclass(frozen=True)
class Base:
    """The captioner whose model gets an adapter.

    Args:
        name: as it is registered.
        captioner: without its weights.
        place: the folder of its model; None where it is on the hub.
    """

    name: str
    captioner: TunableCaptioner[Any]
    place: Path | None


@dataclass(frozen=True)
class TuningResult:
    """What a run came to: the adapter of the chosen epoch (as written to the run's folder) and every epoch's log."""

    adapter: Adapter
    history: list[dict[str, Any]]
    best_epoch: int


class TuningRun:
    """One run of training an adapter.

    Args:
        recipe: every number of it.
        base: what is tuned.
        data: to train on.
        clips: of its videos.
        run: folder for state, log and checkpoint.
        device: "cpu", "cuda" or "cuda:1"; several processes are started by ``accelerate launch``.
        command: the command line, for the checkpoint.
        tensorboard: False leaves TensorBoard out.

    Raises:
        TrainingError: nothing to train on. CheckpointError: the base cannot be loaded.
    """

    def __init__(
        self,
        recipe: TuningRecipe,
        base: Base,
        data: RunData,
        clips: KeptClips,
        run: Path,
        *,
        device: str = "cpu",
        command: str = "",
        tensorboard: bool = True,
    ) -> None:
        self.recipe, self.base, self.data, self.clips, self.run = recipe, base, data, clips, run
        self.config, self.command = recipe.train, command
        # half precision is that of the base's weights; nothing here needs accelerate's
        self.accelerator = make_accelerator(device, "fp32")
        self.tensorboard = tensorboard and self.accelerator.is_main_process
        self.captioner = base.captioner
        with self.accelerator.main_process_first():  # the others then find the frames in the cache
            self.train, self.validation = self._split()
        place = self.accelerator.device
        self.captioner.load(place, choose_dtype(self.config.precision, place))
        self.parameters: dict[str, Parameter] = self.captioner.add_adapter(recipe.adapter_options())
        self.optimiser = torch.optim.AdamW(
            self.parameters.values(), lr=self.config.learning_rate, weight_decay=self.config.weight_decay
        )
        self.fingerprint = self._fingerprint()
        self.loop = TuningLoop(
            self.config,
            self.captioner,
            self.parameters,
            self.optimiser,
            self.accelerator,
            clips,
            self.train,
            self.validation,
            data.lexicon,
            run,
        )

    def _split(self) -> tuple[dict[str, Sequence[str]], dict[str, Sequence[str]]]:
        """Raw captions of the videos to train on and of the held-out ones, of those whose frames are there."""
        found = learnable(
            self.data.captions,
            max_words=self.config.max_words,
            validation_share=self.config.val_share,
            seed=self.config.seed,
            files=self.data.files,
        )
        order = [*found.train, *found.validation]
        there = set(self.clips.fill(order))
        found.check(there)
        missing = len(order) - len(there)
        if missing:
            lacks = noun(missing, "has no frames and is left out", "have no frames and are left out")
            console.warn(f"{missing} of {counted(len(order), 'video')} {lacks}")
        train, validation = (
            {video: self.data.captions[video] for video in videos if video in there}
            for videos in (found.train, found.validation)
        )
        return train, validation

    def _fingerprint(self) -> str:
        """Digest of what decides the weights. With a constant rate more epochs are a continuation, not another run."""
        train = asdict(self.config)
        # these change what a step costs, not what it does, but for rounding
        for name in ("accumulate", "checkpointing", *(["epochs"] if self.config.schedule == "constant" else [])):
            del train[name]
        identity = self.captioner.identity
        splits = [
            {video: [self.clips.digest(video), *captions] for video, captions in split.items()}
            for split in (self.train, self.validation)
        ]
        parts = {
            "train": train,
            "adapter": asdict(self.recipe.adapter),
            "input": asdict(self.recipe.input),
            "request": asdict(self.clips.clips.request),
            "base": identity.digest,
            "prompt": identity.prompt_digest,
            "splits": splits,
            "lexicon": self.data.lexicon.digest,
        }
        return digest_of(parts)

    def fit(self) -> TuningResult:
        """Train from the last finished epoch on and write the checkpoint.

        Raises:
            TrainingError: a loss that is not a number (the best epoch so far is written as a checkpoint first).
            UsageError: the folder holds another run.
            WriteError: no permission, a full disk; the run goes on from the last finished epoch when started again.
        """
        main, device = self.accelerator.is_main_process, self.accelerator.device
        state = self._state()
        if main:
            write_whole(self.run / RECIPE, self.recipe.to_toml())
        log = RunLog(self.run, state.progress.history, tensorboard=self.tensorboard) if main else None
        report = RunReport(self.run, self._reported(), state.progress.epochs)
        with deterministic(device), nullcontext() if log is None else closing(log):
            while not self._finished(state.progress):
                try:
                    entry = self.loop.epoch(state.progress.epochs)
                except TrainingError as problem:
                    if main and state.progress.best_epoch:
                        self._save(state)
                    raise state.progress.ended(problem, "adapter") from problem
                state = state.advanced(entry, self.config.select, self._weights(), optimiser_tensors(self.optimiser))
                if log is not None:
                    report.keep(state.progress.epochs, self.loop.texts)
                    save_state(self.run, state)
                    log.write(state.progress.history)
                    report.write()
                    console.info(announcement(state.progress.history, state.progress.best_epoch, self.config.epochs))
        self.accelerator.wait_for_everyone()
        adapter = self._save(state) if main else self._adapter(state)
        self._restore(state.best)
        return TuningResult(adapter, state.progress.history, state.progress.best_epoch)

    def _reported(self) -> Reported:
        """What the page of the run shows."""
        facts = {
            "base": self.captioner.identity.name,
            "trained on": trained_on(len(self.loop.train), len(self.train), self.data.name),
        }
        if self.data.labels_by:
            facts["labels"] = labels_note(self.data.labels_by)
        return Reported(self.validation, self.data.lexicon, self.config.seed, facts, self.clips.middles)

    def test(self, *, bootstrap: int = 0) -> tuple[dict[str, str], Scores | None]:
        """Captions of the test split by the chosen epoch, and in the main process their scores; after ``fit``.

        Raises:
            TrainingError: no test video has frames.
        """
        with self.accelerator.main_process_first():
            there = set(self.clips.fill(list(self.data.test)))
        references = {video: captions for video, captions in self.data.test.items() if video in there}
        if not references:
            raise TrainingError("no test video has frames: nothing can be scored", path=self.run)
        return self.loop.scored(references, meteor=True, bootstrap=bootstrap)

    def _state(self) -> RunState:
        """The state after the last finished epoch, loaded; that of a new run where there is none."""
        state = load_state(self.run, self.fingerprint)
        if state is None:
            return RunState(Progress(self.fingerprint), self._weights(), {}, self._weights())
        self._restore(state.model)
        restore_optimiser(self.optimiser, state.optimiser)
        # a run that ran out of memory goes on as it ended
        self.loop.rows = min(self.loop.rows, int(state.progress.history[-1].get("captions_at_once", self.loop.rows)))
        console.info(f"{self.run}: going on after epoch {state.progress.epochs} of {self.config.epochs}")
        return state

    def _finished(self, progress: Progress) -> bool:
        stale = progress.epochs - progress.best_epoch
        return progress.epochs >= self.config.epochs or 0 < self.config.early_stop <= stale

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: weight.detach().cpu().clone() for name, weight in self.parameters.items()}

    def _restore(self, weights: Mapping[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, weight in self.parameters.items():
                weight.copy_(weights[name])

    def _save(self, state: RunState) -> Adapter:
        adapter = self._adapter(state)
        adapter.save(self.run, self.captioner.adapter_key, card=adapter_card(adapter))
        return adapter

    def _adapter(self, state: RunState) -> Adapter:
        identity, options, frames = self.captioner.identity, self.captioner.options, self.captioner.reads.frames
        progress = state.progress
        chosen = progress.history[progress.best_epoch - 1] if progress.best_epoch else {}
        files = self.captioner.adapter_files(state.best)
        config = AdapterConfig(
            captioner=self.base.name,
            base=identity.name,
            base_digest=identity.digest,
            revision=identity.revision,
            prompt=self.captioner.prompt_text,
            style=None if identity.style is None else OWN_PROMPT if options.prompt is not None else options.style,
            frames=1 if frames is None else frames.count,
            longest_side=1 if frames is None else frames.longest_side,
            max_words=self.config.max_words,
            beam_size=self.config.beam_size,
            files=list(files),
        )
        training = {
            "recipe": self.recipe.name,
            "command": self.command,
            "seed": self.config.seed,
            "epochs": progress.epochs,
            "epoch": progress.best_epoch,
            "select": self.config.select,
            "validation": chosen.get("validation", {}),
            "data": {
                "name": self.data.name,
                "videos": len(self.train),
                "captions": len(self.loop.train),
                "held_out": len(self.validation),
            },
            "settings": {**asdict(self.config), **asdict(self.recipe.adapter)},
            "weights": sum(weight.numel() for weight in self.parameters.values()),
            "untrained": not progress.epochs,
            **({"labels_by": self.data.labels_by} if self.data.labels_by else {}),
        }
        name = self.run.resolve().name
        return adapter_of(name, config, self.data.lexicon, training, files, self.base.place)
