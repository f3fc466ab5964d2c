"""What a change of structure must leave as it is: ``python -m tests.benchmarks.same_bytes DIGESTS [--media DIR]``.

Runs the demo, captions, extraction and scores, and trains each system in small; writes a digest of everything that came
out to DIGESTS, or, where that file is there already, compares with it and names what differs. Records are compared
without the checkpoint's digest, feature files by their data sets, checkpoints by their tensors.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
from safetensors.numpy import load_file

from tests.benchmarks.kills import RECIPE
from tests.benchmarks.measured import Measured, report
from tests.benchmarks.processes import evcap_command

LEFT_OUT = "needs digests of another commit to compare with"
SYSTEMS = ("fusion", "fusion+", "epan", "dcgn", "canet", "sa-lstm")
SMALL_SYSTEMS = """
[model.epan]
width = 16
feed_forward = 16
lstm_width = 16
attention_width = 16
alignment_width = 16
category_hidden = 16
word_hidden = 16
[model.dcgn]
width = 30
word_hidden = 30
feed_forward = 16
lstm_width = 16
attention_width = 16
alignment_width = 16
category_hidden = 16
slots = 8
[model.canet]
width = 16
feed_forward = 16
lstm_width = 16
attention_width = 16
alignment_width = 16
"""


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def of_records(path: Path) -> str:
    lines = []
    for line in path.read_text("utf-8").splitlines():
        record = json.loads(line)
        record.get("checkpoint", {}).pop("digest", None)
        lines.append(json.dumps(record))
    return digest("\n".join(lines).encode())


def of_features(path: Path) -> str:
    seen = hashlib.sha256()
    with h5py.File(path) as file:
        names: list[str] = []
        file.visit(names.append)
        for name in sorted(names):
            item = file[name]
            if isinstance(item, h5py.Dataset):
                seen.update(name.encode() + np.ascontiguousarray(item[()]).tobytes())
    return seen.hexdigest()[:16]


def of_weights(path: Path) -> str:
    seen = hashlib.sha256()
    for name, values in sorted(load_file(path).items()):
        seen.update(name.encode() + values.tobytes())
    return seen.hexdigest()[:16]


def collect(folder: Path, media: Path | None) -> dict[str, str]:
    """A digest of each result, by name."""
    environment = {**os.environ, "EVCAP_CACHE_DIR": str(folder / "cache"), "OMP_NUM_THREADS": "1"}

    def evcap(*arguments: object) -> str:
        done = subprocess.run(
            evcap_command(*arguments), cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"evcap {' '.join(map(str, arguments))}: {done.returncode}\n{done.stderr}")
        return done.stdout

    found: dict[str, str] = {}
    evcap("demo", "demo")
    found["demo out.srt"] = digest((folder / "demo/out.srt").read_bytes())
    found["demo out.jsonl"] = of_records(folder / "demo/out.jsonl")
    found["demo score"] = digest(
        evcap("score", "demo/out.jsonl", "--data", "demo", "--split", "all", "--json").encode()
    )
    sources = {"demo": Path("demo/videos"), **({} if media is None else {"media": media})}
    for name, videos in sources.items():
        evcap("caption", videos, "-o", f"{name}.jsonl", "-o", f"{name}.srt", "--no-cache")
        found[f"{name} captions"] = of_records(folder / f"{name}.jsonl")
        found[f"{name} subtitles"] = digest((folder / f"{name}.srt").read_bytes())
        evcap("extract", videos, "-o", f"{name}-features/")
        for path in sorted((folder / f"{name}-features").rglob("*.hdf5")):
            found[f"{name} {path.name}"] = of_features(path)
    (folder / "small.toml").write_text(RECIPE + SMALL_SYSTEMS, "utf-8")
    evcap("demo-world", "world", "--videos", 40, "--seed", 5)
    for system in SYSTEMS:
        run = f"run-{system}"
        options = ("--backbone", "lite", "--data", "world", "--recipe", "small.toml", "--epochs", 2)
        evcap("train", "--model", system, *options, "-o", run, "-q")
        found[f"{system} weights"] = of_weights(folder / run / "model.safetensors")
        found[f"{system} test captions"] = of_records(folder / run / "test.jsonl")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("digests", type=Path)
    parser.add_argument("--media", type=Path, help="a folder of further videos")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = collect(Path(name), None if given.media is None else given.media.resolve())
    if not given.digests.exists():
        given.digests.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        print(f"{len(found)} digests written")
        return
    before = json.loads(given.digests.read_text("utf-8"))
    differ = [name for name in sorted(before.keys() | found.keys()) if before.get(name) != found.get(name)]
    for name in sorted(before.keys() | found.keys()):
        print(
            f"{'differs' if name in differ else 'same':<8}{before.get(name, '-'):<18}{found.get(name, '-'):<18}{name}"
        )
    report(Measured("differ", f"results of {len(found)} that are not those of before", (len(differ),), "", at_most=0.0))
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
