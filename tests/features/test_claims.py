"""What small files claim decides neither the memory of the decoding process nor that of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from evcap_cli.errors import DecoderCrashed, OutOfMemory
from evcap_cli.media.decoder import Decoder
from tests.media import bombs
from tests.media.clips import make_clip
from tests.media.reading import run

RUN = """
import json, sys
from pathlib import Path
from evcap_cli.features import reading_threads as module
from evcap_cli.features.pipeline import FeaturePipeline
from evcap_cli.features.events import VideoDone
from tests.features.tiny import tiny_backbones

def peak(pid):
    return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0])

class Decoder(module.Decoder):
    def _close(self):
        if self.pid is not None:
            peaks.append(peak(self.pid))
        super()._close()

found, peaks, module.Decoder = {}, [], Decoder
before = peak("self")
for path in sys.argv[1:]:
    pipeline = FeaturePipeline(tiny_backbones(), cache=None, segmentation="fixed:10", workers=1)
    for event in pipeline.run([Path(path)]):
        if isinstance(event, VideoDone):
            code = None if event.error is None else event.error.code
        else:
            found.setdefault("segments", []).append(float(event.segment.end))
    found[Path(path).name] = code
print(json.dumps({**found, "peaks": peaks, "grown": peak("self") - before}))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not limit data")
@pytest.mark.slow
def test_three_bombs_take_little_memory(tmp_path):
    paths = [
        bombs.many_samples(tmp_path / "samples.mp4"),
        bombs.huge_picture(tmp_path / "picture.gif"),
        bombs.long_claim(tmp_path / "claim.mkv"),
    ]
    assert all(path.stat().st_size < 250_000 for path in paths)
    done = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, paths)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    found = json.loads(done.stdout)
    assert (found["samples.mp4"], found["picture.gif"], found["claim.mkv"]) == ("memory", "memory", None)
    assert len(found["segments"]) == 1
    assert found["segments"][0] > 99_999_999
    assert len(found["peaks"]) == 3
    assert max(found["peaks"]) < 200 * 1024, "kilobytes"
    assert found["grown"] < 200 * 1024


@pytest.mark.slow
def test_a_picture_too_large_for_the_limit_fails_its_file_only(tmp_path):
    clip = make_clip(tmp_path / "c.mp4", seconds=0.4)
    large = bombs.huge_picture(tmp_path / "large.gif", side=3000)
    with Decoder(timeout=120, memory=200 << 20) as decoder:
        with pytest.raises(OutOfMemory, match="3000 x 3000 pixels") as caught:
            decoder.open(large)
        assert caught.value.code == "memory"
        assert caught.value.path == str(large)
        assert "--decoder-memory" in str(caught.value)
        assert len(decoder.open(clip).times) == 10
    with Decoder(timeout=120, memory=1 << 30) as decoder:
        decoder.open(large)
        assert len(run(decoder).frames) == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not limit data")
@pytest.mark.slow
def test_an_allocation_over_the_limit_is_lack_of_memory(tmp_path):
    clip = make_clip(tmp_path / "c.mp4", seconds=2, size=(1280, 720), audio=False)
    with Decoder(timeout=120, memory=8 << 20) as decoder, pytest.raises(OutOfMemory, match="needs more than"):
        decoder.open(clip)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not limit data")
def test_an_index_just_too_large_is_lack_of_memory_and_no_damage(tmp_path):
    with Decoder(timeout=60, memory=800 << 20) as decoder, pytest.raises(OutOfMemory):
        decoder.open(bombs.many_samples(tmp_path / "samples.mp4", 2_600_000))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("terminate called after throwing an instance of 'std::bad_alloc'", OutOfMemory),
        ("MemoryError", OutOfMemory),
        ("Assertion failed", DecoderCrashed),
    ],
)
def test_a_codec_that_gives_up_for_want_of_memory_is_no_crash(tmp_path, words, expected):
    clip = make_clip(tmp_path / "c.mp4", seconds=0.4, audio=False)
    with Decoder(timeout=120) as decoder:
        decoder.open(clip)
        os.write(decoder._process._log.fileno(), f"{words}\n".encode())
        os.kill(decoder.pid, 6)
        with pytest.raises(expected):
            run(decoder)
