"""From captions, lexicon and features to what the loop works on: split, vocabulary, tables, a fresh model.

All of it follows from the recipe, the data and the seed, so that a rerun prepares exactly the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from evcap_cli import console, plugins
from evcap_cli.backbones.identity import digest_of
from evcap_cli.backbones.weights import state_digest
from evcap_cli.checkpoints.building import check_size
from evcap_cli.console import counted, noun
from evcap_cli.data.caption_text import tokens
from evcap_cli.data.glove import glove_width, read_glove
from evcap_cli.data.learnable import learnable
from evcap_cli.data.special_tokens import SPECIALS
from evcap_cli.data.vocabulary import Vocabulary
from evcap_cli.errors import UsageError
from evcap_cli.features.familiarity import Familiarity, Means, spread
from evcap_cli.network.config import SystemConfig
from evcap_cli.training.recipe import MODULE_STREAMS
from evcap_cli.training.training_tables import CaptionTable, FeatureTable

if TYPE_CHECKING:
    from pathlib import Path

    from evcap_cli.data.lexicon import Lexicon
    from evcap_cli.systems.contract import CaptionModel
    from evcap_cli.training.feature_sources import FeatureSource
    from evcap_cli.training.initial_weights import InitialWeights
    from evcap_cli.training.recipe import Recipe

Words = Mapping[str, list[list[str]]]
_MODEL_STREAM = 1 << 20  # numbers the random stream of the first weights, far from any epoch's
_ROW_STREAM = _MODEL_STREAM + 1  # the same of the rows of words that a checkpoint to start from lacks


@dataclass
class PreparedRun:
    """Everything that a run trains on, and its fresh model.

    Args:
        features: clips of training and validation.
        train: captions to train on. validation: captions of the held-out videos.
        validation_clips: numbers of those videos in ``features``. validation_captions: their raw captions.
        train_captions: raw captions of the videos to train on.
        means: of the features of both, for ``familiarity``.
        fingerprint: digest of what decides the weights.
    """

    recipe: Recipe
    config: SystemConfig
    vocabulary: Vocabulary
    lexicon: Lexicon
    features: FeatureTable
    train: CaptionTable
    validation: CaptionTable
    validation_clips: list[int]
    validation_captions: dict[str, Sequence[str]]
    train_captions: dict[str, Sequence[str]]
    model: CaptionModel
    means: Means
    fingerprint: str

    def familiarity(self) -> Familiarity | None:
        """The summary of the training clips, calibrated on the validation clips; None where there are too few."""
        return Familiarity.fit(self.means.of(self.train_captions), self.means.of(self.validation_captions))


def seed_torch(seed: int, stream: int, rank: int = 0) -> None:
    """Seed torch for one stream of random numbers of a run: an epoch of a process, or the first weights."""
    torch.manual_seed(_seed(seed, stream, rank))


def _seed(seed: int, stream: int, rank: int = 0) -> int:
    return int(np.random.SeedSequence([seed, stream, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def prepare(
    recipe: Recipe,
    captions: Mapping[str, Sequence[str]],
    lexicon: Lexicon,
    source: FeatureSource,
    *,
    sampling: str = "moments",
    glove: Path | None = None,
    extra: Sequence[str] = (),
    initial: InitialWeights | None = None,
    files: Mapping[str, str] | None = None,
) -> PreparedRun:
    """Split by video, number words, read features, build the model.

    Args:
        recipe: of the run.
        captions: video -> raw captions, training and validation together.
        lexicon: gives labels and masks.
        source: of the features.
        sampling: how their moments were chosen.
        glove: file of word vectors to start from; random ones where None.
        extra: raw captions whose words join the vocabulary; nothing is trained on them.
        initial: the checkpoint to start from; None: random weights.
        files: clip -> the file that it is a segment of: validation gets whole files.

    Raises:
        TrainingError: nothing to train on.
        UsageError: a recipe that does not fit, or a checkpoint to start from.
        DataError: word vectors that do not fit.
    """
    train = recipe.train
    found = learnable(
        captions, max_words=train.max_words, validation_share=train.val_share, seed=train.seed, files=files
    )
    words, train_videos, validation = found.words, found.train, found.validation
    own = [cut for video in train_videos for cut in words[video]]
    more = [cut for text in extra if (cut := tokens(text, train.max_words))]
    vocabulary = Vocabulary.from_captions((*own, *more), min_count=train.min_count)
    if extra:
        alone = len(Vocabulary.from_captions(own, min_count=train.min_count))
        console.info(
            f"{len(vocabulary) - len(SPECIALS)} words, {len(vocabulary) - alone} of them from the extra captions alone"
        )
    if initial is not None:
        vocabulary = initial.vocabulary(vocabulary)
        initial.check_source(source.backbones, sampling)
    dims: dict[str, Any] = {kind: record["dim"] for kind, record in source.backbones.items()}
    if "appearance" not in dims:
        raise UsageError("the captioner needs an appearance backbone", hint="name one with --appearance")
    config = recipe.captioner(
        **{f"{kind}_dim": dims.get(kind) for kind in ("appearance", "motion", "object", "audio")},
        vocabulary=len(vocabulary),
        categories=len(lexicon.categories),
        words=len(lexicon.words),
    )
    try:
        config.check_search(train.max_words)
    except ValueError as problem:
        raise UsageError(f"[train] and [model] do not go together: {problem}", path=recipe.name) from problem
    _, off = recipe.reading(dims)
    if off:
        needed = next(kind for kind in MODULE_STREAMS[off[0]] if kind not in dims)
        raise UsageError(
            f"module {off[0]} needs the {needed} stream",
            hint=f"name a backbone with --{needed}, or leave the module out: --without {off[0]}",
        )
    if getattr(config, "decoder_audio", False) and "audio" not in config.streams:
        raise UsageError("decoder_audio needs module audio-visual", hint="set decoder_audio = false in the recipe")
    if getattr(config, "decoder_objects", False) and not getattr(config, "fine_grained", True):
        raise UsageError("decoder_objects needs module fine-grained", hint="set decoder_objects = false in the recipe")
    if initial is not None:
        initial.check_config(config)
    order = [*train_videos, *validation]
    means = Means({*spread(train_videos), *spread(validation)})
    features = FeatureTable.build(means.collect(source.read(order)), len(order), config)
    numbers = {video: number for number, video in enumerate(features.videos)}
    found.check(numbers)
    train_videos, validation = (
        [video for video in videos if video in numbers] for videos in (train_videos, validation)
    )
    missing = len(order) - len(numbers)
    if missing:
        lacks = noun(missing, "has no features and is left out", "have no features and are left out")
        console.warn(f"{missing} of {counted(len(order), 'video')} {lacks}")
    tables = [
        CaptionTable.build(
            {video: words[video] for video in videos},
            numbers,
            vocabulary,
            lexicon,
            per_video_labels=train.labels == "video",
        )
        for videos in (train_videos, validation)
    ]
    model = _model(recipe, config, vocabulary, lexicon, features, [numbers[video] for video in train_videos], initial)
    known = {} if initial is None else initial.known_words()
    word_vectors = "" if glove is None else _start_words(model, recipe.system, vocabulary, lexicon, glove, known)
    return PreparedRun(
        recipe=recipe,
        config=config,
        vocabulary=vocabulary,
        lexicon=lexicon,
        features=features,
        train=tables[0],
        validation=tables[1],
        validation_clips=[numbers[video] for video in validation],
        validation_captions={video: captions[video] for video in validation},
        train_captions={video: captions[video] for video in train_videos},
        model=model,
        means=means,
        fingerprint=_fingerprint(recipe, config, words, vocabulary, lexicon, source, sampling, word_vectors, initial),
    )


def _model(
    recipe: Recipe,
    config: SystemConfig,
    vocabulary: Vocabulary,
    lexicon: Lexicon,
    features: FeatureTable,
    learn: Sequence[int],
    initial: InitialWeights | None,
) -> CaptionModel:
    kind = plugins.system(recipe.system).load()
    try:
        check_size(lambda mask: kind(config, mask), (config.categories, config.words))
    except ValueError as problem:
        raise UsageError(f"the recipe's model cannot be built: {problem}", path=recipe.name) from problem
    seed_torch(recipe.train.seed, _MODEL_STREAM)
    model = kind(config, torch.from_numpy(lexicon.mask()))
    model.fit_lexicon(lexicon)
    if initial is not None:
        initial.start(model, vocabulary, lexicon, _seed(recipe.train.seed, _ROW_STREAM))
        initial.frozen(model)
    if initial is None or initial.refit_normalisation:
        model.fit_normalisation(features.clips(learn))
    return model


def _start_words(
    model: CaptionModel,
    system: str,
    vocabulary: Vocabulary,
    lexicon: Lexicon,
    glove: Path,
    known: Mapping[str, Collection[str]],
) -> str:
    """Start the word tables of ``model`` from a file, where it takes any; the digest of what they start from.

    Rows of the words that are ``known``, by the name of their table, stay as they are.
    """
    if not _takes(model, system, glove):
        return ""
    width = model.config.word_width
    lists = {"vocabulary": vocabulary.words, "categories": lexicon.categories, "words": lexicon.words}
    lists = {name: words for name, words in lists.items() if name in model.word_tables()}
    found = read_glove(glove, {word for words in lists.values() for word in words}, width)
    tables = {name: _rows(words, found, width, known.get(name, ())) for name, words in lists.items()}
    model.load_word_vectors(**tables)
    new = [word for word in vocabulary.words if word not in known.get("vocabulary", ())]
    which = "new words" if known else "words"
    console.info(f"word vectors for {sum(word in found for word in new)} of {len(new)} {which} from {glove}")
    return state_digest(tables)


def _takes(model: CaptionModel, system: str, glove: Path) -> bool:
    """Whether word vectors can fill anything of ``model``; one line says why not.

    A system that is published with words of a width of its own (SA-LSTM: 468) then starts from random ones. Any other
    width that does not fit is a mistake and refused where the file is read.
    """
    if not model.word_tables():
        console.warn(f"{system} has no words that word vectors could fill: {glove} is not used")
        return False
    own = type(model.config).word_width
    if model.config.word_width == own != SystemConfig.word_width and (width := glove_width(glove)) != own:
        console.warn(
            f"{system} has words of width {own}, {glove} of {width}: they start at random;"
            f" to use the file, set word_width = {width} in the recipe"
        )
        return False
    return True


def _rows(words: Sequence[str], found: Mapping[str, Any], width: int, known: Collection[str]) -> torch.Tensor:
    unknown = np.full(width, np.nan, dtype=np.float32)
    return torch.from_numpy(np.stack([unknown if word in known else found.get(word, unknown) for word in words]))


def _fingerprint(
    recipe: Recipe,
    config: SystemConfig,
    words: Words,
    vocabulary: Vocabulary,
    lexicon: Lexicon,
    source: FeatureSource,
    sampling: str,
    word_vectors: str,
    initial: InitialWeights | None,
) -> str:
    """Digest of what decides the weights. With a constant rate more epochs are a continuation, not another run.

    So are self-critical epochs after the others; ``self_critical.check`` sees that those that are there fit.
    """
    train = {name: value for name, value in asdict(recipe.train).items() if not name.startswith("self_critical_")}
    for name in ("store", *(["epochs"] if train["schedule"] == "constant" else [])):
        del train[name]
    parts = {
        "system": recipe.system,
        "train": train,
        "model": config.to_dict(),
        "captions": dict(words),
        "vocabulary": vocabulary.words,
        "lexicon": lexicon.digest,
        "backbones": {kind: dict(record) for kind, record in source.backbones.items()},
        "sampling": sampling,
        "word_vectors": word_vectors,
        **({} if initial is None else {"init": initial.identity}),
    }
    return digest_of(parts)
