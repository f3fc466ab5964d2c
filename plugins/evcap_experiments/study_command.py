"""``evcap study``: the paper's system, its modules off, and the compared systems, on a world whose truth is known."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evcap_cli import console
from evcap_cli.commands import options as shared
from evcap_cli.console import counted

if TYPE_CHECKING:
    from evcap_cli.data.emvidcap import DataRoot
    from evcap_experiments.study.study_plan import StudyPlan
    from evcap_experiments.study.study_work import StudySources
    from evcap_experiments.study.study_worlds import Sizes, Worlds

FOLDER = Path("study")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(study)


def study(
    context: typer.Context,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Worlds, runs and the report.")
    ] = FOLDER,
    videos: Annotated[int, typer.Option("--videos", min=1, help="Clips to train on.")] = 600,
    test_videos: Annotated[int, typer.Option("--test-videos", min=1, help="Unseen clips to test on.")] = 240,
    conflict_videos: Annotated[
        int, typer.Option("--conflict-videos", min=1, help="Clips whose sound contradicts the face.")
    ] = 120,
    seeds: Annotated[int, typer.Option("--seeds", min=1, metavar="N", help="Train each system with N seeds.")] = 3,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The first of them.")] = 0,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, show_default="the recipe's")] = None,
    recipe: Annotated[str, typer.Option("--recipe", help="A recipe of evcap train.")] = "study",
    only: Annotated[
        str | None,
        typer.Option(
            "--only",
            metavar="NAMES",
            help="Of fusion, a-off, b-off, both-off, epan, dcgn, canet, sa-lstm, dcgn-sc, fusion-sc, objects and"
            " fusion+.",
            show_default="all",
        ),
    ] = None,
    device: shared.Device = "auto",
    workers: shared.Workers = 2,
    cache_dir: shared.CacheDir = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show every run's command and how long it may take, and stop.")
    ] = False,
    config: shared.Config = None,
    quiet: shared.Quiet = False,
    verbose: shared.Verbose = False,
) -> None:
    """Train systems on the demo world and report what each module does, with intervals.

    A rerun of the same command goes on where it stopped. See docs/study.md of evcap.

    Example: evcap study -o study --seeds 3
    """
    from evcap_cli.checkpoints.hub import without_places
    from evcap_cli.data.emvidcap import DataRoot
    from evcap_cli.files import check_writable, temporary_folder
    from evcap_experiments.runs import train_parser
    from evcap_experiments.study.claims import answers
    from evcap_experiments.study.study_plan import plan_study
    from evcap_experiments.study.study_report import REPORT
    from evcap_experiments.study.study_systems import SYSTEMS, choose
    from evcap_experiments.study.study_work import Study
    from evcap_experiments.study.study_worlds import MAIN, Sizes, write_worlds

    systems = choose(only)
    sizes = Sizes(videos, test_videos, conflict_videos)
    given = ["--backbone", "lite", "--recipe", recipe, "--data", str(output / MAIN), "--device", device]
    given += ["--workers", str(workers)]
    for flag, value in (("--epochs", epochs), ("--cache-dir", cache_dir), ("--config", config)):
        given += [] if value is None else [flag, str(value)]
    given += [*(["--quiet"] if quiet else []), *(["--verbose"] if verbose else [])]
    with temporary_folder() as drawn:  # the facts decide the plan; nothing of it stays after a dry run
        root = DataRoot.open(write_worlds(drawn, sizes, render=False).main.root, "L")
        planned = plan_study(SYSTEMS, root, output, given, train_parser(context), range(seed, seed + seeds))
        if dry_run:
            _show({system: planned[system] for system in systems}, root, sizes)
            return
    check_writable(output / REPORT)
    worlds = write_worlds(output, sizes, workers=workers)

    from evcap_cli.devices import choose_device

    work = Study(
        folder=output,
        planned=planned,
        requested=systems,
        worlds=worlds,
        sources=lambda: _sources(worlds, config, device=device, workers=workers, cache_dir=cache_dir),
        command=without_places(shlex.join(["evcap", *sys.argv[1:]])),
        device=choose_device(device).type,
    )
    code = work.run()
    for answer in answers(work.results):
        console.data(f"{answer.state:14}{answer.claim.question}\n")
    console.info(f"wrote {output / REPORT}")
    raise typer.Exit(code)


def _sources(worlds: Worlds, config: Path | None, *, device: str, workers: int, cache_dir: Path | None) -> StudySources:
    """Features of both worlds by the lite backbones, by way of the cache."""
    from evcap_cli.features.building import backbones_of, build_pipeline
    from evcap_cli.features.options import FeatureOptions
    from evcap_cli.training.feature_sources import PipelineSource
    from evcap_experiments.study.study_work import StudySources

    settings = shared.backbone_settings(config, None, None)
    options = FeatureOptions(
        backbone="lite",
        weights=settings.weights,
        backbone_options=settings.options,
        allow_unused=settings.allow_unused,
        device=device,
        workers=workers,
        cache_dir=cache_dir,
    )
    videos = {clip.id: worlds.main.video(clip) for clip in worlds.main.facts}
    main = PipelineSource(build_pipeline(options, backbones_of(options)), videos)
    conflict = {clip.id: worlds.conflict.video(clip) for clip in worlds.conflict.facts}
    return StudySources(main, PipelineSource(main.pipeline, conflict))


def _show(planned: StudyPlan, root: DataRoot, sizes: Sizes) -> None:
    """The plan, on standard output."""
    from evcap_experiments.estimates import show_runs, show_time

    captions = sum(map(len, root.train.values()))
    console.answer(
        f"clips: {sizes.train} to train on ({counted(captions, 'caption')}),"
        f" {sizes.test} unseen, {sizes.conflict} in conflict"
    )
    for system, seeds in planned.items():
        console.answer(f"{system.title}: {sum(run.done for run in seeds.runs)} of {len(seeds.runs)} done")
        show_runs(seeds.runs)
    show_time(list(planned.values()), root)
