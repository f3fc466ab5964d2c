"""What a run leaves: the chosen epoch's weights as a checkpoint that says how it came to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import torch

from evcap_cli import plugins
from evcap_cli.checkpoints.checkpoint import Checkpoint
from evcap_cli.search.beam_search import BeamConfig
from evcap_cli.training.weights_licences import weights_licences

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Kind
    from evcap_cli.training.recipe import Recipe
    from evcap_cli.training.run_preparation import PreparedRun
    from evcap_cli.training.run_state import RunState


@dataclass(frozen=True)
class RunFacts:
    """What a checkpoint says of the run that made it, next to the run's state.

    Args:
        backbones: kind -> record. sampling: how the features' moments were chosen.
        name: of the checkpoint. command: the command line. data: what the data is called.
        extra_captions: how many captions lent the vocabulary their words.
        init: the checkpoint whose weights the run started from (``InitialWeights.origin``); None: random ones.
        labels_by: what wrote the captions, where people did not.
    """

    recipe: Recipe
    backbones: Mapping[Kind, Mapping[str, Any]]
    sampling: str
    name: str
    command: str = ""
    data: str = ""
    extra_captions: int = 0
    init: Mapping[str, Any] | None = None
    labels_by: str = ""


def make_checkpoint(facts: RunFacts, prepared: PreparedRun, state: RunState) -> Checkpoint:
    """The chosen epoch as a checkpoint, in memory."""
    config, progress = facts.recipe.train, state.progress
    model = plugins.system(facts.recipe.system).load()(prepared.config, torch.from_numpy(prepared.lexicon.mask()))
    model.load_state_dict({name: tensor.cpu() for name, tensor in state.best.items()})
    chosen = progress.history[progress.best_epoch - 1] if progress.best_epoch else {}
    return Checkpoint(
        model=model.eval(),
        vocabulary=prepared.vocabulary,
        lexicon=prepared.lexicon,
        backbones=cast("dict[Kind, dict[str, Any]]", {kind: dict(record) for kind, record in facts.backbones.items()}),
        beam=BeamConfig(config.beam_size, config.max_words, config.length_penalty, rerank=config.rerank),
        sampling=facts.sampling,
        training={
            "recipe": facts.recipe.name,
            "command": facts.command,
            "seed": config.seed,
            "epochs": progress.epochs,
            "epoch": progress.best_epoch,
            "select": config.select,
            "validation": chosen.get("validation", {}),
            "test": chosen.get("test", {}),
            "data": _data(facts, prepared),
            "settings": asdict(config),
            "licences": weights_licences(facts.backbones),
            "untrained": not progress.epochs and (facts.init is None or facts.init["untrained"]),
            **({} if facts.init is None else {"init": dict(facts.init)}),
            **({"labels_by": facts.labels_by} if facts.labels_by else {}),
        },
        name=facts.name,
        system=facts.recipe.system,
        familiarity=prepared.familiarity(),
    )


def _data(facts: RunFacts, prepared: PreparedRun) -> dict[str, Any]:
    return {
        "name": facts.data,
        "videos": len(prepared.features) - len(prepared.validation_clips),
        "captions": len(prepared.train),
        "held_out": len(prepared.validation_clips),
        "extra_captions": facts.extra_captions,
    }
