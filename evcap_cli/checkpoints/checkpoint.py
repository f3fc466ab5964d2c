"""A trained captioner as a folder: config.json, model.safetensors, vocabulary.json, lexicon.json, README.md, and
familiarity.safetensors where training had enough videos for it.

Loaded strictly and without pickle: every tensor must be there, fit and be known. What the folder says about its
backbones is kept as plain values; ``backbones/loading.py`` loads and compares backbones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evcap_cli import plugins
from evcap_cli.backbones.contract import KINDS, Kind, address_of
from evcap_cli.backbones.weights import RANDOM
from evcap_cli.checkpoints.building import build_model, load_values, read_header
from evcap_cli.checkpoints.checkpoint_files import (
    COPY_AGAIN,
    FAMILIARITY,
    FILES,
    FORMAT,
    LEXICON,
    VOCABULARY,
    WEIGHTS,
    digest_of,
    read_config,
    read_files,
    resolve,
)
from evcap_cli.checkpoints.familiarity_file import content_digest, familiarity_bytes, read_familiarity
from evcap_cli.checkpoints.hub import CARD, CONFIG, FOLDER_IN_CARD, HUB_PREFIX, upload
from evcap_cli.data.lexicon import Lexicon
from evcap_cli.data.origins import shown_name
from evcap_cli.data.vocabulary import Vocabulary
from evcap_cli.errors import CheckpointError, DataError, reason_of
from evcap_cli.files import temporary_folder, write_whole
from evcap_cli.search.beam_search import BeamConfig
from evcap_cli.version import __version__

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Backbone
    from evcap_cli.features.familiarity import Familiarity
    from evcap_cli.systems.contract import CaptionModel


def backbone_record(backbone: Backbone) -> dict[str, Any]:
    """What a checkpoint remembers of a backbone: enough to install and load the same one and to notice another."""
    return {
        "name": address_of(backbone),
        "options": dict(sorted(backbone.options.items())),
        "version": backbone.spec.version,
        "dim": backbone.spec.dim,
        "weights_digest": backbone.weights_digest,
        "distribution": plugins.distribution_of("backbone", backbone.spec.name),
    }


@dataclass
class Checkpoint:
    """A captioner and everything needed to use it on new videos.

    Args:
        model: in evaluation mode after loading.
        backbones: kind -> ``backbone_record``.
        sampling: how moments were chosen (``features/sampling.py``).
        training: how it came to be (command, seed, epochs, scores); ``untrained`` marks random weights.
        beam: how captions are searched for unless the user says otherwise.
        name: how records and reports call it.
        digest: xxh3_128 over the four files; empty until saved or loaded.
        system: the registered name of the captioning system that ``model`` is.
        familiarity: summary of the training videos; None where there were too few.
    """

    model: CaptionModel
    vocabulary: Vocabulary
    lexicon: Lexicon
    backbones: dict[Kind, dict[str, Any]]
    beam: BeamConfig = field(default_factory=BeamConfig)
    sampling: str = "moments"
    training: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    digest: str = ""
    system: str = "fusion"
    familiarity: Familiarity | None = None

    @property
    def untrained(self) -> bool:
        """Whether the weights, or those of a backbone, are random: every record made with it says so."""
        return bool(self.training.get("untrained")) or bool(self.random_weights)

    @property
    def labels_by(self) -> str:
        """What wrote the captions it was trained on; empty where people did, or nothing is known."""
        return shown_name(self.training.get("labels_by"))

    @property
    def weights(self) -> dict[str, str]:
        """Kind -> digest of the weights of its backbone ("random:SEED..." where drawn), for those that have weights."""
        digests = {kind: str(record.get("weights_digest", "")) for kind, record in self.backbones.items()}
        return {kind: digest for kind, digest in digests.items() if digest}

    @property
    def random_weights(self) -> dict[str, str]:
        """Backbone name -> "random:SEED", where its weights were drawn: drawn again, they are the same."""
        return {
            str(self.backbones[kind]["name"]): ":".join(digest.split(":")[:2])
            for kind, digest in ((kind, self.weights.get(kind, "")) for kind in self.backbones)
            if digest.startswith(RANDOM)
        }

    def check_backbones(self, loaded: Mapping[Kind, Backbone]) -> None:
        """See that ``loaded`` are the backbones this checkpoint was trained on.

        Raises:
            CheckpointError: naming the first difference.
        """
        self.check_records({kind: backbone_record(backbone) for kind, backbone in loaded.items()})

    def check_records(self, records: Mapping[Kind, Mapping[str, Any]]) -> None:
        """The same of backbones by their records, such as those of feature files."""
        for kind, record in self.backbones.items():
            if kind not in records:
                raise CheckpointError(f"the {kind} backbone {record['name']} is missing", path=self.name)
            given = records[kind]
            for key, what in (("name", "backbone"), ("options", "options"), ("dim", "width"), ("version", "version")):
                if given[key] != record[key]:
                    raise CheckpointError(
                        f"trained with {kind} {what} {record[key]!r}, not {given[key]!r}",
                        path=self.name,
                        hint=f"use {record['name']} version {record['version']}, or train again",
                    )
            if given["weights_digest"] != record["weights_digest"]:
                raise CheckpointError(
                    f"trained with other weights of the {kind} backbone {record['name']}"
                    f" (digest {record['weights_digest'] or 'none'}, not {given['weights_digest'] or 'none'})",
                    path=self.name,
                    hint=f"pass the same file with --weights {record['name']}=PATH",
                )

    def save_pretrained(self, folder: Path, *, card: str | None = None, half: bool = False) -> None:
        """Write the folder, each file whole; config.json last.

        Args:
            folder: made when missing.
            card: text of README.md; a short one is written when None.
            half: store parameters as float16 (half the size); they load back as float32. Buffers, which hold
                statistics of features in their own units, keep their precision.

        Raises:
            WriteError: no permission, a full disk.
        """
        import safetensors.torch

        small = {name for name, _ in self.model.named_parameters()} if half else set()
        tensors = {
            name: (tensor.half() if name in small else tensor).detach().cpu().contiguous()
            for name, tensor in self.model.state_dict().items()
        }
        summary = None if self.familiarity is None else familiarity_bytes(self.familiarity)
        config = {
            "format": FORMAT,
            "evcap": __version__,
            "model": self.system,
            "distribution": plugins.distribution_of("system", self.system),
            "name": self.name,
            "architecture": self.model.config.to_dict(),
            "backbones": {kind: self.backbones[kind] for kind in KINDS if kind in self.backbones},
            "sampling": self.sampling,
            "beam": self.beam.to_dict(),
            "training": self.training,
            "weights_dtype": "float16" if half else "float32",
            **({} if summary is None else {"familiarity": content_digest(summary)}),
        }
        contents = {
            WEIGHTS: safetensors.torch.save(tensors),
            VOCABULARY: self.vocabulary.to_json().encode(),
            LEXICON: self.lexicon.to_json().encode(),
            CONFIG: (json.dumps(config, indent=1, ensure_ascii=False) + "\n").encode(),
        }
        write_whole(folder / CARD, card if card is not None else self._short_card())
        if summary is not None:
            write_whole(folder / FAMILIARITY, summary)
        for name, content in contents.items():
            write_whole(folder / name, content)
        self.digest = digest_of(contents)

    def _short_card(self) -> str:
        use = f"`evcap caption VIDEOS {FOLDER_IN_CARD} -o out.srt`"
        return f"# {self.name or 'evcap checkpoint'}\n\nA video captioner for evcap: {use}.\n"

    @classmethod
    def from_pretrained(cls, source: str | Path, *, name: str | None = None) -> Checkpoint:
        """Load ``demo``, a folder, or ``hf-hub:org/name[@revision]``.

        Raises:
            CheckpointError: nothing there, a file missing or broken, tensors that do not fit.
        """
        folder, called = resolve(source)
        there = folder
        contents = read_files(there, (name for name in FILES if name != WEIGHTS))
        if called.startswith(HUB_PREFIX):
            folder = Path(called)  # what errors name: the folders of the hub's cache mean nothing to a user
        config = read_config(contents[CONFIG], folder / CONFIG)
        try:
            vocabulary = Vocabulary.from_json(contents[VOCABULARY], path=folder / VOCABULARY)
            lexicon = Lexicon.from_json(contents[LEXICON], path=folder / LEXICON)
        except DataError as problem:
            raise CheckpointError(problem.cause, path=problem.path or folder, hint=COPY_AGAIN) from problem
        try:
            beam = BeamConfig.from_dict(config.beam)
        except (TypeError, ValueError, KeyError) as problem:
            cause = f"config.json does not say how to search (beam: {reason_of(problem)})"
            raise CheckpointError(cause, path=folder, hint=COPY_AGAIN) from problem
        try:
            stored = read_header(there / WEIGHTS)
            model = build_model(config, lexicon, vocabulary, folder, stored)
            contents |= read_files(there, (WEIGHTS,))
            load_values(model, contents[WEIGHTS], folder / WEIGHTS)
            model.config.check_search(beam.max_words)
        except ValueError as problem:
            raise CheckpointError(f"config.json does not say how to search ({problem})", path=folder) from problem
        except FileNotFoundError:
            read_files(there, (WEIGHTS,))
            raise
        except OSError as problem:
            raise CheckpointError(f"cannot read {WEIGHTS} ({reason_of(problem)})", path=folder) from problem
        summary = config.familiarity
        return cls(
            model=model.eval(),
            vocabulary=vocabulary,
            lexicon=lexicon,
            backbones={kind: dict(record) for kind, record in config.backbones.items()},
            beam=beam,
            sampling=config.sampling,
            training=config.training,
            name=name or called or config.name,
            digest=digest_of(contents),
            system=config.model,
            familiarity=None if summary is None else read_familiarity(there, folder, summary, config.backbones),
        )

    def push_to_hub(self, repository: str, *, folder: Path | None = None, private: bool = False) -> str:
        """Upload to ``org/name``, which is made where missing, and return its address, ``hf-hub:org/name``.

        Args:
            repository: ``org/name``, or ``name`` for your own.
            folder: a saved one to upload as it is, card included; None saves this checkpoint and uploads that.
            private: of a repository that is made now.

        Raises:
            CheckpointError: the folder is no checkpoint.
            UploadError: the hub cannot be reached or refuses.
        """
        if folder is None:
            with temporary_folder() as place:
                self.save_pretrained(place)
                return self.push_to_hub(repository, folder=place, private=private)
        contents = read_files(folder)
        if read_config(contents[CONFIG], folder / CONFIG).familiarity is not None:
            contents |= read_files(folder, (FAMILIARITY,))
        card = folder / CARD
        return upload(
            {**({CARD: card.read_bytes()} if card.exists() else {}), **contents},
            repository,
            set(FILES),
            private=private,
        )
