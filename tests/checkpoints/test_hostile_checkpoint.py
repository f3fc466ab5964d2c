"""Whatever stands in a checkpoint's files: it loads and captions, or one line says what is wrong with which file."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from evcap_cli.checkpoints.building import StoredTensor, check_fits
from evcap_cli.checkpoints.checkpoint import Checkpoint
from evcap_cli.checkpoints.checkpoint_files import FILES
from evcap_cli.errors import CheckpointError
from evcap_cli.network.collate import collate
from evcap_cli.search.reranking import best_captions
from tests.checkpoints.test_checkpoint import made
from tests.training import toy

NAMES = ("config.json", "vocabulary.json", "lexicon.json")
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, 2, -1, 7, 20, 300, 10**6, 10**9, 10**18, 10**30, -(10**9), 0.5, 2.0, -0.5, 1e300),
    *(float("nan"), float("inf"), float("-inf"), "", "5", "x" * 100_000, "a\0b\n\x1b[31m", "../../etc/passwd"),
    *([], {}, [1], [[]], {"a": 1}, {"size": 1}, ["a", "a"], [None] * 1000),
)
MOST_GROWTH_KIB = 300 << 10


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something can be put in a JSON document: every field, and the first entries of every list."""
    yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value[:6]) if isinstance(value, list) else ()
    for key, part in parts:
        yield from places(part, (*path, key))


def with_value(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = json.loads(json.dumps(document))
    holder = changed
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return changed


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "toy"
    made().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "toy"))


def loads_or_says_why(folder: Path, what: object) -> bool:
    """Whether the folder loads; it must caption then, and otherwise be refused in one line that names a file of it."""
    try:
        checkpoint = Checkpoint.from_pretrained(folder)
    except CheckpointError as problem:
        line = str(problem)
        assert "\n" not in line, what
        assert len(line) < 1000, what
        assert str(folder) in line, what
        return False
    batch = collate([toy.features(1)], checkpoint.model.config)
    prepared = checkpoint.model.prepare(batch)
    with torch.inference_mode():
        best_captions(checkpoint.model, prepared, checkpoint.beam, checkpoint.vocabulary, checkpoint.lexicon)
    return True


@pytest.mark.slow
def test_hostile_values_in_every_field(original: Path, folder: Path) -> None:
    rng = random.Random(10)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loaded = tried = 0
    for name in NAMES:
        document = json.loads((original / name).read_text())
        for path in places(document):
            for value in rng.sample(VALUES, 3):
                (folder / name).write_text(json.dumps(with_value(document, path, value)))
                loaded += loads_or_says_why(folder, (name, path, str(value)[:50]))
                tried += 1
        shutil.copy(original / name, folder / name)
    assert tried > 300
    assert 0 < loaded < tried / 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_GROWTH_KIB


DOCUMENTS = {
    "deep lists": b"[" * 200_000,
    "deep objects": b'{"a":' * 200_000,
    "nothing": b"",
    "no JSON": b"\x00\x01\x02",
    "a zero byte": b'{"a": "\0"}',
    "no UTF-8": b'{"a": "\xff"}',
    "half of UTF-16": b"\xff\xfe{",
    "a list": b"[]",
    "a number of many digits": b"1" * 100_000,
    "a name twice": b'{"format": 1, "format": 1, "words": [], "words": []}',
    "an infinity": b'{"a": 1e999}',
    "a lone surrogate": b'{"name": "\\ud800"}',
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("content", DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_hostile_documents(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    assert not loads_or_says_why(folder, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_document_as_windows_saves_it_loads(folder: Path, name: str) -> None:
    text = (folder / name).read_text("utf-8")
    for encoding in ("utf-8-sig", "utf-16"):
        (folder / name).write_text(text, encoding)
        assert loads_or_says_why(folder, encoding)


def header_file(path: Path, header: Any, data: bytes = b"") -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.mark.slow
def test_hostile_headers_of_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    header, data = json.loads(whole[8 : 8 + length]), whole[8 + length :]
    first, second = sorted(name for name in header if name != "__metadata__")[:2]

    def tensor(**changes: Any) -> dict[str, Any]:
        return {**header, first: {**header[first], **changes}}

    hostile: list[Any] = [
        {**header, "\n\x1b" * 100_000: header[first]},
        *(b"[" * 100_000, b"{}", b"[]", b"null", b"\xff", {}, {"__metadata__": 3}, {**header, "extra": header[first]}),
        *(tensor(dtype=name) for name in ("BOOL", "I64", "F8_E4M3", "F64", "X", 7, None)),
        *(tensor(shape=shape) for shape in ([], [1 << 40], [-1], [1 << 62, 4], "x", [0], [1.5], [True])),
        *(tensor(data_offsets=place) for place in ([0, 1 << 50], [8, 0], [-8, 0], "x", [0], header[second])),
        json.dumps(header).replace(json.dumps(second), json.dumps(first)).encode(),
    ]
    for changed in hostile:
        header_file(path, changed, data)
        assert not loads_or_says_why(folder, changed if isinstance(changed, bytes) else first)
    for claimed in (0, 7, len(whole), (1 << 24) + 1, (1 << 63), (1 << 64) - 1):
        path.write_bytes(struct.pack("<Q", claimed) + whole[8:])
        assert not loads_or_says_why(folder, claimed)
    for size in range(0, len(whole), len(whole) // 20):
        path.write_bytes(whole[:size])
        assert not loads_or_says_why(folder, size)
    header_file(path, header, data)
    with path.open("r+b") as file:
        file.truncate(20 << 30)  # nobody can read it in the time of a test
    assert not loads_or_says_why(folder, "20 GB")


@pytest.mark.slow
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1e300])
def test_weights_that_are_not_finite_are_named(folder: Path, value: float) -> None:
    path = folder / "model.safetensors"
    tensors = safetensors.torch.load(path.read_bytes())
    name = sorted(name for name, tensor in tensors.items() if tensor.is_floating_point())[3]
    tensors[name] = tensors[name].double()
    tensors[name].view(-1)[-1] = value
    safetensors.torch.save_file(tensors, path)
    with pytest.raises(CheckpointError, match=f"model.safetensors: tensor {name} holds a value that is not"):
        Checkpoint.from_pretrained(folder)


LARGE = [
    {"encoder_layers": 10**6},
    {"encoder_layers": 64, "width": 1 << 14, "feed_forward": 1 << 14},
    {"emotion_layers": 64, "dual_layers": 64},
    {"lstm_width": 1 << 14, "attention_width": 1 << 14},
    {"appearance_dim": 1 << 16, "width": 1 << 14},
    {"word_width": 1 << 14},
    {"moments": 10**9},
    {"max_words": 10**9},
]


@pytest.mark.slow
@pytest.mark.parametrize("values", LARGE, ids=[",".join(values) for values in LARGE])
def test_sizes_are_compared_with_the_weights_before_memory_is_taken(folder: Path, values: dict[str, int]) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["architecture"].update(values)
    config["backbones"]["appearance"]["dim"] = config["architecture"]["appearance_dim"]
    (folder / "config.json").write_text(json.dumps(config))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert not loads_or_says_why(folder, values)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_GROWTH_KIB


@pytest.mark.slow
def test_a_system_of_more_parts_than_tensors_is_not_built(folder: Path) -> None:
    built = []

    def endless(mask: torch.Tensor) -> Any:
        layers = torch.nn.ModuleList()
        while True:
            layers.append(torch.nn.Dropout())
            built.append(1)

    with pytest.raises(CheckpointError, match="describes many more"):
        check_fits(endless, (2, 4), {"a": StoredTensor((1,), "F32")}, folder)
    assert len(built) < 5000
    torch.nn.ModuleList([torch.nn.Linear(1, 1) for _ in range(5000)])  # the bound is gone


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_regular_file_is_refused_without_waiting(folder: Path, name: str) -> None:
    path = folder / name
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match=f"{name}: is a pipe, not a file"):
        Checkpoint.from_pretrained(folder)
    path.unlink()
    path.mkdir()
    with pytest.raises(CheckpointError, match=f"{name}: is a folder, not a file"):
        Checkpoint.from_pretrained(folder)
    path.rmdir()
    path.symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match=f"{name}: is a device, not a file"):
        Checkpoint.from_pretrained(folder)


def test_backbones_of_other_widths_than_the_architecture_reads_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["backbones"]["appearance"]["dim"] = 9
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"config.json: backbones.appearance.dim is 9, the architecture reads 8"):
        Checkpoint.from_pretrained(folder)


def test_a_name_too_long_for_a_folder_is_one_line() -> None:
    with pytest.raises(CheckpointError, match="cannot be opened"):
        Checkpoint.from_pretrained("x" * 5000)


def test_a_search_for_longer_captions_than_the_model_can_hold_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["beam"]["max_words"] = config["architecture"]["max_words"] + 1
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"max_words 16 is more than the 15 that the model was built for"):
        Checkpoint.from_pretrained(folder)
