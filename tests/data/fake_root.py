"""Writes one invented data set in every layout that EmVidCap is passed around in. All captions are made up here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

Rows = list[tuple[str, str]]

L_TRAIN: Rows = [
    ("vid10001", 'a man says "hi , friend and smiles'),
    ("vid10001", "A happy  man, who waves"),
    ("vid50002", "caf\xe9 guests laugh"),
    ("vid80703", "a nurse calms a child"),
]
L_TEST: Rows = [("vid30003", "Onlookers Are Amazed"), ("vid80703", "a trusting child  , at last")]
S_TRAIN: Rows = [("vid7", "seven dogs, all glad"), ("vid12", 'someone shouts "no')]
S_TEST: Rows = [("vid1970", "the last clip is sad")]
FILES = {("L", "trainval"): L_TRAIN, ("L", "test"): L_TEST, ("S", "trainval"): S_TRAIN, ("S", "test"): S_TEST}
CLIPS = {"vid7": "abC-_9x_1_9", "vid12": "vidABC_d_3_14", "vid1970": "zz_top_0_5"}
LEXICON = {"joy": ["joy", "happy", "glad"], "sadness": ["sadness", "sad"], "trust": ["trust", "trusting"]}
EXTRA = ["A zebra, black and white.", "two otters swim"]
VECTORS = {"happy": [0.5, -0.25, 1e-05], "the": [-1.5, 0.125, 12.0], "zebra": [0.1, 0.2, 0.3]}
WIDTH = 6


@dataclass(frozen=True)
class Variant:
    """One way of keeping the data set. ``quotes``: none, minimal (a spreadsheet's) or all; ``tree``: a key of TREES."""

    separators: tuple[str, str] = ("\t", ",")
    ends: tuple[str, str] = ("\n", "\r\n")
    quotes: str = "none"
    encoding: str = "utf-8"
    tree: str = "epan"
    prefix: bool = False
    json_vectors: bool = True


TREES = {
    "epan": {
        "L": "data/EmVidCap-L",
        "S": "data/EmVidCap-S",
        "lexicon": "EmotionEval",
        "msvd": "data/MSVD",
        "vectors": "data/Embeddings/GloVe",
        "L features": "data/EmVideo-L/features",
        "S features": "data/MSVD/features",
        "videos": "videos",
    },
    "data folder": {
        "L": "EmVidCap-L",
        "S": "EmVidCap-S",
        "lexicon": "EmotionEval",
        "msvd": "MSVD",
        "vectors": "Embeddings/GloVe",
        "L features": "EmVideo-L/features",
        "S features": "MSVD/features",
        "videos": "a/b/c",
    },
    "bare": {
        "L": "EmVidCap-L",
        "S": "EmVidCap-S",
        "lexicon": "",
        "msvd": "",
        "vectors": "",
        "L features": "",
        "S features": "",
        "videos": "videos",
    },
    "upstream names": {
        "L": "dataset/dataset_v2_EmVideo-L",
        "S": "dataset/dataset_v1(EmVideo-S)",
        "lexicon": "eval",
        "msvd": "dataset/MSVD",
        "vectors": "",
        "L features": "features",
        "S features": "features",
        "videos": "",
    },
}


def build(root: Path, variant: Variant) -> Path:
    """Write everything; returns ``root``."""
    tree = TREES[variant.tree]
    for number, part in enumerate("LS"):
        for split in ("trainval", "test"):
            name = f"EmVideo_{split}_captions.csv"
            text = captions(FILES[part, split], variant.separators[number], variant.ends[number], variant.quotes)
            write(root / tree[part] / name, text.encode(variant.encoding))
    for category, words in LEXICON.items():
        write(root / tree["lexicon"] / "sentiment-words-E" / f"{category}.txt", "\n".join(words).encode())
    write(root / tree["lexicon"] / "34_emotion.txt", "\n".join(LEXICON).encode())
    write(root / tree["lexicon"] / "179_words.txt", "\n".join(w for ws in LEXICON.values() for w in ws).encode())
    write(root / tree["msvd"] / "youtube_mapping.txt", "".join(f"{c} {v}\n" for v, c in CLIPS.items()).encode())
    write(root / tree["msvd"] / "metadata" / "train.csv", msvd_table(EXTRA).encode())
    vectors(root / tree["vectors"], as_json=variant.json_vectors)
    for split in ("trainval", "test"):
        large = {stem_of(video, variant.prefix): table(video) for video, _ in FILES["L", split]}
        small = {CLIPS[video]: table(video) for video, _ in FILES["S", split]}
        stem = "train" if split == "trainval" else "test"
        tables = [(tree["L features"], large), (tree["S features"], small)]
        if tables[0][0] == tables[1][0]:
            tables = [(tables[0][0], {**large, **small})]
        for folder, keyed in tables:
            features(root / folder / f"clip_{stem}.hdf5", keyed)
    for (part, split), rows in FILES.items():
        for video, _ in rows:
            folder = root / tree["videos"] / {"trainval": "TrainVal_clips/some emotion", "test": "Test"}[split]
            stem = stem_of(video, variant.prefix) + ".mp4" if part == "L" else CLIPS[video] + ".avi"
            write(folder / stem, b"")
    return root


def captions(rows: Rows, separator: str = "\t", end: str = "\n", quotes: str = "none") -> str:
    def cell(text: str) -> str:
        special = any(sign in text for sign in ('"', separator))
        return '"' + text.replace('"', '""') + '"' if quotes == "all" or (quotes == "minimal" and special) else text

    return "".join(f"{cell(a)}{separator}{cell(b)}{end}" for a, b in [("VideoID", "EmCaptions"), *rows])


def msvd_table(texts: list[str]) -> str:
    """MSVD's table as SGN's scripts write it, with a caption in another language and an empty one."""
    lines = [",VideoID,Start,End,WorkerID,Source,AnnotationTime,Language,Description"]
    lines += [f'{n},abc,1,9,17,clean,30,English,"{text}"' for n, text in enumerate(texts)]
    lines += ["98,abc,1,9,17,clean,30,German,ein Zebra", "99,abc,1,9,17,clean,30,English,"]
    return "\n".join(lines) + "\n"


def vectors(folder: Path, *, as_json: bool) -> Path:
    if as_json:
        return write(folder / "GloVe_300.json", json.dumps(VECTORS).encode())
    text = "".join(f"{word} {' '.join(map(str, numbers))}\n" for word, numbers in VECTORS.items())
    return write(folder / "glove.6B.300d.txt", text.encode())


def features(path: Path, tables: dict[str, np.ndarray]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for key, values in tables.items():
            file.create_dataset(key, data=values)
    return path


def table(video: str, width: int = WIDTH) -> np.ndarray:
    """Feature rows that only this video has."""
    seed = int(video.removeprefix("vid"))
    return np.random.default_rng(seed).normal(size=(3 + seed % 50, width)).astype(np.float32)


def stem_of(video: str, prefix: bool) -> str:
    return video if prefix else video.removeprefix("vid")


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def grouped(rows: Rows) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for video, text in rows:
        found.setdefault(video, []).append(text)
    return found
