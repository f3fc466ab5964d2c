"""Damaged files of ten containers: ``python -m tests.benchmarks.mutated_media [--files 200] [--seed 0]``.

For each container a short clip is damaged in ``--files`` ways (bits, cut, zeroed, swapped or repeated blocks, extreme
sizes), all drawn from the seed, and one run of ``evcap caption`` takes them all together with two good clips. A run is
at fault where it ends by itself or hangs, where a record is missing, doubled or not of the schema, where an error is
not typed or not one line, where the good clips are captioned otherwise than alone, or where a file or process is left.
Prints a row a container and the number of faults; exits 1 where there is a fault.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema

from tests.benchmarks.measured import Measured, report
from tests.benchmarks.processes import ROOT, decoders_of, evcap_command, leftovers
from tests.media.clips import make_clip

CONTAINERS: dict[str, dict[str, Any]] = {
    "mp4": {},
    "mov": {"codec": "mpeg4"},
    "mkv": {},
    "webm": {"codec": "libvpx", "bframes": 0},
    "avi": {"codec": "mpeg4", "bframes": 0, "audio_codec": "libmp3lame"},
    "ts": {"format": "mpegts"},
    "mpg": {"codec": "mpeg2video", "audio_codec": "mp2", "rate": 48000},
    "flv": {"codec": "libx264", "bframes": 0, "rate": 44100},
    "wmv": {"codec": "msmpeg4", "bframes": 0, "audio_codec": "libmp3lame", "rate": 44100},
    "gif": {"codec": "gif", "pix_fmt": "rgb8", "bframes": 0, "audio": False},
}
LEFT_OUT = "runs for an hour or more"
LEDGER_SECONDS = 14400
CODES = {"open", "no-video", "decode", "timeout", "crash", "memory"}
LIMIT_SECONDS = 900
"""One container's run is a hang after that long; a single file has evcap's own ``--timeout``."""


@dataclass
class Tally:
    """What one container's run showed."""

    ok: int = 0
    codes: collections.Counter[str] = field(default_factory=collections.Counter)
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


def mutated(data: bytes, draw: random.Random) -> bytes:
    """``data`` with one to three damages."""
    out = bytearray(data)
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(max(1, len(out)))
        length = draw.choice((1, 4, 16, 200, 2000))
        kind = draw.randrange(9)
        if kind == 0:  # bits, somewhere
            for _ in range(draw.choice((1, 10, 100))):
                out[draw.randrange(len(out))] ^= 1 << draw.randrange(8)
        elif kind == 1:  # bits in the head, where sizes and counts are
            for _ in range(draw.choice((1, 5))):
                out[draw.randrange(min(len(out), 600))] ^= 1 << draw.randrange(8)
        elif kind == 2:
            del out[max(16, at) :]
        elif kind == 3:
            out[at : at + length] = bytes(min(length, len(out) - at))
        elif kind == 4:
            out[at:at] = draw.randbytes(length)
        elif kind == 5:
            del out[at : at + length]
        elif kind == 6:  # an extreme size or time
            out[at : at + 4] = draw.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\x01"))
        elif kind == 7:
            other = draw.randrange(len(out))
            out[at:at] = out[other : other + length]
        else:  # a piece moved
            piece = out[at : at + length]
            del out[at : at + length]
            place = draw.randrange(max(1, len(out)))
            out[place:place] = piece
    return bytes(out)


def run_container(suffix: str, files: int, seed: int, folder: Path, schema: dict[str, Any]) -> Tally:
    """Caption ``files`` damaged clips of one container and look at everything that came of it."""
    settings = {"seconds": 1.2, "size": (96, 64), "rate": 16000, **CONTAINERS[suffix]}
    videos = folder / suffix / "videos"
    videos.mkdir(parents=True)
    whole = make_clip(folder / f"whole.{suffix}", **settings)
    draw = random.Random(f"{suffix} {seed}")
    for number in range(files):
        (videos / f"{number:04}.{suffix}").write_bytes(mutated(whole.read_bytes(), draw))
    for name in ("0000-good", "good"):
        shutil.copy(whole, videos / f"{name}.{suffix}")
    tally = Tally()
    out = videos.parent / "out.jsonl"
    cache = videos.parent / "cache"
    command = evcap_command("caption", videos, "-o", out, "-o", out.with_suffix(".srt"), "--timeout", "30")
    environment = {**os.environ, "EVCAP_CACHE_DIR": str(cache)}
    begun = time.monotonic()
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        tally.faults.append(f"hang: not over after {LIMIT_SECONDS} s")
        return tally
    tally.seconds = time.monotonic() - begun
    if done.returncode not in (0, 3) or "Traceback" in done.stderr or "unexpected" in done.stderr:
        tally.faults.append(f"the run ended with {done.returncode}: {done.stderr[-400:]}")
    records = [json.loads(line) for line in out.read_text("utf-8").splitlines()] if out.exists() else []
    names = sorted(path.name for path in videos.iterdir())
    if [Path(record["path"]).name for record in records] != names:
        tally.faults.append(f"{len(records)} records of {len(names)} videos")
    for record in records:
        tally.faults += [f"{record['path']}: {fault}" for fault in record_faults(record, schema)]
        if record["status"] == "ok":
            tally.ok += 1
        else:
            tally.codes[record["error"]["code"]] += 1
    good = [record["captions"] for record in records if "good" in record["path"]]
    if len(good) != 2 or good[0] != good[1] or not good[0]:
        tally.faults.append("the good clips are not captioned alike")
    elif good[0] != alone(whole, folder / suffix / "alone.jsonl"):
        tally.faults.append("a good clip is captioned otherwise than alone")
    tally.faults += [f"left behind: {name}" for name in leftovers(videos.parent)]
    tally.faults += [f"still running: decoder {pid}" for pid in decoders_of(str(videos.parent))]
    return tally


def record_faults(record: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    """What is wrong with one record."""
    faults = [problem.message for problem in jsonschema.Draft202012Validator(schema).iter_errors(record)]
    error = record["error"]
    if error is not None and (error["code"] not in CODES or "\n" in error["message"]):
        faults.append(f"error {error}")
    return faults


def alone(clip: Path, out: Path) -> Any:
    """The captions of one good clip in a run of its own, without the cache."""
    subprocess.run(evcap_command("caption", clip, "-o", out, "--no-cache", "-q"), check=True, timeout=LIMIT_SECONDS)
    return json.loads(out.read_text("utf-8"))["captions"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200, help="damaged files of each container")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=list(CONTAINERS), nargs="*", default=list(CONTAINERS))
    given = parser.parse_args()
    schema = json.loads((ROOT / "docs" / "record.schema.json").read_text("utf-8"))
    faults = 0
    print(f"{'container':<10}{'ok':>6}{'failed':>8}{'seconds':>9}  error codes")
    with tempfile.TemporaryDirectory() as name:
        for suffix in given.only:
            tally = run_container(suffix, given.files, given.seed, Path(name), schema)
            codes = ", ".join(f"{code} {count}" for code, count in sorted(tally.codes.items()))
            print(f"{suffix:<10}{tally.ok:>6}{tally.codes.total():>8}{tally.seconds:>9.0f}  {codes}", flush=True)
            for fault in tally.faults:
                print(f"  FAULT {fault}", flush=True)
            faults += len(tally.faults)
    what = f"{given.files} damaged files of each of {len(given.only)} containers, seed {given.seed}: faults"
    report(Measured("faults", what, (faults,), "", at_most=0.0))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
