"""``evcap train``: from a data root and its videos to a checkpoint. A rerun of the same command goes on."""

from __future__ import annotations

import shlex
import sys
from contextlib import closing
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from evcap_cli import console
from evcap_cli.commands import options as shared
from evcap_cli.commands.run_flags import takes
from evcap_cli.commands.tuning import Request, TrainFlags, check_other_options, is_tuning, tune
from evcap_cli.data.features_layout import file_name
from evcap_cli.errors import EXIT_SOME_FAILED, DataError, UsageError
from evcap_cli.systems.tunable_captioner import MULTIMODAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evcap_cli.data.emvidcap import DataRoot
    from evcap_cli.data.parts import Subset
    from evcap_cli.engines.options import EngineOptions
    from evcap_cli.training.initial_weights import InitialWeights
    from evcap_cli.training.trainer import Trainer, TrainResult

STALE: Final = (
    "state",
    "tensorboard",
    "log.jsonl",
    "test.json",
    "test.jsonl",
    "report.html",
    "validation/clips.json",
    "validation/captions.jsonl",
)
"""What --overwrite removes of an earlier run; the checkpoint's files are replaced whole at the end."""


class Module(StrEnum):
    """What ``--without`` leaves out; a Literal in a list is more than typer takes."""

    FINE_GRAINED = "fine-grained"
    AUDIO_VISUAL = "audio-visual"
    OBJECTS = "objects"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(takes(without=("segment", "batch_size"))(train))


def train(
    data: Annotated[
        Path | None, typer.Option("--data", envvar="EVCAP_DATA", metavar="ROOT", help="EmVidCap data root.")
    ] = None,
    videos: Annotated[
        Path | None, typer.Option("--videos", metavar="DIR", help="Folder of the videos.", show_default="ROOT/videos")
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            "--features",
            metavar="ROOT",
            help="Train without videos, on HDF5 features. Those that evcap wrote are found by themselves; of others,"
            " --backbone names a preset, or --appearance and the others name files.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="RUN", help="Run folder.", show_default="runs/MODEL-BACKBONE-DATE"),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            help="paper, paper-literal, demo, causal-evc-base (of --model multimodal), or a TOML file.",
            show_default="paper; with --init the checkpoint's settings",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME",
            help="The system to train: fusion, fusion+, epan, dcgn, canet, sa-lstm, another of evcap plugins, or"
            " multimodal: an adapter of the ready-made captioner that --base names.",
            show_default="the recipe's, else fusion",
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            "--init",
            metavar="CHECKPOINT",
            help="Start from the weights of a run, a checkpoint folder, demo or hf-hub:org/name: same system, same"
            " backbones, its words and those of the data.",
        ),
    ] = None,
    freeze: Annotated[
        list[str] | None,
        typer.Option(
            "--freeze",
            metavar="PART",
            help="With --init: leave a part as it is: encoder, emotion, decoder or words, as far as the system has it.",
        ),
    ] = None,
    refit_normalisation: Annotated[
        bool,
        typer.Option("--refit-normalisation", help="With --init: standardise features by the statistics of this data."),
    ] = False,
    without: Annotated[
        list[Module] | None,
        typer.Option("--without", help="Leave a module of fusion out; objects is one of fusion+."),
    ] = None,
    subset: shared.DataSubset = "L",
    glove: Annotated[
        Path | None, typer.Option("--glove", metavar="FILE", help="glove.6B.300d.txt or GloVe_300.json to start from.")
    ] = None,
    extra_captions: Annotated[
        Path | None,
        typer.Option(
            "--extra-captions",
            metavar="PATH",
            help="Captions whose words join the vocabulary, such as MSVD's train.csv; nothing is trained on them.",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs", min=0, show_default="30; with --base 3; with --init the checkpoint's, at least 600 steps"
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Captions a step.", show_default="128; with --base 16")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--lr", help="Learning rate.", show_default="7e-4; with --base 1e-4")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, show_default="0")] = None,
    select: Annotated[
        Literal["cfs", "loss", "last", "oracle"] | None,
        typer.Option(
            "--select",
            help="What chooses the epoch: cfs or loss of held-out videos, last, or oracle (the test split itself, as"
            " much published code does; marked in every result).",
            show_default="cfs",
        ),
    ] = None,
    early_stop: Annotated[
        int | None, typer.Option("--early-stop", min=0, help="Stop after N epochs without a better one.")
    ] = None,
    self_critical_epochs: Annotated[
        int | None,
        typer.Option(
            "--self-critical",
            metavar="N",
            min=0,
            help="N further epochs, from the best one on, that reward sampled captions by their CFS.",
            show_default="0",
        ),
    ] = None,
    test: Annotated[bool, typer.Option("--test/--no-test", help="Score the test split once, at the end.")] = True,
    push_to_hub: Annotated[
        str | None,
        typer.Option("--push-to-hub", metavar="ORG/NAME", help="Upload the checkpoint to the hub at the end."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start again instead of going on.")] = False,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the recipe with all values.")] = False,
    *,
    flags: TrainFlags,
) -> None:
    """Train a captioning system on EmVidCap, or on a data set in its layout.

    A rerun of the same command goes on after the last finished epoch.

    Example: evcap train --backbone lite --data demo-data -o runs/demo --recipe demo

    Example: evcap train --backbone clip --data EPAN/ --features EPAN/ -o runs/clip

    Example: evcap train --model dcgn --backbone clip --data EPAN/ --videos clips/

    Example: evcap train --init demo --data mine -o runs/mine

    Example: evcap train --model multimodal --base smolvlm2 --data mine -o runs/lora
    """
    from evcap_cli.training.recipe import DEFAULT, ORACLE, load_recipe

    if is_tuning(model, recipe, flags):
        other = {
            "--features": features,
            "--init": init,
            "--freeze": freeze,
            "--refit-normalisation": refit_normalisation,
            "--without": without,
            "--glove": glove,
            "--extra-captions": extra_captions,
            "--self-critical": self_critical_epochs,
            "--select oracle": select == ORACLE,
        }
        check_other_options(other, flags)
        _note_engine(flags.engine_options())
        given = {
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "seed": seed,
            "select": select,
            "early_stop": early_stop,
        }
        request = Request(
            recipe,
            lambda: _training_root(data, subset),
            videos,
            output,
            given,
            test,
            push_to_hub,
            overwrite,
            print_config,
            _remove_earlier_run,
            lambda base: _run_folder(MULTIMODAL, file_name(Path(base).name), None),
        )
        tune(request, flags)
        return
    _check_system(model)
    initial = _initial(init, freeze or (), refit_normalisation)
    chosen = load_recipe(recipe or DEFAULT, model) if initial is None else initial.recipe(recipe, model)
    chosen = chosen.leaving_out([module.value for module in without or ()])
    if initial is not None:
        initial.check(chosen)
    chosen = chosen.with_values(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        select=select,
        early_stop=early_stop,
        self_critical_epochs=self_critical_epochs,
        precision=None if flags.dtype == "auto" else flags.dtype,
    )
    if print_config:
        console.data(chosen.to_toml())
        return

    from evcap_cli.devices import choose_device
    from evcap_cli.engines.options import devices_of
    from evcap_cli.files import check_writable
    from evcap_cli.training.feature_sources import features_of_folder, features_of_videos
    from evcap_cli.training.run_log import FILE as LOG

    options, engine = flags.options(), flags.engine_options()
    if initial is not None:
        options = initial.options(options, videos=features is None)
    if features is None and not options.addresses():
        raise UsageError("no backbone is named", hint="give --backbone lite, which needs no download, resnet or clip")
    if features is not None and videos is not None:
        raise UsageError("--features and --videos exclude each other", hint="give one of them")
    if chosen.train.select == ORACLE and not test:
        raise UsageError("--select oracle chooses on the test split", hint="leave out --no-test, or use --select cfs")
    if push_to_hub is not None:
        from evcap_cli.checkpoints.hub import check_pushing

        check_pushing(push_to_hub)
    root = _training_root(data, subset)
    extra = [] if extra_captions is None else _words(extra_captions)
    run = output or _run_folder(chosen.system, flags.backbone, init)
    check_writable(run / LOG)
    if init is not None and Path(init).resolve() == run.resolve():
        raise UsageError("--init and -o are the same folder", path=run, hint="give the new run a folder of its own")
    if initial is not None and recipe is None and epochs is None:
        chosen = initial.with_enough_steps(chosen, sum(map(len, root.train.values())))
    # several devices make features of videos; training goes on on the first
    device = choose_device(options.device if features is not None else devices_of(options.device)[0])
    if features is not None:
        _note_engine(engine)
        found = features_of_folder(features, root, chosen, options, test=test, complete=initial is None)
    else:
        folder = videos or root.root / "videos"
        found = features_of_videos(folder, root, chosen, options, test=test, engine=engine)

    from evcap_cli.checkpoints.hub import without_places
    from evcap_cli.training.trainer import Trainer

    with closing(found):
        if overwrite:
            _remove_earlier_run(run)

        trainer = Trainer(
            found.recipe,
            root.train,
            root.lexicon if initial is None else initial.lexicon(root.lexicon),
            found.source,
            run,
            device=str(device),
            glove=glove,
            sampling=found.sampling,
            command=without_places(shlex.join(["evcap", *sys.argv[1:]])),
            test=root.test,
            extra=extra,
            data=f"{root.root.resolve().name} (EmVidCap-{root.subset} layout)",
            initial=initial,
            files=root.segment_files,
            labels_by=root.labels_by,
        )
        result = trainer.fit()
        if trainer.accelerator.is_main_process:
            missing = _finish(trainer, result, root, found.scored)
            if push_to_hub is not None:
                address = result.checkpoint.push_to_hub(push_to_hub, folder=run)
                console.info(f"pushed to {address}: {_use(trainer, address)}")
            if missing:
                raise typer.Exit(EXIT_SOME_FAILED)


def _note_engine(engine: EngineOptions) -> None:
    """Say that nothing is made of videos, for which alone there are engines."""
    if engine.engine != "local":
        console.warn(f"--engine {engine.engine} is not used: no features are made of videos here")


def _check_system(name: str | None) -> None:
    """See that there is such a system; --print-config checks no more."""
    from evcap_cli import plugins

    if name is not None and name not in plugins.systems():
        known = ", ".join(sorted({*plugins.systems(), MULTIMODAL}))
        raise UsageError(f"unknown --model {name!r}", hint=f"this evcap trains: {known}")


def _initial(source: str | None, freeze: Sequence[str], refit_normalisation: bool) -> InitialWeights | None:
    from evcap_cli.training.initial_weights import InitialWeights

    if source is not None:
        return InitialWeights.open(source, freeze=freeze, refit_normalisation=refit_normalisation)
    if freeze or refit_normalisation:
        flag = "--freeze" if freeze else "--refit-normalisation"
        raise UsageError(f"{flag} is of runs that start from a checkpoint", hint="give it with --init CHECKPOINT")
    return None


def _run_folder(system: str, preset: str | None, init: str | None) -> Path:
    origin = preset or ("own" if init is None else f"from-{file_name(Path(init).name)}")
    return Path("runs") / f"{system}-{origin}-{date.today().isoformat()}"


def _words(path: Path) -> list[str]:
    from evcap_cli.data.msvd import read_extra_captions

    words: list[str] = read_extra_captions(path)
    return words


def _training_root(data: Path | None, subset: Subset) -> DataRoot:
    from evcap_cli.data.emvidcap import HOW_TO_GET, DataRoot
    from evcap_cli.data.origins import labels_note

    if data is None:
        raise UsageError("no data set to train on", hint=HOW_TO_GET)
    root = DataRoot.open(data, subset)
    if not root.train:
        raise DataError("holds test captions only: nothing to train on", path=data, hint=HOW_TO_GET)
    for warning in root.warnings:
        console.warn(warning)
    if root.labels_by:
        console.info(f"{data}: {labels_note(root.labels_by)}")
    return root


def _remove_earlier_run(run: Path) -> None:
    import shutil

    for name in STALE:
        path = run / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _finish(trainer: Trainer, result: TrainResult, root: DataRoot, scored: bool) -> list[str]:
    """Score the chosen epoch on the test split, once, and say what is there now; returns metrics that are not."""
    from evcap_cli.training.final_scores import score_test
    from evcap_cli.training.printed_comparison import text_table

    missing: list[str] = []
    if scored:
        document = score_test(trainer, result, root.test)
        missing = document.get("missing", [])
        for note in document["notes"]:
            console.warn(note)
        for line in text_table(document):
            console.info(line)
    run, epochs = trainer.run, len(result.history)
    chosen = f"epoch {result.best_epoch} of {epochs}" if epochs else "untrained"
    console.info(f"{run}: checkpoint written ({chosen}); {_use(trainer, run)}")
    if missing:
        console.error(f"{run}: the test scores lack {', '.join(missing)}; the same command scores again")
    return missing


def _use(trainer: Trainer, checkpoint: Path | str) -> str:
    """What can be done with the checkpoint of a run, in words."""
    from evcap_cli.data.features_layout import surrogate_kinds

    if surrogate_kinds(trainer.source.backbones):
        return "made on surrogate features, it cannot caption videos"
    return f"use it with `evcap caption VIDEOS -c {checkpoint} -o out.srt`"
