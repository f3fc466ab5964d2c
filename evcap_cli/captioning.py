"""The caption run: plan and checkpoint in, one record a video out, in the plan's order.

``Captioning`` holds what is heavy (checkpoint, backbones, feature pipeline); ``caption_plan`` adds what makes a run
safe: the journal, skipping what is finished, whole outputs. Commands parse and print, this module does the work.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from evcap_cli import __version__, console
from evcap_cli.errors import CheckpointError, EvcapError, PluginError, UsageError, WriteError
from evcap_cli.inputs import Plan, Source
from evcap_cli.media.memory import DEFAULT_BYTES
from evcap_cli.output.atomic import check_writable
from evcap_cli.output.journal import Journal
from evcap_cli.output.reading import read_records
from evcap_cli.output.records import TOP_CATEGORIES, Caption, Emotion, Media, Record, error_fields
from evcap_cli.output.rendering import FormatError, rendered, write_files
from evcap_cli.output.trees import Tree
from evcap_cli.paths import name_key, same_file_groups

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Backbone, Kind
    from evcap_cli.captioner.beam_search import Hypothesis
    from evcap_cli.captioner.checkpoint import Checkpoint
    from evcap_cli.captioner.config import Rerank
    from evcap_cli.data.lexicon import Lexicon
    from evcap_cli.features.pipeline import SegmentReady, VideoDone
    from evcap_cli.features.streams import ClipFeatures

UNFINISHED = "unfinished"
"""In the journal's folder: features of the videos under way."""
CLIPS_A_BATCH = 16
"""Clips that the captioner decodes at once; the shape is constant, a short batch is filled up."""
FLUSH_SECONDS = 15.0
"""So long a clip may wait for others to share its batch: people watch, and a kill must not cost much."""


@dataclass(frozen=True)
class CaptionOptions:
    """Everything that decides what a run writes, and how it gets there. None: as the checkpoint has it."""

    checkpoint: str = "demo"
    preset: str | None = None
    backbones: Mapping[str, str] = field(default_factory=dict)
    presets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """The user's own, of evcap.toml."""
    weights: Mapping[str, str] = field(default_factory=dict)
    backbone_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    spare: frozenset[str] = frozenset()
    """Names in weights and options that need not be in use."""
    device: str = "auto"
    dtype: str = "auto"
    batch_size: int | None = None
    workers: int = 2
    beam_size: int | None = None
    max_words: int | None = None
    length_penalty: float | None = None
    rerank: Rerank | None = None
    segment: str = "whole"
    sampling: str | None = None
    audio_track: int = 0
    mute: bool = False
    """Leave the sound away, as if no video had any: for experiments."""
    cache: bool = True
    cache_dir: Path | None = None
    timeout: float = 120.0
    decoder_memory: int = DEFAULT_BYTES
    """Bytes that decoding one video may take."""


class Captioning:
    """A checkpoint with its backbones, ready to caption.

    Raises:
        CheckpointError, PluginError, UsageError: before any video is touched.
    """

    def __init__(self, options: CaptionOptions) -> None:
        from evcap_cli.captioner.beam_search import BeamConfig
        from evcap_cli.captioner.checkpoint import Checkpoint
        from evcap_cli.devices import choose_device, choose_dtype
        from evcap_cli.features.cache import FeatureCache
        from evcap_cli.features.pipeline import FeaturePipeline

        self.options = options
        self.device = choose_device(options.device)
        self.checkpoint = Checkpoint.from_pretrained(options.checkpoint)
        self.checkpoint.model.to(self.device).eval()
        self.sampling = options.sampling or self.checkpoint.sampling
        self.dtype = choose_dtype(options.dtype, self.device)
        backbones = self._load_backbones()
        self.backbones: dict[str, str] = {
            kind: str(record["name"]) for kind, record in self.checkpoint.backbones.items()
        }
        beam = self.checkpoint.beam
        try:
            self.beam = BeamConfig(
                size=options.beam_size or beam.size,
                max_words=options.max_words or beam.max_words,
                length_penalty=beam.length_penalty if options.length_penalty is None else options.length_penalty,
                rerank=options.rerank or beam.rerank,
            )
            self.checkpoint.model.config.check_search(self.beam.max_words)
        except ValueError as problem:
            raise UsageError(f"cannot search like that: {problem}", hint="see --beam-size and --max-words") from problem
        self.pipeline = FeaturePipeline(
            backbones,
            cache=FeatureCache(options.cache_dir) if options.cache else None,
            segmentation=options.segment,
            sampling=self.sampling,
            workers=options.workers,
            batch_size=options.batch_size,
            device=self.device,
            timeout=options.timeout,
            decoder_memory=options.decoder_memory,
            audio_track=options.audio_track,
        )

    def _load_backbones(self) -> dict[Kind, Backbone]:
        """The backbones of the checkpoint; naming others is an error, naming the same ones is not."""
        from evcap_cli.backbones.loading import load_backbones
        from evcap_cli.backbones.published import check_stand_in
        from evcap_cli.captioner.checkpoint import backbone_record

        trained = self.checkpoint.backbones
        chosen = _choose_backbones(self.checkpoint, self.options)
        self.stand_ins = chosen.stand_ins
        loaded = load_backbones(
            chosen.addresses,
            weights=chosen.weights,
            options=chosen.options,
            spare=self.options.spare,
            device=self.device,
            dtype=self.dtype,
        )
        for kind in self.stand_ins:
            check_stand_in(trained[kind], loaded[kind], self.checkpoint.name)
            trained[kind] = backbone_record(loaded[kind])
        if self.stand_ins:
            names = " and ".join(f"{kind} {name}" for kind, name in self.stand_ins.items())
            console.warn(
                f"{self.checkpoint.name} was trained on feature files: that {names} gives the same is your word"
            )
        self.checkpoint.check_backbones(loaded)
        if self.options.mute:
            loaded.pop("audio", None)
        return loaded

    @property
    def settings(self) -> dict[str, Any]:
        """What records depend on beside the videos: the key of a journal and of a mirrored tree."""
        return {
            "evcap": __version__,
            # names the backbones' versions and weights as well: ``check_backbones`` saw that they are the same
            "checkpoint": [self.checkpoint.name, self.checkpoint.digest],
            **(
                {"stand_ins": {kind: self.checkpoint.backbones[kind] for kind in self.stand_ins}}
                if self.stand_ins
                else {}
            ),
            "dtype": str(self.dtype),
            "beam": [self.beam.size, self.beam.max_words, self.beam.length_penalty],
            **({"rerank": asdict(self.beam.rerank)} if self.beam.rerank.on else {}),
            "segment": self.options.segment,
            "sampling": self.sampling,
            "audio_track": self.options.audio_track,
            "mute": self.options.mute,
            "device": str(self.device),
        }

    def run(self, sources: Sequence[Source]) -> Generator[Record, None, None]:
        """Records of ``sources`` in their order; a bad video gives a failed record, never an exception.

        Several names of one file (links) get a record each; it is decoded and captioned once.
        """
        groups = same_file_groups((number, source.path) for number, source in enumerate(sources))
        first_of = {number: group[0] for group in groups for number in group}
        last_of = {group[0]: group[-1] for group in groups}
        kept: dict[int, Record] = {}
        with closing(self._run([sources[group[0]] for group in groups])) as made:
            for number, source in enumerate(sources):
                first = first_of[number]
                if first == number:
                    kept[number] = next(made)
                yield replace(kept[first], path=source.given, id=source.id)
                if last_of[first] == number:
                    del kept[first]

    def _run(self, sources: Sequence[Source]) -> Generator[Record, None, None]:
        """Records of different files, in their order."""
        from evcap_cli.features.pipeline import SegmentReady

        since = time.monotonic()
        waiting: list[SegmentReady] = []
        captions: dict[int, list[Caption]] = {}
        finished: list[VideoDone] = []

        def flush() -> Iterator[Record]:
            for event, caption in zip(waiting, self._caption(waiting), strict=True):
                captions.setdefault(event.video, []).append(caption)
            waiting.clear()
            for done in finished:
                yield self._record(sources[done.video], done, captions.pop(done.video, []))
            finished.clear()

        for event in self.pipeline.run([source.path for source in sources]):
            if isinstance(event, SegmentReady):
                since = since if waiting else time.monotonic()
                waiting.append(event)
            else:
                finished.append(event)
            late = finished and time.monotonic() - since > FLUSH_SECONDS
            if len(waiting) == CLIPS_A_BATCH or (not waiting and finished) or late:
                yield from flush()
        yield from flush()

    def keep_unfinished(self, folder: Path) -> None:
        """Keep features of videos that are not finished in ``folder``: without a cache, a long one would start anew.

        Not where a video is one segment: a part of it would be worth nothing.
        """
        if self.pipeline.cache is None and self.options.segment != "whole":
            self.pipeline.unfinished = folder

    def drop_unfinished(self, record: Record) -> None:
        """The video of ``record`` is finished."""
        if self.pipeline.unfinished is not None and record.digest:
            shutil.rmtree(self.pipeline.unfinished / record.digest, ignore_errors=True)

    def _caption(self, events: Sequence[SegmentReady]) -> list[Caption]:
        """Captions of up to ``CLIPS_A_BATCH`` segments in one batch of constant shape."""
        import torch

        from evcap_cli.captioner.collate import collate
        from evcap_cli.captioner.reranking import best_captions

        if not events:
            return []
        model = self.checkpoint.model
        clips = [self._heard(event.features) for event in events]
        clips += [clips[-1]] * (CLIPS_A_BATCH - len(clips))
        with torch.inference_mode():
            prepared = model.prepare(collate(clips, model.config).to(self.device))
            found = best_captions(model, prepared, self.beam, self.checkpoint.vocabulary, self.checkpoint.lexicon)
        told = prepared.categories
        felt = [None] * len(clips) if told is None else told.float().cpu().tolist()
        return [
            self._sentence(event, hypotheses[0], probabilities)
            for event, hypotheses, probabilities in zip(events, found, felt, strict=False)
        ]

    def _heard(self, features: ClipFeatures) -> ClipFeatures:
        """``features``, without their sound where the run is mute."""
        import torch

        from evcap_cli.features.streams import StreamFeatures

        wide = self.checkpoint.model.config.streams.get("audio")
        if not self.options.mute or wide is None:
            return features
        silence = StreamFeatures(torch.zeros(0, wide), torch.zeros(0))
        return replace(features, streams={**features.streams, "audio": silence})

    def _sentence(self, event: SegmentReady, hypothesis: Hypothesis, probabilities: Sequence[float] | None) -> Caption:
        words = self.checkpoint.vocabulary.decode(hypothesis.tokens)
        emotion = emotion_of(words, probabilities, self.checkpoint.lexicon)
        segment = event.segment
        return Caption(_down(segment.start), _down(segment.end), " ".join(words), hypothesis.score, emotion)

    def _record(self, source: Source, done: VideoDone, captions: Sequence[Caption]) -> Record:
        error = done.error
        return Record(
            path=source.given,
            id=source.id,
            digest=done.digest or None,
            status="ok" if error is None else "failed",
            captions=tuple(captions) if error is None else (),
            media=None if done.info is None else media_fields(done),
            backbones=self.backbones,
            checkpoint={
                "name": self.checkpoint.name,
                "digest": self.checkpoint.digest,
                **({"untrained": True} if self.checkpoint.untrained else {}),
                **({"stand_ins": self.stand_ins} if self.stand_ins else {}),
                **({"weights": self.checkpoint.weights} if self.checkpoint.weights else {}),
            },
            warnings=tuple(done.warnings),
            error=None if error is None else error_fields(error),
        )


@dataclass(frozen=True)
class _Chosen:
    """Which backbones a run loads, with what; and which of them the user names for feature files."""

    addresses: dict[Kind, str]
    weights: dict[str, str]
    options: dict[str, Mapping[str, str]]
    stand_ins: dict[Kind, str]


def _choose_backbones(checkpoint: Checkpoint, options: CaptionOptions) -> _Chosen:
    """The backbones of ``checkpoint``, with what the user says about them.

    Raises:
        CheckpointError: the user names others. PluginError: one is not installed.
    """
    from evcap_cli.backbones.presets import backbone_addresses
    from evcap_cli.backbones.published import stand_ins

    trained = checkpoint.backbones
    asked = {
        kind: name
        for kind, name in backbone_addresses(options.preset, options.backbones, options.presets).items()
        # a preset names all four kinds, whatever the checkpoint reads
        if kind in trained or kind in options.backbones
    }
    found = stand_ins(trained, asked, checkpoint.name)
    for kind, name in found.items():
        trained[kind] = {**trained[kind], "name": name}
    addresses = {kind: str(record["name"]) for kind, record in trained.items()}
    for kind, name in asked.items():
        if name != addresses.get(kind):
            used = f"{kind} backbone {addresses[kind]}" if kind in addresses else f"no {kind} backbone"
            raise CheckpointError(
                f"was trained with {used}, not with {name}",
                path=checkpoint.name,
                hint="leave the option out, or train a checkpoint with that backbone",
            )
    _check_installed(checkpoint)
    # drawn weights are drawn again, unless the user names others, by the backbone's name or its full address
    drawn = {
        name: source
        for name, source in checkpoint.random_weights.items()
        if not {name, name.partition(":")[0]} & set(options.weights)
    }
    trained_options = {str(record["name"]).partition(":")[0]: record["options"] for record in trained.values()}
    return _Chosen(
        addresses,
        weights={**drawn, **options.weights},
        options={**trained_options, **options.backbone_options},
        stand_ins=found,
    )


def _check_installed(checkpoint: Checkpoint) -> None:
    """See that the plugins of the checkpoint's backbones are there.

    Raises:
        PluginError: naming the first that is not, and the distribution to install.
    """
    from evcap_cli import plugins

    for kind, record in checkpoint.backbones.items():
        name = str(record["name"]).partition(":")[0]
        try:
            plugins.backbone_class(name, str(record.get("distribution", "")))
        except PluginError as problem:
            cause = f"needs the {kind} backbone {name}: {problem.cause}"
            raise PluginError(cause, path=checkpoint.name, hint=problem.hint) from problem


def check_backbones(options: CaptionOptions) -> None:
    """See what ``Captioning`` would refuse of backbones, before any weights are read.

    Raises:
        CheckpointError, PluginError, UsageError: as ``Captioning`` does.
    """
    from evcap_cli.backbones.loading import make_backbones
    from evcap_cli.captioner.checkpoint import Checkpoint

    chosen = _choose_backbones(Checkpoint.from_pretrained(options.checkpoint), options)
    make_backbones(chosen.addresses, chosen.weights, chosen.options, options.spare)


def emotion_of(words: Sequence[str], probabilities: Sequence[float] | None, lexicon: Lexicon) -> Emotion | None:
    """What a record says of a caption's emotion.

    Args:
        words: of the caption.
        probabilities: of the lexicon's categories; None where the captioning system perceives no emotion. The category
            is then that of the first emotion word of the caption, and there is no emotion without one.
        lexicon: of the checkpoint.
    """
    told = tuple(dict.fromkeys(word for word in words if word in lexicon.word_ids))
    if probabilities is None:
        if not told:
            return None
        return Emotion(lexicon.categories[lexicon.category_ids[told[0]][0]], None, told)
    order = sorted(range(len(probabilities)), key=lambda number: (-probabilities[number], number))
    return Emotion(
        category=lexicon.categories[order[0]],
        probability=probabilities[order[0]],
        words=told,
        top={lexicon.categories[number]: probabilities[number] for number in order[:TOP_CATEGORIES]},
    )


def _down(seconds: Any) -> float:
    """Whole milliseconds, rounded down so that no cue leaves its video."""
    return int(seconds * 1000) / 1000


def media_fields(done: VideoDone) -> Media:
    """What a record says of the container."""
    info = done.info
    if info is None:
        raise ValueError("this video was never opened")
    return Media(
        duration=None if info.duration is None else round(float(info.duration), 6),
        fps=None if info.fps is None else f"{info.fps.numerator}/{info.fps.denominator}",
        width=info.width,
        height=info.height,
        rotation=info.rotation,
        has_audio=info.has_audio,
        skipped_packets=done.skipped_packets,
        lost_frames_share=done.loss.frames_share,
        lost_audio_seconds=done.loss.audio_seconds,
        lost_audio_share=done.loss.audio_share,
    )


@dataclass
class Summary:
    """How a run ended."""

    total: int = 0
    done: int = 0
    failed: int = 0
    skipped: int = 0
    """Taken over from an earlier run of the same plan."""
    damaged: int = 0
    """Captioned, but more than a tenth of the picture or the sound was lost."""
    unwritten: list[WriteError] = field(default_factory=list)
    """What went wrong with whole outputs; the others are written."""

    def count(self, record: Record) -> None:
        """One more video is finished."""
        if record.status == "ok":
            self.done += 1
            self.damaged += record.lost_much
        else:
            self.failed += 1

    @property
    def exit_code(self) -> int:
        """0 all done, 3 some failed, 1 nothing done."""
        if self.failed == 0 and self.done == self.total > 0 and not self.unwritten:
            return 0
        return 3 if self.done else 1


def caption_plan(
    plan: Plan,
    engine: Captioning,
    *,
    retry_failed: bool = False,
    overwrite: bool = False,
    fail_fast: bool = False,
    on_record: Callable[[Record], None] = lambda _: None,
    summary: Summary | None = None,
) -> tuple[list[Record], Summary]:
    """Caption ``plan`` into its outputs; what an interrupted run finished is taken over.

    Args:
        plan: what to caption, and where to.
        engine: the checkpoint with its backbones.
        retry_failed: take over what went well in the JSONL that is there.
        overwrite: take nothing over, and replace mirrored files of other settings.
        fail_fast: stop at the first video that fails; whole outputs are not written then.
        on_record: called with each record made now, in the plan's order.
        summary: counted up on the way, so that a caller knows how far a run came that ended with an error.

    Returns:
        All records in the plan's order (fewer after ``fail_fast``; for trees, those made now), and the summary.

    Raises:
        UsageError: outputs of another run are in the way, or ``retry_failed`` finds no old records.
        WriteError: the journal or a tree cannot be written; what was finished stays there. Whole outputs that cannot
            be written are in the summary: the others are written, and the journal stays for the next run.
    """
    outputs = plan.outputs
    summary = Summary() if summary is None else summary
    summary.total = len(plan.sources)
    run = _Run(plan, engine, summary, fail_fast, on_record)
    kept = _old_records(plan, engine) if retry_failed else {}
    for path, _ in outputs.files:
        check_writable(path)
    if outputs.journal is None:
        return run.records(plan.sources, {}), summary
    with _Trees(plan, engine.settings, overwrite=overwrite) as trees:
        if not outputs.files and not outputs.stdout:
            return run.into_trees(trees), summary
        with Journal(outputs.journal, engine.settings) as journal:
            engine.keep_unfinished(outputs.journal / UNFINISHED)
            for source in plan.sources:
                finished = journal.get(source.given, source.path)
                record = kept.get(source.given) or (None if overwrite else finished)
                if record is not None and (record.status == "ok" or not (retry_failed or fail_fast)):
                    # the id depends on the other videos of the plan, which may have changed since
                    kept[source.given] = replace(record, id=source.id)
            records = run.records(plan.sources, kept, journal)
            if fail_fast and summary.failed:
                return records, summary
            summary.unwritten += write_files(outputs.files, records)
            for source, record in zip(plan.sources, records, strict=True):
                summary.unwritten += trees.write(source, record)
            if not summary.unwritten:
                journal.finish()
    return records, summary


@dataclass
class _Run:
    """One run over a plan: counts and announces what comes out."""

    plan: Plan
    engine: Captioning
    summary: Summary
    fail_fast: bool
    on_record: Callable[[Record], None]

    def records(
        self, sources: Sequence[Source], kept: Mapping[str, Record], journal: Journal | None = None
    ) -> list[Record]:
        """All records in the order of ``sources``: those ``kept``, and new ones, each in the journal at once."""
        todo = [source for source in sources if source.given not in kept]
        everything = dict(kept)
        self.summary.skipped = len(kept)
        for record in kept.values():
            self.summary.count(record)
        for source, record in self._made(todo):
            if journal is not None:
                journal.add(source.given, source.path, record)
                self.engine.drop_unfinished(record)
            everything[source.given] = record
            self._announce(record)
        return [everything[source.given] for source in sources if source.given in everything]

    def into_trees(self, trees: _Trees) -> list[Record]:
        """Write each video's files as soon as its record is there: the tree itself is the journal."""
        records: list[Record] = []
        todo = [source for source in self.plan.sources if not trees.finished(source)]
        self.summary.skipped = self.summary.done = len(self.plan.sources) - len(todo)
        for source, record in self._made(todo):
            problems = trees.write(source, record)
            made = (
                replace(record, status="failed", captions=(), error=error_fields(problems[0])) if problems else record
            )
            records.append(made)
            self._announce(made)
        return records

    def _made(self, todo: Sequence[Source]) -> Iterator[tuple[Source, Record]]:
        with closing(self.engine.run(todo)) as made:
            for source, record in zip(todo, made, strict=True):
                yield source, record
                if self.fail_fast and record.status == "failed":
                    return

    def _announce(self, record: Record) -> None:
        self.summary.count(record)
        self.on_record(record)


class _Trees:
    """The mirrored trees of a plan, open for one run; a video that failed has no file in any."""

    def __init__(self, plan: Plan, settings: Mapping[str, Any], *, overwrite: bool) -> None:
        self.trees = [
            (Tree(root, writer.suffix, settings, plan.sources, overwrite=overwrite), writer)
            for root, writer in plan.outputs.trees
        ]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack as stack:
            for tree, _ in self.trees:
                stack.enter_context(tree)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *problem: Any) -> None:
        self._stack.__exit__(*problem)

    def finished(self, source: Source) -> bool:
        """Whether every tree has the file of ``source``."""
        return all(tree.finished(source) for tree, _ in self.trees)

    def write(self, source: Source, record: Record) -> list[FormatError]:
        """The files of one video; returns what writers failed with, after whose the other trees have theirs.

        Raises:
            WriteError: a file cannot be written.
        """
        problems: list[FormatError] = []
        for tree, writer in self.trees:
            text = None
            if record.status == "ok":
                try:
                    text = rendered(tree.place(source), writer, [record])
                except FormatError as problem:
                    problems.append(problem)
            tree.write(source, text)
        return problems


def _old_records(plan: Plan, engine: Captioning) -> dict[str, Record]:
    """Records of the videos that went well in the run before, from the JSONL output."""
    path = next((path for path, writer in plan.outputs.files if writer.suffix == ".jsonl"), None)
    if path is None:
        raise UsageError("--retry-failed reads the old JSONL", hint="name it with -o, for example -o out.jsonl")
    if not path.exists():
        raise UsageError("is not there, so nothing can be retried", path=path, hint="run without --retry-failed")
    old = {record.path: record for record in read_records(path) if record.status == "ok"}
    for record in old.values():
        used = None if record.checkpoint is None else record.checkpoint["digest"]
        if used != engine.checkpoint.digest:
            raise UsageError(
                "was written with another checkpoint", path=path, hint="use the same -c, or run without --retry-failed"
            )
    alike = {name_key(name): name for name in old}
    found = {
        source.given: source.given if source.given in old else alike.get(name_key(source.given))
        for source in plan.sources
    }
    return {given: replace(old[name], path=given) for given, name in found.items() if name is not None}


def nothing_found(inputs: Sequence[str], shard: str | None = None) -> EvcapError:
    """The error of a plan without a single video; exit code 1."""
    if shard is not None:
        return EvcapError(f"no video falls to --shard {shard}", path=", ".join(inputs), hint="use fewer shards")
    return EvcapError("no video found", path=", ".join(inputs), hint="check the folder, or name the files themselves")
