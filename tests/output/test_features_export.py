"""Feature files appear whole or not at all, hold the same bytes each time, and ambiguous calls are refused."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import h5py
import pytest
import torch

from evcap_cli.errors import UsageError, WriteError
from evcap_cli.features.streams import ClipFeatures, StreamFeatures
from evcap_cli.inputs import Source
from evcap_cli.output.features_hdf5 import FeatureExport, plan_export

FOUR = {"appearance": "clip:ViT-L-14/openai", "motion": "resnext3d", "object": "fasterrcnn", "audio": "hubert"}


def sources(*names: str) -> list[Source]:
    return [Source(Path(name), name, Path(name)) for name in names]


def clip(seed: int = 0) -> ClipFeatures:
    values = torch.randn(30, 5, generator=torch.Generator().manual_seed(seed))
    return ClipFeatures({"audio": StreamFeatures(values, torch.linspace(0, 9, 30))}, 10.0)


def export(path: Path, clips: int = 3) -> None:
    plan = plan_export(str(path), {"audio": "hubert"}, sources(*(f"vid{n}.mp4" for n in range(clips))))
    with FeatureExport(plan, {"audio": {"name": "hubert", "version": "1"}}, "epan") as opened:
        for number in range(clips):
            opened.add(number, clip(number))
        opened.commit()


def names(plan) -> list[str]:
    return [path.as_posix() for path in plan.files.values()]


def test_names_of_files_follow_the_call(tmp_path):
    one = {"appearance": "clip"}
    assert names(plan_export("out/clip_train.hdf5", one, [])) == ["out/clip_train.hdf5"]
    assert names(plan_export("x.h5", FOUR, [])) == ["x_appearance.h5", "x_motion.h5", "x_object.h5", "x_audio.h5"]
    folder = ["clip-ViT-L-14-openai.hdf5", "resnext3d.hdf5", "fasterrcnn.hdf5", "hubert.hdf5"]
    assert names(plan_export("out/", FOUR, [])) == [f"out/{name}" for name in folder]
    assert names(plan_export(str(tmp_path), one, [])) == [f"{tmp_path.as_posix()}/clip.hdf5"]
    assert plan_export("x.hdf5", one, sources("a/vid10005.avi", "b/vid_1.mp4")).keys == ["10005", "vid_1"]


@pytest.mark.parametrize(
    ("output", "addresses", "videos", "segment", "reason"),
    [
        ("x.npy", {"audio": "hubert"}, [], "whole", "unknown suffix"),
        ("x", {"audio": "hubert"}, [], "whole", "no suffix"),
        ("x.hdf5", {"audio": "hubert"}, [], "fixed:5", "--segment"),
        ("x/", {"appearance": "a:b", "motion": "a/b"}, [], "whole", "same file"),
        ("x.hdf5", {"audio": "hubert"}, ["a/vid7.mp4", "b/7.avi"], "whole", "same key"),
        ("x.hdf5", {"audio": "hubert"}, ["...mp4"], "whole", "cannot be a key"),
    ],
)
def test_ambiguous_calls_are_refused_in_one_line(output, addresses, videos, segment, reason):
    with pytest.raises(UsageError, match=reason) as caught:
        plan_export(output, addresses, sources(*videos), segment)
    assert "\n" not in str(caught.value)


def test_the_same_features_give_the_same_bytes(tmp_path):
    export(tmp_path / "one.hdf5", 40)
    export(tmp_path / "two.hdf5", 40)
    assert (tmp_path / "one.hdf5").read_bytes() == (tmp_path / "two.hdf5").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.hdf5", "two.hdf5"]


def test_names_that_are_not_unicode_become_keys(tmp_path):
    plan = plan_export(str(tmp_path / "x.hdf5"), {"audio": "hubert"}, sources(os.fsdecode(b"caf\xe9.mp4"), "日本.mp4"))
    with FeatureExport(plan, {"audio": {}}, "moments") as opened:
        opened.add(0, clip())
        opened.add(1, clip())
        opened.commit()
    with h5py.File(tmp_path / "x.hdf5") as file:
        assert set(file) == {"caf\\udce9", "日本"}


def test_an_export_that_does_not_end_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "x.hdf5"
    export(path, 2)
    before = path.read_bytes()

    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(FeatureExport, "commit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(path, 3)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*given, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(h5py.Group, "create_dataset", full)
    with pytest.raises(WriteError, match="No space left"):
        export(tmp_path / "x.hdf5")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_found_before_any_work(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WriteError):
        plan_export(str(tmp_path / "file" / "x.hdf5"), {"audio": "hubert"}, []).check_writable()
