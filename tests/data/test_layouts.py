"""One invented data set in every published layout reads to the same records (issue 4, show 3)."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from evcap_cli.data.emvidcap import DataRoot
from evcap_cli.data.features_hdf5 import FeatureFiles, feature_files
from evcap_cli.data.glove import find_glove, read_glove
from evcap_cli.data.lexicon import Lexicon
from evcap_cli.data.msvd import read_extra_captions
from tests.data import fake_root
from tests.data.fake_root import Variant, build, grouped

STEMS = {**{f"vid{n}": str(n) for n in (10001, 50002, 80703, 30003)}, **fake_root.CLIPS}
TRAIN = grouped([*fake_root.L_TRAIN, *fake_root.S_TRAIN])
TEST = grouped([*fake_root.L_TEST, *fake_root.S_TEST])

PLAIN = Variant()
VARIANTS = {
    **{
        f"{tree}, {'vid' if prefix else 'bare'} keys": replace(PLAIN, tree=tree, prefix=prefix)
        for tree, prefix in product(fake_root.TREES, (False, True))
    },
    "commas": replace(PLAIN, separators=(",", ",")),
    "tabs": replace(PLAIN, separators=("\t", "\t")),
    "semicolons": replace(PLAIN, separators=(";", ";")),
    "CRLF": replace(PLAIN, ends=("\r\n", "\r\n")),
    "LF": replace(PLAIN, ends=("\n", "\n")),
    "spreadsheet quotes": replace(PLAIN, separators=(",", ","), quotes="minimal"),
    "spreadsheet quotes and tabs": replace(PLAIN, quotes="minimal"),
    "all quoted": replace(PLAIN, quotes="all"),
    "all quoted, commas": replace(PLAIN, separators=(",", ","), quotes="all"),
    "byte order mark": replace(PLAIN, encoding="utf-8-sig"),
    "UTF-16": replace(PLAIN, encoding="utf-16"),
    "Latin-1": replace(PLAIN, encoding="latin-1"),
    "vectors as text": replace(PLAIN, json_vectors=False),
}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_every_layout_reads_to_the_same_records(tmp_path: Path, variant: Variant) -> None:
    root = build(tmp_path / "root", variant)
    opened = DataRoot.open(root, "both")
    assert opened.train == TRAIN
    assert opened.test == TEST
    assert opened.aliases == fake_root.CLIPS
    assert opened.lexicon == Lexicon(fake_root.LEXICON)
    told = " ".join(opened.warnings)
    assert "vid80703" in told
    assert ("not UTF-8" in told) == (variant.encoding == "latin-1")

    videos = opened.videos(root / fake_root.TREES[variant.tree]["videos"])
    assert {video: path.stem.removeprefix("vid") for video, path in videos.items()} == {
        video: stem.removeprefix("vid") for video, stem in STEMS.items()
    }
    files = feature_files(root, "clip")
    read = dict(FeatureFiles({"appearance": files}, aliases=opened.aliases).read([*opened.train, *opened.test]))
    assert read.keys() == STEMS.keys()
    for video, clip in read.items():
        rows = fake_root.table(video)
        expected = rows[np.linspace(0, len(rows) - 1, 30, dtype=int)] if len(rows) >= 30 else None
        found = clip.streams["appearance"].values.numpy()
        if expected is None:
            assert {row.tobytes() for row in found} == {row.tobytes() for row in rows}
        else:
            np.testing.assert_array_equal(found, expected)
    (vectors,) = find_glove(root)
    found = read_glove(vectors, fake_root.VECTORS, 3)
    assert found.keys() == fake_root.VECTORS.keys()
    for word, numbers in fake_root.VECTORS.items():
        np.testing.assert_array_equal(found[word], np.array(numbers, dtype=np.float32))
    assert read_extra_captions(root) == fake_root.EXTRA


@pytest.mark.parametrize("part", ["L", "S"])
@pytest.mark.parametrize("separators", [("\t", ","), (",", ",")])
def test_a_folder_with_nothing_but_one_part_in_it_is_that_part(
    tmp_path: Path, part: str, separators: tuple[str, str]
) -> None:
    rows = fake_root.FILES[part, "trainval"]
    text = fake_root.captions(rows, separators["LS".index(part)])
    fake_root.write(tmp_path / "EmVideo_trainval_captions.csv", text.encode())
    opened = DataRoot.open(tmp_path, part)  # type: ignore[arg-type]
    assert opened.train == grouped(rows)
    assert not any("is used" in warning for warning in opened.warnings)
    assert opened.files.keys() == {(part, "train")}


def test_the_caption_folder_itself_serves_as_root(tmp_path: Path) -> None:
    root = build(tmp_path, PLAIN)
    assert DataRoot.open(root / "data" / "EmVidCap-S", "S").train == grouped(fake_root.S_TRAIN)
