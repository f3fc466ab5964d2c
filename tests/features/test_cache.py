"""The cache keeps what it was given, notices damage, shares a folder with others, and never ends a run."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from evcap_cli import console
from evcap_cli.features import cache as cache_module
from evcap_cli.features.cache import FeatureCache, default_root
from evcap_cli.features.streams import StreamFeatures
from evcap_cli.features.video_facts import VideoFacts
from evcap_cli.media.probe import MediaInfo
from evcap_cli.media.segments import Segment

KEY = "0123456789abcdef0123456789abcdef"
OTHER = "f" * 32
ABOUT = {"backbone": "tiny", "kind": "appearance"}


def stream(rows=3, dim=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return StreamFeatures(torch.randn(rows, dim, generator=generator), torch.arange(rows, dtype=torch.float32))


def filled(root: Path, rows=3) -> FeatureCache:
    cache = FeatureCache(root)
    cache.write_stream(KEY, ABOUT, stream(rows))
    return cache


@pytest.mark.parametrize("rows", [0, 1, 30])
def test_what_goes_in_comes_out_bit_for_bit(tmp_path, rows):
    found = filled(tmp_path, rows).read_stream(KEY, 5)
    assert found is not None
    assert torch.equal(found.values, stream(rows).values)
    assert torch.equal(found.times, stream(rows).times)
    found.values.add_(1)  # a tensor like any other


def test_an_entry_that_is_not_there_is_none(tmp_path):
    assert FeatureCache(tmp_path / "nowhere").read_stream(KEY, 5) is None
    assert filled(tmp_path).read_stream(OTHER, 5) is None


def test_every_truncation_is_noticed(tmp_path):
    cache = filled(tmp_path)
    path = cache.path_of(KEY)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert cache.read_stream(KEY, 5) is None, length


def test_every_flipped_bit_is_noticed_or_harmless(tmp_path):
    cache = filled(tmp_path)
    path = cache.path_of(KEY)
    whole = path.read_bytes()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << (position % 8)
        path.write_bytes(changed)
        found = cache.read_stream(KEY, 5)
        # white space of the header may change its kind; then the content is still what it was
        assert found is None or torch.equal(found.values, stream().values), position


GOOD = np.ones((3, 5), np.float32), np.arange(3, dtype=np.float32)
FORGED = {
    "another number format": (GOOD[0].astype(np.float64), GOOD[1]),
    "half precision": (GOOD[0].astype(np.float16), GOOD[1]),
    "whole numbers": (GOOD[0].astype(np.int32), GOOD[1]),
    "times in double precision": (GOOD[0], GOOD[1].astype(np.float64)),
    "infinity": (np.full((3, 5), np.inf, np.float32), GOOD[1]),
    "no number": (np.full((3, 5), np.nan, np.float32), GOOD[1]),
    "a time that is no number": (GOOD[0], np.array([0, np.nan, 2], np.float32)),
    "a time before the start": (GOOD[0], np.array([-1, 0, 1], np.float32)),
    "too few times": (GOOD[0], GOOD[1][:2]),
    "fewer rows than were written": (GOOD[0][:2], GOOD[1][:2]),
    "more rows than were written": (np.ones((4, 5), np.float32), np.arange(4, dtype=np.float32)),
    "times as a column": (GOOD[0], GOOD[1][:, None]),
    "one row without a list": (GOOD[0][0], GOOD[1]),
    "a single number": (np.float32(1).reshape(()), GOOD[1]),
}


@pytest.mark.parametrize("values", FORGED.values(), ids=FORGED.keys())
def test_a_valid_checksum_does_not_make_a_stream(tmp_path, values):
    cache = FeatureCache(tmp_path)
    cache.write_stream(KEY, ABOUT, StreamFeatures(*map(torch.from_numpy, GOOD)))
    about = cache.read(KEY)[0]
    assert cache.read_stream(KEY, 5) is not None
    cache.write(KEY, about, dict(zip(("values", "times"), values, strict=True)))
    assert cache.read(KEY) is not None
    assert cache.read_stream(KEY, 5) is None


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "U64", "BOOL", "X9"])
def test_number_formats_that_numpy_lacks_are_no_entry(tmp_path, dtype):
    header = {"values": {"dtype": dtype, "shape": [0], "data_offsets": [0, 0]}}
    header["__metadata__"] = {"about": json.dumps({"key": KEY}), "checksum": "0" * 32}
    text = json.dumps(header).encode()
    cache = filled(tmp_path)
    cache.path_of(KEY).write_bytes(len(text).to_bytes(8, "little") + text)
    assert cache.read_stream(KEY, 5) is None


def test_a_pipe_in_place_of_an_entry_is_not_waited_for(tmp_path):
    cache = filled(tmp_path)
    cache.path_of(KEY).unlink()
    os.mkfifo(cache.path_of(KEY))
    assert cache.read_stream(KEY, 5) is None
    assert cache.info().unreadable == 1
    assert cache.verify().removed == 1


FACTS = VideoFacts(
    MediaInfo(Fraction(2), Fraction(25, 2), 64, 48, 0, True),
    (Segment(0, Fraction(0), Fraction(1)), Segment(1, Fraction(1), Fraction(2))),
    ("odd",),
)


def test_the_facts_of_a_video_come_back_from_plain_values():
    assert VideoFacts.from_plain(json.loads(json.dumps(FACTS.to_plain()))) == FACTS


WRONG = [[], None, {}, 7, -1, 1.5, True, "x", "1e999999999", float("inf"), [7], [[0, "0"]], {"fraction": "1e999999999"}]


@pytest.mark.parametrize("value", WRONG, ids=map(repr, WRONG))
def test_an_outcome_of_other_types_is_not_believed(value):
    def put(where, name):
        values = json.loads(json.dumps(FACTS.to_plain()))
        if where is not None:
            values[where][name] = value
        else:
            values[name] = value
        return VideoFacts.from_plain(values)

    assert put(None, "info") is None
    assert put(None, "segments") is None
    assert put("segments", 0) is None
    assert (put(None, "warnings") is None) == (value != [])
    assert (put(None, "skipped_packets") is None) == (value != 7 or value is True)
    assert (put("info", "width") is None) == (value != 7)
    assert (put("info", "duration") is None) == (value is not None)


def test_the_entry_of_another_key_or_width_is_not_believed(tmp_path):
    cache = filled(tmp_path)
    target = cache.path_of(OTHER)
    target.parent.mkdir(parents=True)
    target.write_bytes(cache.path_of(KEY).read_bytes())
    assert cache.read_stream(OTHER, 5) is None
    assert cache.read_stream(KEY, 6) is None


def test_verify_removes_what_does_not_verify_and_nothing_else(tmp_path):
    cache = filled(tmp_path)
    cache.write_stream(OTHER, ABOUT, stream(seed=1))
    damaged = bytearray(cache.path_of(OTHER).read_bytes())
    damaged[-1] ^= 1
    cache.path_of(OTHER).write_bytes(damaged)
    swept = cache.verify()
    assert (swept.checked, swept.removed, swept.freed_bytes) == (2, 1, len(damaged))
    assert cache.read_stream(KEY, 5) is not None
    assert cache.verify().removed == 0


def test_info_counts_entries_by_backbone(tmp_path):
    cache = filled(tmp_path)
    cache.write_stream(OTHER, {"backbone": "other:big"}, stream())
    cache.write("0" * 32, {"segments": []}, {})
    info = cache.info()
    assert info.entries == 3
    assert info.streams == {"tiny": 1, "other:big": 1, "videos": 1}
    assert info.bytes == sum(path.stat().st_size for path in cache.entries())
    assert info.free_bytes is not None
    assert FeatureCache(tmp_path / "nowhere").info().entries == 0


def test_pruning_takes_the_longest_unused_first_and_reading_is_use(tmp_path):
    cache = FeatureCache(tmp_path)
    keys = [f"{i:032x}" for i in range(4)]
    for age, key in enumerate(keys):
        cache.write_stream(key, ABOUT, stream())
        os.utime(cache.path_of(key), (0, time.time() - 86400 * (10 - age)))
    cache.read_stream(keys[0], 5)
    size = cache.path_of(keys[0]).stat().st_size
    assert cache.prune(max_bytes=2 * size).removed == 2
    assert [cache.path_of(key).exists() for key in keys] == [True, False, False, True]
    assert cache.prune(older_than=86400).removed == 1
    assert [cache.path_of(key).exists() for key in keys] == [True, False, False, False]


def test_pruning_sweeps_what_a_kill_left_and_touches_no_strange_file(tmp_path):
    cache = filled(tmp_path)
    folder = cache.path_of(KEY).parent
    stale, fresh, strange = (
        folder / name for name in (f".{KEY}.1-0000000000000000.tmp", f".{KEY}.2-0000000000000000.tmp", "notes.txt")
    )
    for path in (stale, fresh, strange):
        path.write_text("x")
        os.utime(path, (0, 0))
    os.utime(fresh)
    cache.prune(older_than=0.0)
    assert [path.exists() for path in (stale, fresh, strange)] == [False, True, True]


def test_a_full_disk_is_one_warning_and_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
    console.set_verbosity()
    cache = FeatureCache(tmp_path)

    def full(self, mode="r", *args, **kwargs):
        Path.touch(self)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        cache.write_stream(KEY, ABOUT, stream())
        cache.write_stream(OTHER, ABOUT, stream())
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "No space left" in printed
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    cache.write_stream(KEY, ABOUT, stream())
    assert cache.read_stream(KEY, 5) is not None


def test_a_cache_folder_that_cannot_be_made_is_one_warning(tmp_path, capsys):
    console.set_verbosity()
    (tmp_path / "file").write_text("in the way")
    cache = FeatureCache(tmp_path / "file")
    cache.write_stream(KEY, ABOUT, stream())
    assert "cannot be cached" in capsys.readouterr().err
    assert cache.read_stream(KEY, 5) is None


def _fill(root, number, barrier):
    cache = FeatureCache(root)
    barrier.wait()
    for round_ in range(30):
        for key in range(5):
            cache.write_stream(f"{key:032x}", {"writer": number}, stream(seed=key, rows=200))
            found = cache.read_stream(f"{(key + round_) % 5:032x}", 5)
            if found is not None and not torch.equal(found.values, stream(seed=(key + round_) % 5, rows=200).values):
                os._exit(1)


@pytest.mark.slow
def test_two_processes_share_a_folder(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    processes = [context.Process(target=_fill, args=(tmp_path, number, barrier)) for number in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    cache = FeatureCache(tmp_path)
    assert cache.verify().removed == 0
    assert cache.info().entries == 5
    assert not list(tmp_path.rglob("*.tmp"))


def test_nothing_in_an_entry_is_executed(tmp_path):
    import pickle

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    cache = filled(tmp_path)
    cache.path_of(KEY).write_bytes(pickle.dumps(Bomb()))
    assert cache.read_stream(KEY, 5) is None
    assert not (tmp_path / "exploded").exists()


def test_the_default_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("EVCAP_CACHE_DIR", str(tmp_path))
    assert default_root() == tmp_path
    monkeypatch.delenv("EVCAP_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    monkeypatch.setattr(cache_module.sys, "platform", "linux")
    assert default_root() == tmp_path / "x" / "evcap"


def test_arrays_of_any_type_are_kept(tmp_path):
    cache = FeatureCache(tmp_path)
    cache.write(KEY, {}, {"a": np.arange(6, dtype=np.int64).reshape(2, 3)[:, ::2]})
    entry = cache.read(KEY)
    assert entry is not None
    assert entry[1]["a"].tolist() == [[0, 2], [3, 5]]
