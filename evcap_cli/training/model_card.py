"""The README.md of a checkpoint: what it is, how it was made, how well it does, what it cannot do, how to use it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from evcap_cli import plugins
from evcap_cli.console import counted
from evcap_cli.data.features_layout import SURROGATE_NOTE, surrogate_kinds
from evcap_cli.data.origins import labels_note
from evcap_cli.network.config import FusionConfig
from evcap_cli.scoring.metrics import LABELS, PRINTED_DECIMALS, metric_text
from evcap_cli.training.epoch_selection import ORACLE_NOTE, how_chosen
from evcap_cli.training.recipe import ORACLE
from evcap_cli.version import __version__

if TYPE_CHECKING:
    from evcap_cli.checkpoints.checkpoint import Checkpoint

LIMITS: Final = (
    "It writes English, at most {words} words a caption, and only words of its vocabulary.",
    "It names what a video seems to express, in the {categories} categories of its lexicon. It does not know what"
    " anybody feels: do not use it to judge people.",
    "On videos unlike those it was trained on, its captions can be wrong in every part; its scores are of videos like"
    " those.",
)
_HEAD: Final = (
    "---\nlibrary_name: evcap\npipeline_tag: video-text-to-text\ntags: [video-captioning, emotion, evcap]\n---\n"
)


def model_card(
    checkpoint: Checkpoint, test: Mapping[str, Any] | None = None, *, about: str = "", comparison: str = ""
) -> str:
    """Markdown with the hub's front matter.

    Args:
        checkpoint: with what training noted in it.
        test: what test.json holds.
        about: what the data was, in a sentence or two.
        comparison: the run next to printed rows, as Markdown.
    """
    training = checkpoint.training
    parts = [_HEAD, f"# {checkpoint.name or 'evcap checkpoint'}\n"]
    if checkpoint.untrained:
        parts.append("**Random weights: not trained. For tests and benchmarks only.**\n")
    surrogate = bool(surrogate_kinds(checkpoint.backbones))
    if surrogate:
        parts.append(f"**{SURROGATE_NOTE[0].upper()}{SURROGATE_NOTE[1:]}. It cannot caption videos.**\n")
    if checkpoint.labels_by:
        parts.append(f"**Trained on {labels_note(checkpoint.labels_by)}.**\n")
    if training.get("select") == ORACLE:
        parts.append(f"**Oracle: {ORACLE_NOTE}.**\n")
    parts.append(
        "A captioner for [evcap](https://pypi.org/project/evcap/): it says what happens in a video and what it feels"
        f" like. Made by evcap {__version__}.\n"
    )
    if about:
        parts.append(f"{about}\n")
    if not surrogate:
        parts.append("```\nevcap caption VIDEOS -c THIS_FOLDER -o out.srt -o out.jsonl\n```\n")
    parts.append("## How it was made\n")
    if training.get("command"):
        parts.append(f"```\n{training['command']}\n```\n")
    parts.append("".join(f"- {fact}\n" for fact in _facts(checkpoint)))
    parts += score_parts(training, test, " on SURROGATE features" if surrogate else "")
    if comparison:
        parts += ["## Beside printed numbers\n", comparison]
    parts.append("## Limits\n")
    config = checkpoint.model.config
    limits = [limit.format(words=checkpoint.beam.max_words, categories=config.categories) for limit in LIMITS]
    if checkpoint.familiarity is not None:
        limits.append("Each caption has a familiarity: below 0.01 the video is unlike those it was trained on.")
    parts.append("".join(f"- {limit}\n" for limit in limits))
    parts.append("## Licences\n")
    parts.append("".join(f"- {line}\n" for line in _licences(checkpoint)))
    return "\n".join(part for part in parts if part)


def _facts(checkpoint: Checkpoint) -> Iterator[str]:
    training, config = checkpoint.training, checkpoint.model.config
    imported = training.get("imported")
    if imported:
        yield f"weights of the released code, imported from {imported['file']} (digest {imported['digest']})"
    else:
        yield f"recipe {training.get('recipe')}, seed {training.get('seed')}"
    if "init" in training:
        yield from _origin(training["init"])
    settings = training.get("settings")
    if settings:
        yield (
            f"learning rate {settings['learning_rate']:g} ({settings['schedule']}), {settings['batch_size']} captions a"
            f" step, captions cut at {settings['max_words']} words"
        )
        if settings.get("precision", "auto") not in ("auto", "fp32"):
            yield f"mixed precision ({settings['precision']}); weights and losses in single precision"
    data = training.get("data")
    if data:
        named = f"{data['name']}: " if data.get("name") else ""
        extra = data.get("extra_captions")
        yield (
            f"data: {named}{counted(data['videos'], 'video')} with {counted(data['captions'], 'caption')} to learn"
            f" from, {counted(data['held_out'], 'video')} held out"
            + (f"; words of {counted(extra, 'extra caption')} in the vocabulary" if extra else "")
        )
    if not imported:
        chosen = how_chosen(str(training.get("select")))
        yield f"epoch {training.get('epoch')} of {training.get('epochs')}, {chosen}"
    yield f"system: {_system(checkpoint.system)}"
    size = sum(parameter.numel() for parameter in checkpoint.model.parameters())
    wide = f"width {config.width}, " if hasattr(config, "width") else ""
    yield f"{size / 1e6:.1f} million weights, {wide}{len(checkpoint.vocabulary)} words{_modules(checkpoint)}"
    yield f"lexicon {checkpoint.lexicon.name} ({checkpoint.lexicon.digest})"
    surrogates = surrogate_kinds(checkpoint.backbones)
    for kind, record in checkpoint.backbones.items():
        weights = f", weights {record['weights_digest']}" if record.get("weights_digest") else ""
        made = "".join(f", {key} {value}" for key, value in record["options"].items()) if kind in surrogates else ""
        yield f"{kind}: {record['name']}, version {record['version']}{weights}{made}"


def _origin(init: Mapping[str, Any]) -> Iterator[str]:
    """The checkpoint whose weights the run started from, and where those came from."""
    for number, one in enumerate([init, *init["earlier"]]):
        start = "started from the weights of" if not number else "which started from those of"
        random = ", which was not trained" if one.get("untrained") else ""
        yield f"{start} {one['name']} (digest {one['digest']}{random})" + (
            f", trained on {one['data']}" if one["data"] else ""
        )
    if init["freeze"]:
        yield f"not trained further: {', '.join(init['freeze'])}"
    yield "features standardised by " + (
        "the statistics of this data" if init["refit_normalisation"] else "the statistics of that checkpoint"
    )


def _system(name: str) -> str:
    """Title, address and what it is, as far as it is registered here."""
    spec = plugins.systems().get(name)
    if spec is None:
        return name
    return f"{spec.shown}, {spec.about}" + (f" ({spec.source})" if spec.source else "")


def _modules(checkpoint: Checkpoint) -> str:
    """Which modules of the paper's system are on."""
    config = checkpoint.model.config
    if not isinstance(config, FusionConfig):
        return ""
    parts = (
        ("fine-grained fusion", config.fine_grained),
        ("audio-visual fusion", config.audio_visual),
        ("a decoder that looks at objects", config.decoder_objects),
    )
    on = [name for name, there in parts if there]
    return f"; {', '.join([*on[:-2], ' and '.join(on[-2:])]) or 'neither fusion module'}"


def score_parts(training: Mapping[str, Any], test: Mapping[str, Any] | None, features: str) -> list[str]:
    """A card's section on scores, both tables as one.

    Args:
        training: what a checkpoint notes of its training.
        test: what test.json holds.
        features: goes into each head, where what the scores are of must be said.
    """
    columns: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = []
    if training.get("validation"):
        columns.append((f"held-out videos{features}", training["validation"], {}))
    if test is not None:
        mark = " (ORACLE)" if test["select"] == ORACLE else ""
        mark += f", labels by {test['references_by']}" if test.get("references_by") else ""
        title = f"test split ({counted(test['videos'], 'video')}){features}{mark}"
        columns.append((title, test["metrics"], test.get("intervals", {})))
    if not columns:
        return []
    notes = [] if test is None else list(test.get("notes", []))
    if test is not None and test.get("intervals"):
        notes.insert(0, "in parentheses: 95 % intervals over resampled videos")
    return ["## Scores\n", _table(columns), "".join(f"- {note}\n" for note in notes)]


def _licences(checkpoint: Checkpoint) -> Iterator[str]:
    known = checkpoint.training.get("licences", {})
    for kind, record in checkpoint.backbones.items():
        if kind in known:
            yield f"{kind} features by {record['name']}: {known[kind]}"
    yield (
        "The captions and clips that a checkpoint was trained on have terms of their own (EmVidCap's come with an"
        " agreement): look there before you pass it on."
    )


def _table(columns: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]]) -> str:
    lines = ["| metric | " + " | ".join(title for title, _, _ in columns) + " |", "|---|" + "---|" * len(columns)]
    for name, label in LABELS.items():
        cells = []
        for _, values, intervals in columns:
            value = values.get(name)
            cell = metric_text(value, PRINTED_DECIMALS)
            if name in intervals:
                low, high = intervals[name]
                cell += f" ({low:.1f} to {high:.1f})"
            cells.append(cell)
        if any(cell != "-" for cell in cells):
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
