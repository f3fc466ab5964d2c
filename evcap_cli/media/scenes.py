"""Scene cuts by PySceneDetect (extra ``scenes``), at low resolution, inside the decoding process.

Its detector gets our frames: the same stream, the same times and the same patience with damage as everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Final

from evcap_cli.errors import DecodeFailed, UsageError
from evcap_cli.media.frames import Fitter, Geometry, requested_frames
from evcap_cli.media.packets import Skipped
from evcap_cli.media.probe import FALLBACK_RATE
from evcap_cli.media.scan import OpenVideo

SHORT_SIDE: Final = 144
SHORTEST_SCENE_SECONDS: Final = 0.6


def find_scenes(opened: OpenVideo, alive: Callable[[], None]) -> list[tuple[Fraction, Fraction]]:
    """Start and end of each scene in seconds; one scene where nothing cuts.

    Raises:
        UsageError: scenedetect is not installed. DecodeFailed: no frame decodes.
    """
    try:
        from scenedetect import ContentDetector, FrameTimecode
        from scenedetect.common import Timecode
    except ImportError as problem:
        raise UsageError("--segment scenes needs scenedetect", hint="pip install 'evcap[scenes]'") from problem
    import numpy as np

    timeline = opened.timeline
    fps = timeline.info.fps or FALLBACK_RATE
    # a float: seconds, which also holds where frames are not evenly spaced
    detector = ContentDetector(min_scene_len=SHORTEST_SCENE_SECONDS)
    fitter = Fitter(Geometry(short_side=SHORT_SIDE, fit="keep", interpolation="area"), timeline.info, opened.colours)
    cuts: list[int] = []
    clock = None
    for number, frame in requested_frames(opened, range(len(timeline.times)), Skipped(), alive):
        clock = FrameTimecode(Timecode(int(timeline.times[number]), timeline.time_base), fps)
        picture = np.ascontiguousarray(fitter(frame)[:, :, ::-1])
        cuts += [cut.pts for cut in detector.process_frame(clock, picture)]
    if clock is None:
        raise DecodeFailed("no frame of it can be decoded", path=opened.file.path, hint="check that it plays")
    cuts += [cut.pts for cut in detector.post_process(clock)]
    starts = [Fraction(0), *(ticks * timeline.time_base for ticks in sorted(set(cuts)) if ticks > 0)]
    return list(zip(starts, [*starts[1:], timeline.end], strict=True))
