"""``evcap train --model multimodal``: options of its own, and from them to an adapter of a ready-made captioner."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from evcap_cli import console
from evcap_cli.commands.options import prompt_text
from evcap_cli.commands.run_flags import EngineFlags
from evcap_cli.errors import EXIT_SOME_FAILED, UsageError
from evcap_cli.systems.clip_captioner import Style
from evcap_cli.systems.tunable_captioner import MULTIMODAL

if TYPE_CHECKING:
    from evcap_cli.data.emvidcap import DataRoot
    from evcap_cli.features.kept_clips import KeptClips
    from evcap_cli.systems.tunable_captioner import TunableCaptioner
    from evcap_cli.training.tuning.tuning_recipe import TuningRecipe
    from evcap_cli.training.tuning.tuning_run import Base, TuningResult, TuningRun

PANEL: Final = f"With --model {MULTIMODAL}: an adapter of a ready-made captioner"
_NAMED_MISSING: Final = 3


@dataclass(frozen=True)
class TrainFlags(EngineFlags):
    """The options of features and of engines, and those of the training of an adapter, as they are typed."""

    base: Annotated[
        str | None,
        typer.Option(
            "--base",
            metavar="CAPTIONER",
            help="The ready-made captioner to tune: hf-hub:ORG/NAME[@REVISION], a folder, or a name such as smolvlm2.",
            rich_help_panel=PANEL,
        ),
    ] = None
    lora_rank: Annotated[
        int | None,
        typer.Option("--lora-rank", min=1, help="Rank of the changes.", show_default="16", rich_help_panel=PANEL),
    ] = None
    lora_alpha: Annotated[
        float | None,
        typer.Option(
            "--lora-alpha", help="Changes are scaled by alpha / rank.", show_default="32", rich_help_panel=PANEL
        ),
    ] = None
    lora_targets: Annotated[
        str | None,
        typer.Option(
            "--lora-targets",
            metavar="NAME,...",
            help="Linear layers to adapt, by the last parts of their names.",
            show_default="those of the language model, by family",
            rich_help_panel=PANEL,
        ),
    ] = None
    accumulate: Annotated[
        int | None,
        typer.Option(
            "--accumulate",
            min=1,
            metavar="N",
            help="Parts that a step's captions are divided into; doubled where memory ends.",
            show_default="4",
            rich_help_panel=PANEL,
        ),
    ] = None
    frames: Annotated[
        int | None,
        typer.Option("--frames", min=1, help="Frames a clip.", show_default="by family", rich_help_panel=PANEL),
    ] = None
    frame_size: Annotated[
        int | None,
        typer.Option(
            "--frame-size",
            min=1,
            metavar="PIXELS",
            help="Longer side to which larger frames are scaled down.",
            show_default="768",
            rich_help_panel=PANEL,
        ),
    ] = None
    style: Annotated[
        Style | None,
        typer.Option("--style", help="Of the prompt.", show_default="emotional", rich_help_panel=PANEL),
    ] = None
    prompt: Annotated[
        Path | None,
        typer.Option("--prompt", metavar="FILE", help="A prompt of your own.", rich_help_panel=PANEL),
    ] = None


_OWN: Final = ("lora_rank", "lora_alpha", "lora_targets", "accumulate", "frames", "frame_size", "style", "prompt")


@dataclass(frozen=True)
class Request:
    """What of the command line both kinds of training have.

    Args:
        root: opens the data.
        videos: folder of them; None: of the data root.
        output: run folder; None: one of its own name.
        train: values of the recipe's [train] that are given.
        test: whether the test split is scored.
        push_to_hub: ORG/NAME.
        overwrite: start again.
        print_config: print the recipe and stop.
        clean: removes what an earlier run left.
        run_folder: names the run folder by that of the base.
    """

    recipe: str | None
    root: Callable[[], DataRoot]
    videos: Path | None
    output: Path | None
    train: Mapping[str, Any]
    test: bool
    push_to_hub: str | None
    overwrite: bool
    print_config: bool
    clean: Callable[[Path], None]
    run_folder: Callable[[str], Path]


def is_tuning(model: str | None, recipe: str | None, flags: TrainFlags) -> bool:
    """Whether an adapter is to be trained.

    Raises:
        UsageError: options of adapters for another system.
    """
    from evcap_cli.training.tuning.tuning_recipe import is_tuning as of_adapters

    if model == MULTIMODAL or (model is None and (flags.base is not None or of_adapters(recipe))):
        return True
    given = [name for name in ("base", *_OWN) if getattr(flags, name) is not None]
    if given:
        raise UsageError(f"{_flag(given[0])} is of --model {MULTIMODAL}", hint="leave it out, or name that model")
    return False


def check_other_options(given: Mapping[str, object], flags: TrainFlags) -> None:
    """See that no option is given that only other systems have.

    Args:
        given: their options by name, and their values.
        flags: the others.

    Raises:
        UsageError: naming the first.
    """
    unread = ("backbone", "appearance", "motion", "object_", "audio", "weights", "option", "sampling")
    defaults = {each.name: each.default for each in fields(flags)}
    every = [*given.items(), *((_flag(name), getattr(flags, name)) for name in unread if defaults[name] is None)]
    for name, value in every:
        if value not in (None, False, [], 0):
            raise UsageError(
                f"{name} means nothing for --model {MULTIMODAL}, which reads frames and starts from --base",
                hint="leave it out",
            )


def _flag(name: str) -> str:
    return f"--{name.strip('_').replace('_', '-')}"


def tune(request: Request, flags: TrainFlags) -> None:
    """Train an adapter, score it and say what is there.

    Raises:
        EvcapError: see ``TuningRun``.
    """
    recipe = _recipe(request, flags)
    if request.print_config:
        console.data(recipe.to_toml())
        return
    from evcap_cli.checkpoints.hub import check_pushing, without_places
    from evcap_cli.devices import choose_device
    from evcap_cli.files import check_writable
    from evcap_cli.training.run_log import FILE as LOG
    from evcap_cli.training.tuning.tuning_run import TuningRun

    if flags.base is None:
        raise UsageError(f"--model {MULTIMODAL} tunes a ready-made captioner, and none is named", hint=_HOW_TO_NAME)
    if request.push_to_hub is not None:
        check_pushing(request.push_to_hub)
    root = request.root()
    run = request.output or request.run_folder(flags.base)
    check_writable(run / LOG)
    base = _base(flags.base, recipe, root, None if flags.prompt is None else prompt_text(flags.prompt))
    with ExitStack() as kept:
        clips = _clips(request, flags, root, base.captioner, kept)
        if request.overwrite:
            request.clean(run)
        made = TuningRun(
            recipe,
            base,
            _data(root),
            clips,
            run,
            device=str(choose_device(flags.device)),
            command=without_places(shlex.join(["evcap", *sys.argv[1:]])),
        )
        result = made.fit()
        missing = _finish(made, result, request, clips)
    if missing:
        raise typer.Exit(EXIT_SOME_FAILED)


_HOW_TO_NAME: Final = "give --base hf-hub:ORG/NAME, the folder of a model, or a name such as smolvlm2"


def _recipe(request: Request, flags: TrainFlags) -> TuningRecipe:
    from evcap_cli.training.tuning.tuning_recipe import load_tuning_recipe

    if flags.dtype == "fp16":
        raise UsageError(f"--dtype fp16 is not for --model {MULTIMODAL}", hint="use bf16, which needs no scaling")
    if flags.style is not None and flags.prompt is not None:
        raise UsageError("--style and --prompt exclude each other", hint="leave one of them out")
    targets = None if flags.lora_targets is None else tuple(filter(None, map(str.strip, flags.lora_targets.split(","))))
    if targets == ():
        raise UsageError("--lora-targets names no layer", hint="for example --lora-targets q_proj,v_proj")
    precision = None if flags.dtype == "auto" else flags.dtype
    return load_tuning_recipe(request.recipe).with_values(
        train={**request.train, "accumulate": flags.accumulate, "precision": precision},
        adapter={"rank": flags.lora_rank, "alpha": flags.lora_alpha, "targets": targets},
        input={"frames": flags.frames, "frame_size": flags.frame_size, "style": flags.style},
    )


def _base(address: str, recipe: TuningRecipe, root: DataRoot, prompt: str | None) -> Base:
    """The captioner to tune, checked and without its weights.

    Raises:
        UsageError: there is none, it cannot be tuned, or nobody knows which of its layers.
    """
    from evcap_cli.checkpoints.hub import HUB_PREFIX
    from evcap_cli.systems.captioners import find_captioner
    from evcap_cli.systems.clip_captioner import CaptionerOptions, FrameRequest
    from evcap_cli.systems.tunable_captioner import TunableCaptioner
    from evcap_cli.training.tuning.tuning_run import Base

    found = find_captioner(address)
    if found is None:
        raise UsageError("is no ready-made captioner", path=address, hint=_HOW_TO_NAME)
    spec, place = found
    kind = spec.captioner_class()
    if not issubclass(kind, TunableCaptioner):
        raise UsageError("cannot be tuned here", path=address, hint="name a model, not a server, a run or a checkpoint")
    train, given = recipe.train, recipe.input
    options = CaptionerOptions(
        style=given.style,
        prompt=prompt,
        max_words=train.max_words,
        beam_size=train.beam_size,
        emotion=False,
        lexicon=root.lexicon,
    )
    captioner = kind(place, options)
    if given.frames is not None or given.frame_size is not None:
        own = captioner.reads.frames or FrameRequest()
        frames = FrameRequest(given.frames or own.count, given.frame_size or own.longest_side)
        captioner = kind(place, replace(options, frames=frames))
        if captioner.reads.frames != frames:
            raise UsageError(
                f"takes {captioner.reads.frames.count if captioner.reads.frames else 0} frames, not {frames.count}",
                path=address,
                hint="leave out --frames",
            )
    if prompt is not None and not captioner.takes_instructions:
        raise UsageError("takes no instructions", path=address, hint="leave out --prompt")
    captioner.check_adapter(recipe.adapter_options())
    return Base(spec.name, captioner, None if place.startswith(HUB_PREFIX) else Path(place).resolve())


def _clips(
    request: Request, flags: TrainFlags, root: DataRoot, captioner: TunableCaptioner[Any], kept: ExitStack
) -> KeptClips:
    """The clips of the data root; --no-cache keeps them in a folder that goes with the run."""
    from evcap_cli.features.cache import FeatureCache
    from evcap_cli.features.kept_clips import KeptClips
    from evcap_cli.features.raw_clips import RawClips
    from evcap_cli.files import temporary_folder
    from evcap_cli.systems.decoded_clips import raw_request

    options = flags.options()
    videos = root.videos(request.videos or root.root / "videos")
    _report(root, videos)
    decoding = RawClips(
        raw_request(captioner.reads),
        segmentation=f"from:{root.root}" if root.clips else "whole",
        workers=options.workers,
        timeout=options.timeout,
        decoder_memory=options.decoder_memory,
        audio_track=options.audio_track,
    )
    cache = FeatureCache(options.cache_dir if options.cache else kept.enter_context(temporary_folder()))
    return KeptClips(decoding, cache, videos, root.clips)


def _report(root: DataRoot, videos: Iterable[str]) -> None:
    """Say what there is to train on.

    Raises:
        UsageError: none of the training videos was found.
    """
    from evcap_cli.console import counted, listed

    there = set(videos)
    captions = sum(len(several) for several in root.train.values())
    console.info(
        f"{root.root}: {counted(len(root.train), 'video')} with {counted(captions, 'caption')} to train on,"
        f" {len(root.test)} to test on"
    )
    if not any(video in there for video in root.train):
        raise UsageError(
            "none of the training videos was found", path=root.root, hint="give their folder with --videos"
        )
    missing = [video for video in {**root.train, **root.test} if video not in there]
    if missing:
        lacks = counted(len(missing), "video was not found and is", "videos were not found and are")
        console.warn(f"{lacks} left out: {listed(missing, _NAMED_MISSING)}")


def _data(root: DataRoot) -> Any:
    from evcap_cli.training.tuning.tuning_run import RunData

    return RunData(
        root.train,
        root.test,
        root.lexicon,
        root.segment_files,
        f"{root.root.resolve().name} (EmVidCap-{root.subset} layout)",
        root.labels_by,
    )


def _finish(made: TuningRun, result: TuningResult, request: Request, clips: KeptClips) -> list[str]:
    """Score the chosen epoch on the test split, once, and say what is there now; returns metrics that are not."""
    from evcap_cli.checkpoints.adapter import push
    from evcap_cli.training.printed_comparison import text_table
    from evcap_cli.training.tuning.tuning_scores import score_adapter

    document: dict[str, Any] = {}
    if request.test:
        if any(video in clips.videos for video in made.data.test):
            document = score_adapter(made, result)
        else:
            console.warn("no video of the test split is there: nothing is scored")
    if not made.accelerator.is_main_process:
        return []
    if document:
        for note in document["notes"]:
            console.warn(note)
        for line in text_table(document):
            console.info(line)
    run, epochs = made.run, len(result.history)
    chosen = f"epoch {result.best_epoch} of {epochs}" if epochs else "untrained"
    console.info(f"{run}: adapter written ({chosen}); use it with `evcap caption VIDEOS -c {run} -o out.srt`")
    missing: list[str] = document.get("missing", [])
    if missing:
        console.error(f"{run}: the test scores lack {', '.join(missing)}; the same command scores again")
    if request.push_to_hub is not None:
        address = push(run, request.push_to_hub, made.captioner.adapter_key)
        console.info(f"pushed to {address}: use it with `evcap caption VIDEOS -c {address} -o out.srt`")
    return missing
