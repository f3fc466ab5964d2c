"""Memory and time of commands on many captions: ``python -m tests.benchmarks.text_memory [--sizes 200 20000 200000]``.

Each measurement is a process of its own, on invented captions; its peak is that of the process with its imports.

- ``score``: records with three references each, without METEOR; ``meteor``: with it, of ``--meteor`` records.
- ``check``: ``evcap data check`` of a root with two captions a video, and no videos.
- ``label``: ``evcap label`` of links with a captioner that answers two constant texts, and a digest a video.

``--root OTHER`` measures another checkout of evcap, such as an older one.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tests.benchmarks.invented_captions import InventedCaptions
from tests.benchmarks.plan_memory import HERE, constant_captioner, figures, in_a_process, make_links, peak_mib, table

REFERENCES = 3
CAPTIONS = 2
A_TIME = 10_000
"""Videos that are invented at once."""
WHAT = {
    "score": "records with three references each, `evcap score` without METEOR",
    "meteor": "records with three references each, `evcap score` with METEOR",
    "check": "videos of two captions each, `evcap data check`, no film",
    "label": "links, `evcap label` with a captioner that answers two constant texts",
}


def invented(videos: int, references: int) -> Generator[tuple[str, str, list[str]], None, None]:
    """Id, caption and references of each video."""
    maker, number = InventedCaptions(0), 0
    while number < videos:
        captions, truth = maker.data_set(min(A_TIME, videos - number), references)
        for video, caption in captions.items():
            yield f"clip{number:07}", caption, truth[video]
            number += 1


def write_records(path: Path, videos: int) -> None:
    """A prediction file with references."""
    with path.open("w") as file:
        for video, caption, references in invented(videos, REFERENCES):
            file.write(json.dumps({"video_id": video, "caption": caption, "references": references}) + "\n")


def write_root(root: Path, videos: int) -> None:
    """A data root of captions, a tenth of the videos in the test split."""
    folder = root / "data" / "EmVidCap-L"
    folder.mkdir(parents=True)
    rows = invented(videos, CAPTIONS)
    for name, count in (("trainval", videos - videos // 10), ("test", videos // 10)):
        with (folder / f"EmVideo_{name}_captions.csv").open("w") as file:
            file.write("VideoID\tEmCaptions\n")
            for video, _, captions in islice(rows, count):
                file.writelines(f"{video}\t{caption}\n" for caption in captions)


def score(folder: Path, *, meteor: bool) -> None:
    """As ``evcap score`` does."""
    from evcap_cli import app

    run(app, ["score", str(folder / "records.jsonl"), "--json", *([] if meteor else ["--no-meteor"])])


def check(folder: Path) -> None:
    """As ``evcap data check`` does."""
    from evcap_cli import app

    run(app, ["data", "check", str(folder / "root")], expected=1)  # no videos: nothing to train on


def run(app: Any, arguments: Sequence[str], expected: int = 0) -> None:
    """A command in this process.

    Raises:
        RuntimeError: it ended otherwise.
    """
    code = app.run(arguments)
    if code != expected:
        raise RuntimeError(f"{' '.join(arguments)} ended with {code}")


def label(folder: Path) -> None:
    """As ``evcap label`` does, without a model."""
    from dataclasses import replace

    from evcap_cli.inputs import gather
    from evcap_cli.labelling.label_run import check_labelling, label_videos
    from evcap_cli.labelling.labelled_root import LabelPlan

    captioner = constant_captioner()

    class Several(type(captioner)):  # type: ignore[misc]
        labels_by, knows_familiarity = "", False

        def run(self, sources: Sequence[Any]) -> Generator[Any, None, None]:
            for number, record in enumerate(super().run(sources)):
                (first,) = record.captions
                second = replace(first, text="two people are sadly walking home", score=-0.5)
                yield replace(record, digest=f"{number:032x}", captions=(first, second))

    from evcap_cli.captioning.options import CaptionOptions
    from evcap_cli.data.lexicon import Lexicon

    made: Any = Several()
    made.options = CaptionOptions(segment="whole")
    type(made).lexicon = Lexicon.general()
    root = folder / "labelled"
    sources = gather([str(folder / "videos")])
    videos = check_labelling(sources, root, overwrite=True)
    label_videos(sources, videos, root, made, LabelPlan(2))


def measured(kind: str, count: int, folder: Path) -> dict[str, float]:
    """One measurement in this process."""
    os.fsync = os.fstat  # type: ignore[assignment]
    small = folder / "small"
    works: dict[str, Callable[[Path], None]] = {
        "score": lambda place: score(place, meteor=False),
        "meteor": lambda place: score(place, meteor=True),
        "check": check,
        "label": label,
    }
    works[kind](small)  # what runs load late
    before, begun, used = peak_mib(), time.perf_counter(), time.process_time()
    works[kind](folder)
    seconds, used = time.perf_counter() - begun, time.process_time() - used
    return {"videos": count, "seconds": seconds, "cpu": used, "before": before, "peak": peak_mib()}


def prepare(kind: str, folder: Path, count: int) -> None:
    """What a measurement reads."""
    if kind == "check":
        write_root(folder / "root", count)
    elif kind == "label":
        video = folder / "video.mp4"
        video.write_bytes(b"film")
        make_links(folder / "videos", [video], count)
    else:
        write_records(folder / "records.jsonl", count)


def main() -> None:
    """Measure, or be one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[200, 20_000, 200_000])
    parser.add_argument("--meteor", type=int, nargs="*", default=[200, 20_000], help="records that METEOR scores")
    parser.add_argument("--only", nargs="+", choices=["score", "meteor", "check", "label"])
    parser.add_argument("--root", type=Path, default=HERE, help="checkout of evcap to measure")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        found = measured(chosen.one[0], int(chosen.one[1]), Path(chosen.one[2]))
        print(json.dumps(found))
        return
    from tests.benchmarks.measured import report  # an older checkout, measured with --root, may not have it

    for kind in chosen.only or ("score", "meteor", "check", "label"):
        rows = []
        for count in chosen.meteor if kind == "meteor" else chosen.sizes:
            with tempfile.TemporaryDirectory() as name:
                small = Path(name) / "small"
                small.mkdir()
                prepare(kind, small, 20)
                prepare(kind, Path(name), count)
                environment = {"EVCAP_CACHE_DIR": str(Path(name) / "cache"), "EVCAP_DATA": ""}
                arguments = ["--one", kind, count, name]
                rows.append(in_a_process(chosen.root, arguments, environment, Path(__file__)))
        if rows:
            table(kind, rows)
            report(*figures(kind, rows, WHAT[kind]))


if __name__ == "__main__":
    main()
