"""From records with several captions of a clip to a data root of labels: filters, split, files.

``origin.json`` of the root names the captioner and lists what was left out, and why.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Literal

from evcap_cli.console import counted, noun
from evcap_cli.data.emvidcap import hold_out
from evcap_cli.data.imports.video_names import VideoNames, fit_id
from evcap_cli.data.parts import Split
from evcap_cli.data.root_files import (
    LEXICON_FOLDER,
    begin_root,
    check_lexicon,
    link_videos,
    write_captions,
    write_lexicon,
    write_origin,
)
from evcap_cli.errors import UsageError
from evcap_cli.files import write_whole
from evcap_cli.labelling.choosing import choose
from evcap_cli.media.listed_segments import CLIPS_FILE, ListedClip, clip_lines
from evcap_cli.paths import is_video_name

if TYPE_CHECKING:
    from evcap_cli.captioning.captioner import Captioner
    from evcap_cli.inputs import Source
    from evcap_cli.output.records import Caption, Record

MADE_BY: Final = "evcap label"
WHOLE: Final = "whole"
LISTED: Final = "from:"
LEAST_CANDIDATES: Final = 10
CANDIDATES_A_LABEL: Final = 2
"""Several candidates a label, or there would be nothing to choose from."""

Reason = Literal["failed", "same", "unfamiliar", "disagreeing", "wordless"]


@dataclass(frozen=True)
class LabelPlan:
    """How captions become labels.

    Args:
        captions: of a clip at most.
        test_share: of the videos.
        seed: of the split, and of captions that are drawn at random.
        min_familiarity: what a clip needs; None: it does not count.
        min_agreement: consensus with the clip's other candidates that a caption needs; None: it does not count.
    """

    captions: int
    test_share: float = 0.2
    seed: int = 0
    min_familiarity: float | None = None
    min_agreement: float | None = None

    @property
    def candidates(self) -> int:
        """Captions to request of the captioner for a clip."""
        if self.captions == 1 and self.min_agreement is None:
            return 1
        return max(LEAST_CANDIDATES, CANDIDATES_A_LABEL * self.captions)


@dataclass(frozen=True)
class LeftOut:
    """A video, or a segment of one, without labels.

    Args:
        video: path below the folder of the videos.
        text: why, for people.
        start, end: seconds of the segment; None: the whole video.
    """

    reason: Reason
    video: str
    text: str
    start: float | None = None
    end: float | None = None


@dataclass
class Labels:
    """What a run came to.

    Args:
        labels_by: name of the captioner.
        captions: (clip, caption), the videos in their order, the best caption of a clip first.
        splits: video -> its split.
        left_out: in the order of the videos.
        disagreeing: candidates below the least agreement.
        linked: whether ``root/videos`` leads to the videos.
    """

    labels_by: str
    captions: list[tuple[ListedClip, str]] = field(default_factory=list)
    splits: dict[str, Split] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    disagreeing: int = 0
    linked: bool = True

    def sentence(self, root: Path) -> str:
        """The run in a line."""
        splits = list(self.splits.values())
        lost = f"; {len(self.left_out)} left out" if self.left_out else ""
        return (
            f"{root}: {counted(len(self.captions), 'caption')} of {counted(len(splits), 'video')}, labels by"
            f" {self.labels_by}: {splits.count('train')} to train on, {splits.count('test')} to test on{lost}"
        )

    def short_of(self, most: int) -> int:
        """Clips with fewer captions than ``most``."""
        return sum(count < most for count in Counter(clip.id for clip, _ in self.captions).values())


def label_name(captioner: Captioner) -> str:
    """How all that descends from its labels calls a captioner: by its name, and by whose labels it was trained on."""
    before = captioner.labels_by
    return f"{captioner.name} (labels by {before})" if before else captioner.name


def common_folder(sources: Sequence[Source]) -> Path:
    """The nearest folder that all videos lie in or below.

    Raises:
        UsageError: there is none but the root of the file system.
    """
    # few, and links stay
    folders = {os.path.dirname(os.path.abspath(source.path)) for source in sources}  # noqa: PTH100, PTH120
    try:
        common = Path(os.path.commonpath(folders))
    except ValueError:  # on two drives
        common = Path(Path(next(iter(folders))).anchor)
    if common == Path(common.anchor):
        raise UsageError("the videos have no folder in common", hint="label them one folder after the other")
    here = Path.cwd()
    return common.relative_to(here) if common != here and common.is_relative_to(here) else common


def take_labels(
    records: Iterable[tuple[Source, Record]], videos: VideoNames, plan: LabelPlan, labels_by: str, *, segment: str
) -> Labels:
    """Filter and choose.

    Args:
        records: of the run, in its order, with all candidates; they are read once, one at a time.
        videos: the folder that the sources lie in.
        plan: what counts.
        labels_by: name of the captioner.
        segment: how videos were cut; of anything but "whole" the clips are segments.
    """
    found, ids = Labels(labels_by), dict[str, ListedClip]()
    first: dict[str, str] = {}
    top = os.path.abspath(videos.folder)  # noqa: PTH100
    for source, record in records:
        video = Path(os.path.relpath(os.path.abspath(source.path), top)).as_posix()  # noqa: PTH100
        if record.status == "failed" or record.digest is None:
            message = "" if record.error is None else record.error["message"]
            found.left_out.append(LeftOut("failed", video, message))
            continue
        if record.digest in first:  # the same video in both splits would tell nothing
            found.left_out.append(LeftOut("same", video, f"the same bytes as {first[record.digest]}"))
            continue
        first[record.digest] = video
        for (start, end, name), captions in groupby(record.captions, key=_clip_key):
            # a video that a list of segments does not name is captioned as a whole
            whole = segment == WHOLE or (segment.startswith(LISTED) and name is None)
            clip = _clip(ids, videos.id_of(video), video, name, None if whole else (start, end))
            _take_clip(found, clip, list(captions), plan)
    files = list(dict.fromkeys(clip.file for clip, _ in found.captions))
    test = set(hold_out(files, plan.test_share, plan.seed)[1])
    found.splits = {file: "test" if file in test else "train" for file in files}
    return found


def _clip_key(caption: Caption) -> tuple[float, float, str | None]:
    return caption.start, caption.end, caption.id


def _take_clip(found: Labels, clip: ListedClip, candidates: Sequence[Caption], plan: LabelPlan) -> None:
    def leave_out(reason: Reason, text: str) -> None:
        times = (None if time is None else float(time) for time in (clip.start, clip.end))
        found.left_out.append(LeftOut(reason, clip.file, text, *times))

    familiarity = candidates[0].familiarity
    if plan.min_familiarity is not None and (familiarity is None or familiarity < plan.min_familiarity):
        leave_out("unfamiliar", "no stream to compare" if familiarity is None else f"familiarity {familiarity:.3f}")
        return
    choice = choose(candidates, plan.captions, plan.min_agreement)
    found.disagreeing += choice.disagreeing
    if choice.agreement is None:
        leave_out("wordless", "no caption with a word in ASCII letters")
    elif not choice.captions:
        leave_out("disagreeing", f"agreement {choice.agreement:.3f} at most")
    else:
        found.captions += [(clip, " ".join(caption.text.split())) for caption in choice.captions]


def _clip(
    ids: dict[str, ListedClip], stem: str, video: str, listed: str | None, span: tuple[float, float] | None
) -> ListedClip:
    """A clip with an id that no other has: the one that a data root lists, or the video's with the times."""
    name = stem if span is None else f"{stem}_{span[0]:.3f}_{span[1]:.3f}"
    name = name if listed is None else fit_id(listed)
    while name in ids:
        name += "_"
    start, end = (None, None) if span is None else (Fraction(round(time * 1000), 1000) for time in span)
    ids[name] = ListedClip(name, video, start, end)
    return ids[name]


def write_labels(root: Path, labels: Labels, videos: VideoNames, captioner: Captioner, plan: LabelPlan) -> None:
    """Write the root; a kill leaves one that says that it is not complete.

    Raises:
        UsageError: other videos are in the way. DataError: the captioner's lexicon cannot be files.
        WriteError: no permission, a full disk.
    """
    check_lexicon(captioner.lexicon, label_name(captioner))
    begin_root(root, MADE_BY)
    labels.linked = link_videos(root, videos.folder)
    write_lexicon(root / LEXICON_FOLDER, captioner.lexicon)
    for split in ("train", "test"):
        if split in labels.splits.values():
            rows = ((clip.id, caption) for clip, caption in labels.captions if labels.splits[clip.file] == split)
            write_captions(root, split, rows)
    clips = dict.fromkeys(clip for clip, _ in labels.captions)
    listed = [clip for clip in clips if clip.start is not None or not _found_by_id(clip)]
    if listed:
        write_whole(root / CLIPS_FILE, clip_lines(listed))
    else:
        (root / CLIPS_FILE).unlink(missing_ok=True)
    write_origin(root, _origin(labels, videos, captioner, plan))


def _found_by_id(clip: ListedClip) -> bool:
    """Whether a search of the folder for the id finds the whole file."""
    file = PurePosixPath(clip.file)
    return clip.id == file.stem and is_video_name(file.name)


def _origin(labels: Labels, videos: VideoNames, captioner: Captioner, plan: LabelPlan) -> dict[str, Any]:
    """What ``origin.json`` says of a root."""
    splits = list(labels.splits.values())
    return {
        "made_by": MADE_BY,
        "labels_by": labels.labels_by,
        "captioner": captioner.settings,
        "plan": asdict(plan),
        "videos": videos.folder.resolve().name,
        "lexicon": captioner.lexicon.name,
        "captions": len(labels.captions),
        "train_videos": splits.count("train"),
        "test_videos": splits.count("test"),
        "candidates_below_min_agreement": labels.disagreeing,
        "left_out": [asdict(one) for one in labels.left_out],
    }


def left_out_lines(labels: Labels, plan: LabelPlan, *, most: int | None) -> Iterator[str]:
    """What has no labels, a line a reason.

    Args:
        labels: of the run.
        plan: names the limits.
        most: videos to name; None: all.
    """
    heads: dict[Reason, str] = {
        "same": "twice among the videos",
        "unfamiliar": f"below --min-familiarity {plan.min_familiarity}",
        "disagreeing": f"without a caption of --min-agreement {plan.min_agreement}",
        "wordless": "without a caption",
    }
    for reason, head in heads.items():
        several = [one for one in labels.left_out if one.reason == reason]
        if several:
            shown = "; ".join(f"{_place(one)}: {one.text}" for one in several[:most])
            more = "" if most is None or len(several) <= most else "; ... (-v names all)"
            yield f"left out, {head}: {len(several)} ({shown}{more})"
    if labels.disagreeing:
        whose = noun(labels.disagreeing, "candidate is", "candidates are")
        yield f"{labels.disagreeing} {whose} below --min-agreement {plan.min_agreement}"


def _place(one: LeftOut) -> str:
    return one.video if one.start is None else f"{one.video} at {one.start:.3f} s"
