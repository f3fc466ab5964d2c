"""A trained captioner as a folder: config.json, model.safetensors, vocabulary.json, lexicon.json, README.md.

Loaded strictly and without pickle: every tensor must be there, fit and be known. What the folder says about its
backbones is kept as plain values; loading and comparing backbones is ``backbones/loading.py``'s business.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import torch

from evcap_cli import __version__, plugins
from evcap_cli.backbones.contract import KINDS, BackboneAddress
from evcap_cli.backbones.weights import RANDOM
from evcap_cli.captioner.beam_search import BeamConfig
from evcap_cli.captioner.config import Rerank
from evcap_cli.captioner.hub import CARD, FOLDER_IN_CARD, HUB_PREFIX, download, upload
from evcap_cli.data.lexicon import Lexicon
from evcap_cli.data.vocabulary import Vocabulary
from evcap_cli.errors import CheckpointError, DataError, PluginError
from evcap_cli.output.atomic import temporary_folder, write_whole

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Backbone, Kind
    from evcap_cli.systems.contract import CaptionModel

FORMAT: Final = 1
DEMO: Final = "demo"
"""The name of the checkpoint that comes with the package."""
FILES: Final = ("config.json", "model.safetensors", "vocabulary.json", "lexicon.json")
"""What a checkpoint cannot do without; README.md is for people."""


@dataclass(frozen=True)
class BeamDefaults:
    """How captions of this checkpoint are searched for unless the user says otherwise."""

    size: int = 5
    max_words: int = 15
    length_penalty: float = 1.6
    rerank: Rerank = field(default_factory=Rerank)

    def search(self) -> BeamConfig:
        """The search itself."""
        return BeamConfig(self.size, self.max_words, self.length_penalty, rerank=self.rerank)

    def to_dict(self) -> dict[str, Any]:
        """As config.json has it: nothing of re-ranking where that is off, as it was before there was any."""
        values = asdict(self)
        if not self.rerank.on:
            del values["rerank"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BeamDefaults:
        """The inverse of ``to_dict``.

        Raises:
            ValueError, TypeError: these are none.
        """
        return cls(**{**values, "rerank": Rerank(**values.get("rerank", {}))})


def backbone_record(backbone: Backbone) -> dict[str, Any]:
    """What a checkpoint remembers of a backbone: enough to install and load the same one and to notice another."""
    return {
        "name": str(BackboneAddress(backbone.spec.name, backbone.variant)),
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
        name: how records and reports call it.
        digest: xxh3_128 over the four files; empty until saved or loaded.
        system: the registered name of the captioning system that ``model`` is.
    """

    model: CaptionModel
    vocabulary: Vocabulary
    lexicon: Lexicon
    backbones: dict[Kind, dict[str, Any]]
    beam: BeamDefaults = field(default_factory=BeamDefaults)
    sampling: str = "moments"
    training: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    digest: str = ""
    system: str = "fusion"

    @property
    def untrained(self) -> bool:
        """Whether the weights, or those of a backbone, are random: every record made with it says so."""
        return bool(self.training.get("untrained")) or bool(self.random_weights)

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
        for kind, record in self.backbones.items():
            if kind not in loaded:
                raise CheckpointError(f"the {kind} backbone {record['name']} is missing", path=self.name)
            given = backbone_record(loaded[kind])
            for key, what in (("name", "backbone"), ("options", "options"), ("dim", "width"), ("version", "version")):
                if given[key] != record[key]:
                    raise CheckpointError(
                        f"trained with {kind} {what} {record[key]!r}, not {given[key]!r}",
                        path=self.name,
                        hint=f"caption with {record['name']} version {record['version']}, or train anew",
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
        }
        contents = {
            "model.safetensors": safetensors.torch.save(tensors),
            "vocabulary.json": self.vocabulary.to_json().encode(),
            "lexicon.json": self.lexicon.to_json().encode(),
            "config.json": (json.dumps(config, indent=1, ensure_ascii=False) + "\n").encode(),
        }
        write_whole(folder / CARD, card if card is not None else self._short_card())
        for name, content in contents.items():
            write_whole(folder / name, content)
        self.digest = _digest(contents)

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
        contents = _read(folder)
        if called.startswith(HUB_PREFIX):
            folder = Path(called)  # what errors name: nobody knows the folders of the hub's cache
        config = _config(contents["config.json"], folder)
        try:
            vocabulary = Vocabulary.from_json(contents["vocabulary.json"].decode(), path=folder / "vocabulary.json")
            lexicon = Lexicon.from_json(contents["lexicon.json"].decode(), path=folder / "lexicon.json")
        except (DataError, UnicodeDecodeError) as problem:
            cause = problem.cause if isinstance(problem, DataError) else "vocabulary.json or lexicon.json is not UTF-8"
            raise CheckpointError(cause, path=folder) from problem
        model = _model(config, lexicon, vocabulary, contents["model.safetensors"], folder)
        try:
            beam = BeamDefaults.from_dict(config["beam"])
            backbones = {cast("Kind", kind): dict(config["backbones"][kind]) for kind in config["backbones"]}
        except (TypeError, ValueError, AttributeError) as problem:
            raise CheckpointError(f"config.json does not say how to search ({problem})", path=folder) from problem
        unknown = set(backbones) - set(KINDS)
        if unknown:
            raise CheckpointError(f"config.json names a backbone kind {min(unknown)!r} that evcap lacks", path=folder)
        return cls(
            model=model,
            vocabulary=vocabulary,
            lexicon=lexicon,
            backbones=backbones,
            beam=beam,
            sampling=config["sampling"],
            training=config["training"],
            name=name or called or config["name"],
            digest=_digest(contents),
            system=config["model"],
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
        contents = _read(folder)
        card = folder / CARD
        return upload({**({CARD: card.read_bytes()} if card.exists() else {}), **contents}, repository, private=private)


def resolve(source: str | Path) -> tuple[Path, str]:
    """The folder behind ``demo``, a path or ``hf-hub:org/name[@revision]``, and the name to call it by.

    Raises:
        CheckpointError: nothing there.
    """
    text = str(source)
    if text == DEMO and not Path(DEMO, "config.json").exists():
        return Path(str(files("evcap_cli.demo").joinpath("checkpoint"))), DEMO
    if text.startswith(HUB_PREFIX):
        return download(text, FILES, optional=(CARD,)), text
    folder = Path(source)
    if not folder.is_dir():
        hint = f"give a checkpoint folder, {DEMO}, or {HUB_PREFIX}org/name"
        raise CheckpointError(
            "no such checkpoint folder" if not folder.exists() else "not a folder", path=folder, hint=hint
        )
    return folder, folder.resolve().name


def _read(folder: Path) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    for name in FILES:
        try:
            contents[name] = (folder / name).read_bytes()
        except FileNotFoundError as problem:
            raise CheckpointError(
                f"the checkpoint lacks {name}", path=folder, hint="copy the whole folder that `evcap train` wrote"
            ) from problem
        except OSError as problem:
            raise CheckpointError(f"cannot read {name} ({problem.strerror})", path=folder) from problem
    return contents


def _digest(contents: Mapping[str, bytes]) -> str:
    import xxhash

    state = xxhash.xxh3_128()
    for name in FILES:
        state.update(f"{name} {len(contents[name])}\n".encode())
        state.update(contents[name])
    return state.hexdigest()


def _config(content: bytes, folder: Path) -> dict[str, Any]:
    needed = ("model", "architecture", "backbones", "beam", "sampling", "training", "name")
    try:
        config = json.loads(content)
        made = config["format"]
    except (ValueError, KeyError, TypeError) as problem:
        raise CheckpointError("config.json is not a checkpoint's", path=folder) from problem
    if made != FORMAT:
        raise CheckpointError(
            f"format {made} was written by another version of evcap ({config.get('evcap', 'unknown')})",
            path=folder,
            hint=f"this is evcap {__version__}, which reads format {FORMAT}",
        )
    missing = [key for key in needed if key not in config]
    if missing:
        raise CheckpointError(f"config.json lacks {missing[0]!r}", path=folder)
    return cast("dict[str, Any]", config)


def _model(
    config: dict[str, Any], lexicon: Lexicon, vocabulary: Vocabulary, weights: bytes, folder: Path
) -> CaptionModel:
    import safetensors.torch
    from safetensors import SafetensorError

    try:
        kind = plugins.system(str(config["model"]), str(config.get("distribution", ""))).load()
    except PluginError as problem:
        cause = f"holds a {config['model']!r} model, which is not usable here: {problem.cause}"
        raise CheckpointError(cause, path=folder, hint=problem.hint) from problem
    try:
        architecture = kind.Config.from_dict(config["architecture"])
    except (ValueError, TypeError) as problem:
        raise CheckpointError(f"config.json: {problem}", path=folder) from problem
    sizes = (architecture.vocabulary, architecture.categories, architecture.words)
    found = (len(vocabulary), len(lexicon.categories), len(lexicon.words))
    if sizes != found:
        raise CheckpointError(
            f"config.json speaks of {sizes} words, categories and emotion words, the files hold {found}", path=folder
        )
    model = kind(architecture, torch.from_numpy(lexicon.mask()))
    try:
        tensors = safetensors.torch.load(weights)
    except SafetensorError as problem:
        raise CheckpointError(f"model.safetensors is damaged ({problem})", path=folder) from problem
    expected = model.state_dict()
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors or name not in expected:
            state = "lacks" if name not in tensors else "holds an unknown"
            raise CheckpointError(f"model.safetensors {state} tensor {name}", path=folder)
        if tensors[name].shape != expected[name].shape:
            shapes = f"{tuple(tensors[name].shape)}, expected {tuple(expected[name].shape)}"
            raise CheckpointError(f"tensor {name} has shape {shapes}", path=folder)
    model.load_state_dict({name: tensor.to(expected[name].dtype) for name, tensor in tensors.items()}, strict=True)
    return model.eval()
