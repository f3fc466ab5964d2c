"""Motion and sound through the whole feature stage, against the libraries called on the same film."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from evcap_backbones.hubert import Hubert
from evcap_backbones.resnext3d import ResNeXt3D101
from PIL import Image

from evcap_cli.features.audio_chunks import BINS
from evcap_cli.features.events import SegmentReady, VideoDone
from evcap_cli.features.pipeline import FeaturePipeline
from tests.backbones.natural import decoded_images, natural_pictures
from tests.backbones.test_hubert import OPTIONS, written
from tests.media.clips import make_clip

FRAMES = 3


def upstreams_window(images: list[Image.Image], centre: int) -> torch.Tensor:
    """16 frames around ``centre`` as Hara's scripts prepare them, (1, 3, 16, 112, 112)."""
    prepared = []
    for image in images:
        short = min(image.size)
        resized = image.resize(tuple(int(112 * side / short) for side in image.size), Image.Resampling.BILINEAR)
        left, top = (round((side - 112) / 2.0) for side in resized.size)
        prepared.append(np.asarray(resized.crop((left, top, left + 112, top + 112)), dtype=np.float32))
    window = np.stack([prepared[min(max(centre + offset, 0), len(images) - 1)] for offset in range(-8, 8)])
    return (torch.from_numpy(window) - torch.tensor([114.7748, 107.7354, 99.4750])).permute(3, 0, 1, 2)[None]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three unlike pictures, a second and a half with sound."""
    pictures = [natural_pictures(1, (250, 130), seed)[0] for seed in range(FRAMES)]
    return make_clip(tmp_path_factory.mktemp("film") / "a.mp4", pictures=pictures, size=(250, 130), fps=2, seconds=1.5)


@pytest.mark.slow
def test_features_of_a_film_are_those_of_the_networks_called_directly(film: Path, tmp_path: Path) -> None:
    motion, audio = ResNeXt3D101(), Hubert(None, OPTIONS)
    motion.load("random:0", torch.device("cpu"), torch.float32)
    audio.load(str(written(tmp_path / "hubert")), torch.device("cpu"), torch.float32)
    motion.spec = replace(motion.spec, batch_size=FRAMES)
    pipeline = FeaturePipeline({"motion": motion, "audio": audio}, cache=None, workers=1)
    ready, done = list(pipeline.run([film]))
    assert isinstance(ready, SegmentReady)
    assert isinstance(done, VideoDone)
    assert done.error is None
    assert pipeline.passes[film] == 1
    images = decoded_images(film)
    with torch.inference_mode():
        windows = torch.cat([upstreams_window(images, centre) for centre in range(FRAMES)])
        expected = motion.network(windows.contiguous(memory_format=torch.channels_last_3d))
    found = ready.features.streams["motion"].values
    assert found.shape == (FRAMES, 2048)
    scale = float(expected.std(0).max())  # what tells the windows apart
    assert scale > 1e-3 * float(expected.abs().max())
    torch.testing.assert_close(found / scale, expected / scale, atol=1e-2, rtol=0)
    with av.open(str(film)) as container:
        resampler = av.AudioResampler("flt", "mono", 16000)
        frames = list(container.decode(audio=0))
        sound = np.concatenate([part.to_ndarray()[0] for frame in frames for part in resampler.resample(frame)])
    sound = sound[: round(float(ready.segment.end) * 16000)]
    with torch.inference_mode():
        steps = audio.extract(torch.from_numpy(sound)[None])[0].double()
    stream = ready.features.streams["audio"]
    bins = ((torch.arange(len(steps)) * 320 + 200) / 16000 / (float(ready.segment.end) / BINS)).long()
    means = torch.stack([steps[bins == number].mean(0) for number in bins.unique()])
    assert stream.values.shape == means.shape
    torch.testing.assert_close(stream.values, means.float(), atol=1e-3, rtol=0)
