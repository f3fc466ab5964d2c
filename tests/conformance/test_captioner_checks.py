"""Each promise of captioners can fail: a captioner that breaks just this one gets just this failure."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch

from evcap_cli import (
    CaptionerError,
    CaptionerOptions,
    CaptionerSpec,
    CheckpointError,
    Clip,
    ClipCaption,
    ClipCaptioner,
    FrameRequest,
    Reads,
    WaveformRequest,
    WriteError,
    plugins,
)
from evcap_cli.app import run
from evcap_cli.testing import CheckReport, check_captioner, examine_captioner
from tests.conformance import heavy_captioner, kept_captioner
from tests.conformance.kept_captioner import SPEC, KeepingCaptioner

Made = Callable[[KeepingCaptioner, Clip, Any], Any]
DRAWN = itertools.count()
Broken: type[ClipCaptioner]
"""What a test examines: a spec names its class."""


def failed(report: CheckReport) -> set[str]:
    return {result.name for result in report.failed}


def skipped(report: CheckReport) -> set[str]:
    return {result.name for result in report.results if result.status == "skip"}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[ModuleType, CaptionerSpec], None]]:
    """Register a module as a plugin that is installed."""
    registry, modules = plugins.registry(), []

    def register(module: ModuleType, spec: CaptionerSpec) -> None:
        registry.manager.register(module, name=spec.name)
        modules.append(module)
        monkeypatch.setitem(registry.captioners, spec.name, spec)
        monkeypatch.setitem(registry.origin, ("captioner", spec.name), f"evcap-{spec.name}")

    yield register
    for module in modules:
        registry.manager.unregister(module)


def test_a_captioner_that_keeps_its_promises_passes_every_check() -> None:
    report = check_captioner(SPEC)
    assert skipped(report) == {"registration"}
    assert len(report.results) == 21
    assert str(report).splitlines()[-1] == "kept: 20 passed, 0 failed, 1 not applicable"


def told(change: Made, cls: type[KeepingCaptioner] = KeepingCaptioner) -> type[ClipCaptioner]:
    """A subclass whose result for a clip is ``change(self, clip, honest result)``."""
    return changed(one=lambda self, clip: change(self, clip, cls.one(self, clip)))


def changed(**members: Any) -> type[ClipCaptioner]:
    return type("Changed", (KeepingCaptioner,), members)


def batched(change: Callable[[Sequence[Clip], list[Any]], Any]) -> type[ClipCaptioner]:
    """A subclass whose results for a batch are ``change(clips, honest results)``."""
    return changed(caption=lambda self, clips: change(clips, KeepingCaptioner.caption(self, clips)))


def loading(done: Callable[[Any], Any]) -> type[ClipCaptioner]:
    return changed(load=lambda self, device, dtype: (KeepingCaptioner.load(self, device, dtype), done(self)))


def opening(done: Callable[[str], Any]) -> type[ClipCaptioner]:
    def opened(self: Any, address: str, options: CaptionerOptions) -> None:
        done(address)
        ClipCaptioner.__init__(self, address, options)

    return changed(__init__=opened)


def raising(problem: Exception) -> Any:
    raise problem


def to_nowhere(problem: Exception) -> type[ClipCaptioner]:
    return opening(lambda address: raising(problem) if "no-such" in address else None)


def doubled(found: Any) -> Any:
    return replace(found, emotion=found.emotion and {name: 2 * value for name, value in found.emotion.items()})


def without_one(found: Any) -> Any:
    return replace(found, emotion=found.emotion and dict(list(found.emotion.items())[1:]))


def wide(clip: Clip) -> bool:
    return clip.frames is not None and max(clip.frames.shape[2:]) > 20 * min(clip.frames.shape[2:])


def none_for(what: Callable[[Clip], bool]) -> type[ClipCaptioner]:
    return told(lambda self, clip, found: CaptionerError("not that one") if what(clip) else found)


def averaged(clips: Sequence[Clip], found: list[Any]) -> list[Any]:
    mean = math.fsum(each.score for each in found) / len(found)
    return [replace(each, score=mean) for each in found]


def shout(self: Any, clip: Clip, found: Any) -> Any:
    print("captioning")
    return found


def shout_in_c(self: Any, clip: Clip, found: Any) -> Any:
    os.write(1, b"captioning\n")
    return found


IDENTITY = KeepingCaptioner.identity.fget
assert IDENTITY is not None

CLASSES: dict[str, tuple[type[ClipCaptioner], set[str]]] = {
    "any address is fine": (opening(lambda address: None), {"unknown-address"}),
    "an address is a key": (to_nowhere(KeyError("model")), {"unknown-address"}),
    "no model, no name of it": (to_nowhere(CheckpointError("cannot be loaded")), {"unknown-address"}),
    "no model, the wrong exit code": (to_nowhere(WriteError("no-such-model is missing")), {"unknown-address"}),
    "nothing declared": (changed(reads=None), {"opening"}),
    "features of an unknown backbone": (
        changed(reads=Reads(backbones={"appearance": "nowhere", "audio": "lite-audio"})),
        {"opening"},
    ),
    "features of another kind": (
        changed(reads=Reads(backbones={"appearance": "lite-motion", "audio": "lite-audio"})),
        {"opening"},
    ),
    "no audio after all": (changed(reads=Reads(frames=FrameRequest(4, 64))), {"opening"}),
    "no batch": (changed(clips_a_batch=0), {"opening"}),
    "learning switched off for everybody": (loading(lambda self: torch.set_grad_enabled(False)), {"loading"}),
    "weights that are not there": (loading(lambda self: raising(CheckpointError("lost"))), {"loading"}),
    "no digest": (changed(identity=property(lambda self: replace(IDENTITY(self), digest=""))), {"loading"}),
    "one caption too few": (batched(lambda clips, found: found[1:]), {"caption"}),
    "text alone": (batched(lambda clips, found: [each.text for each in found]), {"caption"}),
    "a generator": (batched(lambda clips, found: iter(found)), {"caption"}),
    "no captions at all": (told(lambda self, clip, found: CaptionerError("busy")), {"caption"}),
    "an error of its own": (told(lambda self, clip, found: raising(KeyError("frames"))), {"caption"}),
    "no words": (told(lambda self, clip, found: replace(found, text=" ... ")), {"caption"}),
    "two lines": (told(lambda self, clip, found: replace(found, text="dark\nnight")), {"caption"}),
    "markup": (told(lambda self, clip, found: replace(found, text="<i>dark</i>")), {"caption"}),
    "a probability for a score": (told(lambda self, clip, found: replace(found, score=0.7)), {"score"}),
    "no number": (told(lambda self, clip, found: replace(found, score=math.nan)), {"score"}),
    "twice the probability": (told(lambda self, clip, found: doubled(found)), {"emotion"}),
    "a category less": (told(lambda self, clip, found: without_one(found)), {"emotion"}),
    "emotions for everybody": (
        told(
            lambda self, clip, found: replace(
                found, emotion=dict.fromkeys(self.options.lexicon.categories, 1 / len(self.options.lexicon.categories))
            )
        ),
        {"no-emotion"},
    ),
    "never at a loss for words": (
        told(lambda self, clip, found: replace(found, text="a very dark night")),
        {"max-words"},
    ),
    "a prompt without effect": (
        changed(identity=property(lambda self: replace(IDENTITY(self), prompt_digest="p"))),
        {"instructions"},
    ),
    "a style that is not said": (
        changed(identity=property(lambda self: replace(IDENTITY(self), style=None))),
        {"instructions"},
    ),
    "a style where there is none": (changed(takes_instructions=False), {"instructions"}),
    "sampling": (told(lambda self, clip, found: replace(found, score=-float(next(DRAWN)))), {"repeatable"}),
    "weights drawn again each time": (
        loading(lambda self: setattr(self, "gain", 0.9 ** next(DRAWN))),
        {"fresh-instance"},
    ),
    "another digest each time": (
        changed(
            load=lambda self, *given: setattr(self, "drawn", str(next(DRAWN))) or KeepingCaptioner.load(self, *given),
            identity=property(lambda self: replace(IDENTITY(self), digest=self.drawn)),
        ),
        {"fresh-instance"},
    ),
    "the mean of the batch": (batched(averaged), {"neighbours", "batch-size"}),
    "a clip that knows its place": (
        batched(lambda clips, found: [replace(each, score=-float(number)) for number, each in enumerate(found)]),
        {"batch-size"},
    ),
    "one frame says nothing": (none_for(lambda clip: len(clip.times) == 1), {"few-frames"}),
    "one frame is an error": (
        told(lambda self, clip, found: raising(IndexError("1")) if len(clip.times) == 1 else found),
        {"few-frames", "neighbours"},
    ),
    "a narrow view": (none_for(wide), {"aspect"}),
    "deaf without sound": (none_for(lambda clip: clip.waveform is None), {"no-audio"}),
    "no ear for a click": (
        none_for(lambda clip: clip.waveform is not None and len(clip.waveform) < 1000),
        {"short-audio"},
    ),
    "print": (told(shout), {"standard-output"}),
    "print from C": (told(shout_in_c), {"standard-output"}),
}
SPECS: dict[str, tuple[CaptionerSpec, set[str]]] = {
    "a name like an address": (replace(SPEC, name="hf-hub:x"), {"declaration"}),
    "no name": (replace(SPEC, name=""), {"declaration"}),
    "a page about itself": (replace(SPEC, about="says\nmuch"), {"declaration"}),
    "a class that is not there": (replace(SPEC, factory=f"{__name__}:Nothing"), {"declaration"}),
    "a class of another kind": (replace(SPEC, factory="pathlib:Path"), {"declaration"}),
    "no licence": (replace(SPEC, license=" "), {"licence"}),
    "audio that is not declared": (replace(SPEC, takes_audio=False, schemes=()), {"opening"}),
}


def only_failures(spec: CaptionerSpec, expected: set[str]) -> None:
    try:
        report = examine_captioner(spec)
    finally:
        torch.set_grad_enabled(True)
    assert failed(report) == expected, str(report)
    for result in report.failed:
        assert result.detail
        assert "\n" not in str(result)


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSES)
def test_a_broken_promise_has_its_failure_and_no_other(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cls, expected = CLASSES[name]
    monkeypatch.setitem(globals(), "Broken", cls)
    spec = replace(SPEC, factory=f"{__name__}:Broken")
    only_failures(spec, expected)
    if expected:
        with pytest.raises(AssertionError, match=f"FAIL  {min(expected)}"):
            check_captioner(spec)
        torch.set_grad_enabled(True)


@pytest.mark.parametrize("name", SPECS)
def test_a_broken_declaration_has_its_failure_and_no_other(name: str) -> None:
    only_failures(*SPECS[name])


@pytest.mark.slow
def test_registering_must_not_import_torch(installed: Callable[[ModuleType, CaptionerSpec], None]) -> None:
    installed(kept_captioner, SPEC)
    installed(heavy_captioner, heavy_captioner.HEAVY)
    assert skipped(examine_captioner(SPEC)) == set()
    only_failures(heavy_captioner.HEAVY, {"registration"})


@pytest.mark.slow
def test_the_command_examines_a_captioner_by_name_or_address(
    installed: Callable[[ModuleType, CaptionerSpec], None],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    installed(kept_captioner, SPEC)
    for name in ("kept", "kept://model"):
        assert run(["plugins", "check", name]) == 0
        lines = capfd.readouterr().out.splitlines()
        assert len(lines) == 22
        assert lines[-1] == f"{name}: 21 passed, 0 failed, 0 not applicable"
    monkeypatch.setattr(KeepingCaptioner, "caption", lambda self, clips: print("hello") or [])
    assert run(["plugins", "check", "kept"]) == 1
    out = capfd.readouterr().out
    assert "FAIL  caption" in out
    assert "hello" not in out
    for wrong, said in (
        (["kept", "--weights", "kept=x"], "--weights and --option are for backbones"),
        (["keptt"], "no backbone or captioner named 'keptt' is installed"),
    ):
        assert run(["plugins", "check", *wrong]) == 2
        assert said in capfd.readouterr().err


def test_a_captioner_of_audio_alone_gets_no_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    class Listening(KeepingCaptioner):
        reads = Reads(waveform=WaveformRequest(8000, 1.0))

        def one(self, clip: Clip) -> ClipCaption:
            assert clip.frames is None
            return ClipCaption("silence" if clip.waveform is None else "a tone")

    monkeypatch.setitem(globals(), "Broken", Listening)
    report = check_captioner(replace(SPEC, factory=f"{__name__}:Broken"))
    assert skipped(report) == {"registration", "score", "emotion", "few-frames", "aspect"}


class Summing(KeepingCaptioner):
    """Says how large the features of a clip are."""

    reads = Reads(backbones={"appearance": "lite-appearance", "audio": "lite-audio"})

    def one(self, clip: Clip) -> ClipCaption:
        assert clip.frames is None
        assert clip.features is not None
        streams = clip.features.streams
        assert {kind: stream.values.shape[1] for kind, stream in streams.items()} == {"appearance": 592, "audio": 328}
        rows = len(streams["audio"].values)
        mean = float(streams["appearance"].values.mean())
        words = ["many" if mean > 0 else "few", "and", "loud" if rows else "silent"]
        return ClipCaption(" ".join(words[: self.options.max_words]), -abs(mean))


def test_a_captioner_of_features_gets_those_of_its_backbones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "Broken", Summing)
    report = check_captioner(replace(SPEC, factory=f"{__name__}:Broken"))
    assert skipped(report) == {"registration", "emotion", "few-frames", "aspect"}
