"""The README.md of an adapter: what it is, on which base, how it was made, how well it does, how to use it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from evcap_cli.checkpoints.hub import HUB_PREFIX
from evcap_cli.console import counted
from evcap_cli.data.origins import labels_note
from evcap_cli.training.epoch_selection import how_chosen
from evcap_cli.training.model_card import score_parts
from evcap_cli.version import __version__

if TYPE_CHECKING:
    from evcap_cli.checkpoints.adapter import Adapter

LIMITS: Final = (
    "It names what a video seems to express. It does not know what anybody feels: do not use it to judge people.",
    "On videos unlike those it was trained on, its captions can be wrong in every part; its scores are of videos like"
    " those.",
    "It needs its base model, which has a licence of its own. So have the captions and clips that it was trained on"
    " (EmVidCap's come with an agreement): look there before you pass it on.",
)


def adapter_card(adapter: Adapter, test: Mapping[str, Any] | None = None, *, comparison: str = "") -> str:
    """Markdown with the hub's front matter.

    Args:
        adapter: with what training noted in it.
        test: what test.json holds.
        comparison: the run's scores as a Markdown table.
    """
    training, base = adapter.training, adapter.config.base
    head = ["---", "library_name: evcap", "pipeline_tag: video-text-to-text"]
    if base.startswith(HUB_PREFIX):
        head += [f"base_model: {base.removeprefix(HUB_PREFIX)}", "base_model_relation: adapter"]
    head += ["tags: [video-captioning, emotion, evcap, lora]", "---", ""]
    parts = ["\n".join(head), f"# {adapter.name}\n"]
    if training.get("untrained"):
        parts.append("**Not trained: it captions as its base does. For tests and benchmarks only.**\n")
    if adapter.labels_by:
        parts.append(f"**Trained on {labels_note(adapter.labels_by)}.**\n")
    parts += [
        f"An adapter (LoRA) for {base}, a captioner for [evcap](https://pypi.org/project/evcap/): it says what happens"
        f" in a video and what it feels like. Made by evcap {__version__}; peft reads it too.\n",
        "```\nevcap caption VIDEOS -c THIS_FOLDER -o out.srt -o out.jsonl\n```\n",
        "## How it was made\n",
    ]
    if training.get("command"):
        parts.append(f"```\n{training['command']}\n```\n")
    parts.append("".join(f"- {fact}\n" for fact in _facts(adapter)))
    parts += score_parts(training, test, "")
    if comparison:
        parts += ["## Beside printed numbers\n", comparison]
    parts += ["## Limits\n", "".join(f"- {limit}\n" for limit in LIMITS)]
    return "\n".join(part for part in parts if part)


def _facts(adapter: Adapter) -> Iterator[str]:
    training, config = adapter.training, adapter.config
    settings, data = training["settings"], training["data"]
    revision = "" if config.revision is None else f", revision {config.revision}"
    yield f"base {config.base}{revision} (digest {config.base_digest})"
    yield (
        f"rank {settings['rank']}, alpha {settings['alpha']:g}: {training['weights'] / 1e6:.2f} million weights; those"
        " of the base are as they were"
    )
    yield f"{config.frames} frames of at most {config.longest_side} pixels, answers of at most {config.max_words} words"
    if config.prompt is not None:
        yield f"prompt ({config.style}): {config.prompt}"
    yield (
        f"recipe {training['recipe']}, seed {training['seed']}, learning rate {settings['learning_rate']:g}"
        f" ({settings['schedule']}), {settings['batch_size']} captions a step"
    )
    named = f"{data['name']}: " if data["name"] else ""
    yield (
        f"data: {named}{counted(data['videos'], 'video')} with {counted(data['captions'], 'caption')} to learn from,"
        f" {counted(data['held_out'], 'video')} held out"
    )
    yield f"epoch {training['epoch']} of {training['epochs']}, {how_chosen(str(training['select']))}"
    yield f"lexicon {adapter.lexicon.name} ({adapter.lexicon.digest})"
