"""``evcap explain``: one page about what the system did with one video."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evcap_cli import console
from evcap_cli.commands import options as shared
from evcap_cli.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(explain)


def explain(
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="One video.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="HTML", help="The page to write.")] = Path(
        "explain.html"
    ),
    checkpoint: shared.Checkpoint = "demo",
    backbone: shared.Preset = None,
    appearance: shared.Appearance = None,
    motion: shared.Motion = None,
    object_: shared.Object = None,
    audio: shared.Audio = None,
    weights: shared.Weights = None,
    option: shared.Option = None,
    audio_track: shared.AudioTrack = 0,
    beam_size: Annotated[int | None, typer.Option(min=1, help="Beams; 5 in the paper.", show_default="5")] = None,
    length_penalty: Annotated[
        float | None, typer.Option(min=0, help="Power of the length normalisation.", show_default="1.6")
    ] = None,
    rerank: shared.RerankText = None,
    device: shared.Device = "auto",
    dtype: shared.Dtype = "auto",
    batch_size: shared.BatchSize = "auto",
    timeout: shared.Timeout = 120.0,
    decoder_memory: shared.DecoderMemory = shared.DECODER_MEMORY,
    cache_dir: shared.CacheDir = None,
    no_cache: shared.NoCache = False,
    config: shared.Config = None,
    quiet: shared.Quiet = False,  # noqa: ARG001  read by its callback
    verbose: shared.Verbose = False,  # noqa: ARG001
) -> None:
    """Show what the system looked at, heard and felt for each word of a caption, as one offline page.

    Example: evcap explain videos/a.mp4 -c runs/mine -o page.html
    """
    from evcap_cli.captioning.engine import Captioning
    from evcap_cli.captioning.options import CaptionOptions
    from evcap_cli.explaining.page import render
    from evcap_cli.explaining.video import explain as look_inside
    from evcap_cli.explaining.video import one_video
    from evcap_cli.files import check_writable, write_whole

    if output.suffix.lower() != ".html":
        raise UsageError("the page is HTML", path=output, hint="end its name with .html")
    source = one_video(video)
    if output.exists() and output.samefile(source.path):
        raise UsageError("is the video itself", path=output, hint="choose another -o")
    check_writable(output)
    settings = shared.backbone_settings(config, weights, option)
    choice = shared.rerank_choice(rerank)
    engine = Captioning(
        CaptionOptions(
            checkpoint=checkpoint,
            preset=backbone,
            backbones=shared.overrides(appearance, motion, object_, audio),
            presets=settings.presets,
            weights=settings.weights,
            backbone_options=settings.options,
            spare=settings.spare,
            device=device,
            dtype=dtype,
            batch_size=shared.batch_rows(batch_size),
            workers=1,
            beam_size=beam_size,
            length_penalty=length_penalty,
            rerank=choice,
            audio_track=audio_track,
            cache=not no_cache,
            cache_dir=cache_dir,
            timeout=timeout,
            decoder_memory=shared.decoder_memory(decoder_memory),
        )
    )
    shared.note_demo(checkpoint)
    explained = look_inside(source, engine)
    for text in explained.warnings:
        console.warn(f"{source.given}: {text}")
    write_whole(output, render(explained, engine.checkpoint))
    console.info(f"the inside of {source.given}: {output}")
