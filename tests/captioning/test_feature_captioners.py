"""Captioners of plugins that read features of backbones, through the library and the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest
import torch

import evcap_cli as evcap
from evcap_cli import plugins
from evcap_cli.app import run
from evcap_cli.systems.captioner_spec import CaptionerSpec
from evcap_cli.systems.clip_captioner import CaptionerIdentity, Clip, ClipCaption, ClipCaptioner, Reads
from tests.features.films import make_film

SCHEMA = Path(__file__).parents[2] / "docs" / "record.schema.json"


class Adding(ClipCaptioner):
    """Says what the features of a clip add up to."""

    reads = Reads(backbones={"appearance": "lite-appearance", "audio": "lite-audio"})
    identity = CaptionerIdentity("adding", "1")

    def load(self, device: torch.device, dtype: torch.dtype) -> None: ...

    def caption(self, clips: Sequence[Clip]) -> list[Any]:
        return [ClipCaption(self.sentence(clip)) for clip in clips]

    def sentence(self, clip: Clip) -> str:
        assert clip.frames is None
        assert clip.waveform is None
        assert clip.features is not None
        return text_of(clip.features)


def text_of(features: evcap.ClipFeatures) -> str:
    """Rows and sum of each stream."""
    return " and ".join(
        f"{kind} {len(stream.values)} {stream.values.double().sum():.3f}"
        for kind, stream in sorted(features.streams.items())
    )


class Drawn(Adding):
    """Reads a network whose weights a test draws."""

    reads = Reads(backbones={"appearance": "resnet:resnet18"})


class Elsewhere(Adding):
    """Reads a backbone that nobody has."""

    reads = Reads(backbones={"appearance": "nowhere"})


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for cls in (Adding, Drawn, Elsewhere):
        name = cls.__name__.lower()
        monkeypatch.setitem(plugins.registry().captioners, name, CaptionerSpec(name, "", f"{__name__}:{cls.__name__}"))
        monkeypatch.setitem(plugins.registry().origin, ("captioner", name), "evcap-adding")


@pytest.fixture
def films(tmp_path: Path) -> Path:
    (tmp_path / "films").mkdir()
    for number in range(2):
        make_film(tmp_path / "films" / f"{number}.mp4", frames=8, fps=4, sound=number == 0, seed=number)
    return tmp_path / "films"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.mark.slow
def test_it_gets_the_features_that_extract_gives(
    films: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (films / "bad.mp4").write_text("no video")
    output = tmp_path / "a.jsonl"
    call = ["caption", str(films), "-c", "adding", "--segment", "fixed:1", "-o", str(output), "--device", "cpu"]
    assert run([*call, "-o", str(tmp_path / "a.srt"), "--batch-size", "3"]) == 3
    records = lines(output)
    for record in records:
        jsonschema.validate(record, json.loads(SCHEMA.read_text("utf-8")))
    assert [record["status"] for record in records] == ["ok", "ok", "failed"]
    assert records[0]["backbones"] == {"appearance": "lite-appearance", "audio": "lite-audio"}
    assert records[0]["checkpoint"] == {"name": "adding", "digest": "1"}
    captions = [caption["text"] for record in records[:2] for caption in record["captions"]]
    named = {"appearance": "lite-appearance", "audio": "lite-audio"}
    expected = [
        text_of(features)
        for _, features in evcap.extract_features(
            [films / "0.mp4", films / "1.mp4"], backbones=named, segment="fixed:1", device="cpu"
        )
    ]
    assert captions == expected
    assert len(set(captions)) == 4
    assert "audio 0 " in captions[2]

    # a video alone, one at a time and without sound
    record = evcap.load_captioner("adding", segment="fixed:1", device="cpu", batch_size=1).caption(films / "1.mp4")
    assert [caption.text for caption in record.captions] == expected[2:]
    silent = evcap.load_captioner("adding", device="cpu", drop_audio=True).caption(films / "0.mp4")
    assert "audio 0 0.000" in silent.captions[0].text

    # another sampling is another run
    assert run([*call, "--sampling", "epan", "--dry-run"]) == 0
    captioner = evcap.load_captioner("adding", sampling="epan", device="cpu")
    assert captioner.settings != evcap.load_captioner("adding", device="cpu").settings


@pytest.mark.slow
def test_drawn_weights_are_marked_in_its_records(films: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    call = ["caption", str(films / "1.mp4"), "-c", "drawn", "-o", str(output), "--device", "cpu"]
    assert run([*call, "--weights", "resnet:resnet18=random:3"]) == 0
    (record,) = lines(output)
    jsonschema.validate(record, json.loads(SCHEMA.read_text("utf-8")))
    assert record["checkpoint"]["untrained"] is True
    assert record["checkpoint"]["weights"]["appearance"].startswith("random:3:")


def test_what_cannot_work_is_one_line_before_any_work(
    films: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    call = ["caption", str(films), "-o", str(tmp_path / "a.jsonl"), "--device", "cpu", "-c"]
    for more, said in (
        (["adding", "--backbone", "clip"], "--backbone means nothing for the ready-made captioner adding"),
        (["adding", "--rerank", "consensus=1"], "--rerank means nothing"),
        (["adding", "--weights", "clip=random:1"], "--weights names 'clip', which is not in use; in use: lite-"),
        (["elsewhere"], "no backbone named 'nowhere' is installed"),
    ):
        for dry in ([], ["--dry-run"]):
            assert run([*call, *more, *dry]) == 2, more
            (line,) = capfd.readouterr().err.splitlines()
            assert said in line
    assert not list(tmp_path.glob("a.jsonl*"))


def test_features_and_frames_are_not_read_together() -> None:
    with pytest.raises(ValueError, match="not both"):
        Reads(evcap.FrameRequest(), None, cast("Any", {"appearance": "clip"}))
