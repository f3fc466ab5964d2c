from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest

from evcap_cli.errors import PluginError
from evcap_cli.systems.captioner_spec import CaptionerSpec, spec_by_name
from evcap_cli.systems.clip_captioner import (
    CaptionerIdentity,
    CaptionerOptions,
    Clip,
    ClipCaption,
    ClipCaptioner,
    FrameRequest,
    Reads,
    WaveformRequest,
)


class Constant(ClipCaptioner):
    reads = Reads(frames=FrameRequest(1, 64))
    identity = CaptionerIdentity("constant", "1")

    def load(self, device: Any, dtype: Any) -> None: ...

    def caption(self, clips: Sequence[Clip]) -> list[Any]:
        return [ClipCaption(f"{self.address} for {clip.duration:.0f} s") for clip in clips]


SPEC = CaptionerSpec("constant", "says the same", f"{__name__}:Constant", schemes=("constant://",))


def test_moments_are_the_middles_of_equal_parts() -> None:
    assert FrameRequest(4).moments(Fraction(1), Fraction(9)) == (2, 4, 6, 8)
    assert FrameRequest(1).moments(Fraction(0), Fraction(1, 3)) == (Fraction(1, 6),)


@pytest.mark.parametrize(
    ("given", "expected"), [((720, 1280), (72, 128)), ((100, 50), (100, 50)), ((2, 6000), (1, 128)), ((1, 1), (1, 1))]
)
def test_large_frames_are_scaled_down_and_small_ones_stay(given: tuple[int, int], expected: tuple[int, int]) -> None:
    assert FrameRequest(longest_side=128).size(*given) == expected


@pytest.mark.parametrize(
    "make",
    [
        lambda: FrameRequest(0),
        lambda: FrameRequest(longest_side=0),
        lambda: WaveformRequest(0),
        lambda: WaveformRequest(longest_seconds=0),
        Reads,
        lambda: CaptionerOptions(style="poem"),  # type: ignore[arg-type]
        lambda: CaptionerOptions(max_words=0),
        lambda: CaptionerOptions(beam_size=0),
        lambda: CaptionerOptions(batch_size=0),
        lambda: Clip(1.0, frames=[1, 2], times=(0.0,)),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_sense_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        make()


def test_a_spec_opens_its_class_by_name_or_by_scheme() -> None:
    specs = {"constant": SPEC, "short": CaptionerSpec("short", "", SPEC.factory, address="constant://x")}
    for text, address in (("constant", "constant"), ("short", "constant://x"), ("constant://y", "constant://y")):
        spec, found = spec_by_name(specs, text) or pytest.fail(text)
        captioner = spec.open(found, CaptionerOptions())
        assert captioner.caption([Clip(2.0)]) == [ClipCaption(f"{address} for 2 s")]
    assert spec_by_name(specs, "folder") is None


@pytest.mark.parametrize("factory", ["nowhere_at_all:X", f"{__name__}:Missing", f"{__name__}:SPEC", "no colon"])
def test_a_class_that_is_not_there_is_one_line(factory: str) -> None:
    with pytest.raises(PluginError, match="captioner 'x'"):
        CaptionerSpec("x", "", factory).open("x", CaptionerOptions())


def test_identity_leaves_out_what_is_not_known() -> None:
    assert CaptionerIdentity("a", "d").record_fields() == {"name": "a", "digest": "d"}
    full = CaptionerIdentity("a", "d", "r", "factual", "p").record_fields()
    assert full == {"name": "a", "digest": "d", "revision": "r", "style": "factual", "prompt": "p"}
