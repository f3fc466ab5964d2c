"""Published feature files are read as EPAN reads them, ours come back as they went out, and bad ones are named."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from evcap_cli.data.features_hdf5 import FeatureFiles, feature_files, key_of, origin
from evcap_cli.data.features_layout import all_feature_files
from evcap_cli.errors import DataError, WriteError
from evcap_cli.features.streams import ClipFeatures, StreamFeatures
from evcap_cli.inputs import Source
from evcap_cli.output.features_hdf5 import FeatureExport, plan_export


def write(path: Path, tables: dict, **options) -> Path:
    """A file of the published layout, written with h5py alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for key, values in tables.items():
            file.create_dataset(key, data=values, **options)
    return path


def table(rows: int, width: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([rows, width, seed]).normal(size=(rows, width)).astype(np.float32)


def read(files: FeatureFiles, *videos: str) -> dict:
    return dict(files.read(videos))


def test_rows_are_those_that_epan_takes(tmp_path):
    tables = {"10005": table(70), "20001": table(9)}
    files = FeatureFiles({"appearance": [write(tmp_path / "clip_train.hdf5", tables)]})
    found = read(files, "vid10005", "vid20001")
    for key, values in tables.items():
        expected = values[np.linspace(0, len(values) - 1, 30, dtype=int)]
        clip = found[f"vid{key}"]
        np.testing.assert_array_equal(clip.streams["appearance"].values.numpy(), expected)
        assert clip.streams["appearance"].times.diff().min() >= 0
        assert 0 < clip.streams["appearance"].times.max() < clip.duration
    assert files.backbones["appearance"]["name"] == "clip"
    assert files.backbones["appearance"]["dim"] == 6


def test_appearance_and_motion_of_any_length_get_the_same_rows(tmp_path):
    clip = write(tmp_path / "clip.hdf5", {"1": table(62)})
    motion = write(tmp_path / "motion.hdf5", {"1": table(19, 4)})
    found = read(FeatureFiles({"appearance": [clip], "motion": [motion]}), "1")["1"]
    assert [len(found.streams[kind].values) for kind in ("appearance", "motion")] == [30, 30]
    assert torch.equal(found.streams["motion"].values[-1], torch.from_numpy(table(19, 4)[-1]))


def test_ids_are_found_with_and_without_vid_and_by_their_msvd_name(tmp_path):
    path = write(tmp_path / "x.hdf5", {"10005": table(3), "vid77": table(4), "mv89psg6zh4_33_46": table(5)})
    files = FeatureFiles({"appearance": [path]}, aliases={"vid1": "mv89psg6zh4_33_46"})
    assert list(read(files, "10005", "vid10005", "77", "vid77", "vid1")) == ["10005", "vid10005", "77", "vid77", "vid1"]


def test_splits_are_found_by_name_and_the_first_one_counts(tmp_path):
    folder = tmp_path / "data" / "EmVideo-L" / "features"
    train = write(folder / "clip_train.hdf5", {"1": table(30), "2": table(30, seed=1)})
    test = write(folder / "clip_test.hdf5", {"2": table(30, seed=2), "3": table(30, seed=3)})
    write(folder / "clip_large_train.hdf5", {"1": table(30)})
    for place in (tmp_path, folder):
        assert feature_files(place, "clip") == [train, test]
    found = read(FeatureFiles({"appearance": [train, test]}), "1", "2", "3")
    np.testing.assert_array_equal(found["2"].streams["appearance"].values, table(30, seed=1))
    with pytest.raises(DataError, match="clip_train"):
        feature_files(tmp_path, "resnet101")
    with pytest.raises(DataError, match="resnet101"):
        feature_files(tmp_path / "nowhere", "resnet101")


def test_objects_and_sound_that_are_not_there_are_absent(tmp_path):
    files = FeatureFiles(
        {
            "appearance": [write(tmp_path / "clip.hdf5", {"1": table(30), "2": table(30)})],
            "object": [write(tmp_path / "frcnn.hdf5", {"1": table(5, 8), "2": np.zeros((0, 8), np.float32)})],
            "audio": [write(tmp_path / "hubert.hdf5", {"1": table(100, 3)})],
        }
    )
    found = read(files, "1", "2")
    assert found["1"].streams["audio"].values.shape == (100, 3)
    assert found["2"].streams["object"].values.shape == (0, 8)
    assert found["2"].streams["audio"].values.shape == (0, 3)
    assert "motion" not in found["2"].streams


def test_videos_without_usable_rows_are_named_and_left_out(tmp_path, capsys):
    broken = table(4)
    broken[2, 1] = np.nan
    path = write(tmp_path / "clip.hdf5", {"1": table(3), "2": table(0), "3": broken})
    motion = write(tmp_path / "motion.hdf5", {"1": table(3), "2": table(3), "3": table(3), "4": table(3)})
    files = FeatureFiles({"appearance": [path], "motion": [motion]})
    videos = ["vid1", "vid2", "vid3", "vid4", *(f"vid{n}" for n in range(50, 60))]
    assert list(read(files, *videos)) == ["vid1"]
    said = capsys.readouterr().err
    assert "vid2" in said
    assert "no row" in said
    assert "not a number" in said
    assert "no appearance features" in said
    assert "13 videos have no features" in said
    assert len(said.splitlines()) == 6


def test_files_that_cannot_be_used_are_named_with_the_reason(tmp_path):
    whole = write(tmp_path / "whole.hdf5", {str(n): table(40) for n in range(40)})
    cut = tmp_path / "cut.hdf5"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    text = tmp_path / "text.hdf5"
    text.write_text("VideoID\tEmCaptions\n")
    empty = write(tmp_path / "empty.hdf5", {})
    nested = tmp_path / "nested.hdf5"
    with h5py.File(nested, "w") as file:
        file.create_group("10005")["features"] = table(3)
    cases = {
        cut: "truncated",
        text: "not an HDF5 file",
        empty: "no video",
        nested: "10005",
        tmp_path / "missing.hdf5": "no such feature file",
        write(tmp_path / "flat.hdf5", {"1": np.zeros(6)}): "not a table",
        write(tmp_path / "text_rows.hdf5", {"1": np.array([[b"a"]])}): "not a table",
        write(tmp_path / "widths.hdf5", {"1": table(3, 6), "2": table(3, 7)}): "7 wide, 6 is expected",
    }
    for path, reason in cases.items():
        with pytest.raises(DataError, match=reason) as caught:
            FeatureFiles({"appearance": [path]})
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="6 wide, 512 is expected"):
        FeatureFiles({"appearance": [whole]}, dims={"appearance": 512})
    with pytest.raises(DataError, match="7 wide, 6"):
        FeatureFiles({"appearance": [whole, write(tmp_path / "other.hdf5", {"x": table(3, 7)})]})


def test_a_file_that_another_program_writes_is_not_called_damaged(tmp_path):
    path = write(tmp_path / "clip.hdf5", {"1": table(3)})
    with path.open("r+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DataError, match=r"clip.hdf5: is open in another program; .*HDF5_USE_FILE_LOCKING=FALSE"):
            FeatureFiles({"appearance": [path]})
    FeatureFiles({"appearance": [path]})


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_named_with_the_setting(tmp_path, monkeypatch, number):
    path = write(tmp_path / "clip.hdf5", {"1": table(3)})

    def refuse(*_, **__):
        raise OSError(number, f"Unable to open file (unable to lock file, errno = {number}, error message = 'x')")

    monkeypatch.setattr(h5py, "File", refuse)
    with pytest.raises(DataError, match=r"no locks; set HDF5_USE_FILE_LOCKING=FALSE") as caught:
        FeatureFiles({"appearance": [path]})
    assert "download" not in str(caught.value)
    with pytest.raises(WriteError, match=r"no locks; set HDF5_USE_FILE_LOCKING=FALSE"):
        export(tmp_path / "out.hdf5", {"1": ClipFeatures({"appearance": stream(3, 6, 1.0)}, 1.0)})


def test_a_file_that_was_never_closed_says_how_to_clear_it(tmp_path):
    path = tmp_path / "open.hdf5"
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("1", data=table(3))
        file.flush()
        shutil.copy(path, tmp_path / "copy.hdf5")
    with pytest.raises(DataError, match=r"was not closed by what wrote it; .*h5clear"):
        FeatureFiles({"appearance": [tmp_path / "copy.hdf5"]})


def test_pipes_devices_and_folders_are_no_feature_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.hdf5")
    (tmp_path / "device.hdf5").symlink_to("/dev/zero")
    (tmp_path / "folder.hdf5").mkdir()
    for kind in ("pipe", "device", "folder"):
        with pytest.raises(DataError, match=f"{kind}.hdf5: is a {kind}, not a file"):
            FeatureFiles({"appearance": [tmp_path / f"{kind}.hdf5"]})


def test_rows_that_no_memory_holds_are_refused_by_their_claim(tmp_path):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file.create_dataset("1", shape=(1 << 40, 6), chunks=(1, 6), dtype="f4")
    with pytest.raises(DataError, match="claims 1099511627776 x 6 numbers"):
        FeatureFiles({"appearance": [tmp_path / "a.hdf5"]})


LEADING_AWAY = {
    "external link": lambda file: file.__setitem__("1", h5py.ExternalLink("pipe", "1")),
    "soft link": lambda file: file.__setitem__("1", h5py.SoftLink("/2")),
    "external storage": lambda file: file.create_dataset("1", (3, 6), "f4", external=[("pipe", 0, 72)]),
    "virtual": lambda file: file.create_virtual_dataset("1", layout_of("pipe")),
}


def layout_of(path: str) -> h5py.VirtualLayout:
    layout = h5py.VirtualLayout((3, 6), "f4", maxshape=(None, 6))
    source = h5py.VirtualSource(path, "1", (3, 6), "f4", maxshape=(None, 6))
    layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
    return layout


@pytest.mark.parametrize("lead", LEADING_AWAY.values(), ids=LEADING_AWAY.keys())
def test_a_feature_file_opens_no_other_file(tmp_path, capsys, lead):
    os.mkfifo(tmp_path / "pipe")  # whoever opens it waits for ever
    path, whole = tmp_path / "clip.hdf5", write(tmp_path / "whole.hdf5", {"1": table(3), "2": table(3)})
    with h5py.File(write(path, {"2": table(3)}), "r+") as file:
        lead(file)
    with pytest.raises(DataError, match=r"clip.hdf5: '1' is a link or lies in another file; copy its rows"):
        FeatureFiles({"appearance": [path]})
    files = FeatureFiles({"appearance": [whole]})
    path.replace(whole)  # since it was indexed
    assert list(read(files, "1", "2")) == ["2"]
    assert "'1' is a link or lies in another file" in capsys.readouterr().err


ABOUT = {"kind": "appearance", "backbone": {"name": "clip"}, "sampling": "moments"}
WRONG_ABOUT = {
    "not JSON": "{",
    "deep": "[" * 100_000,
    "a list": "[]",
    "a number": 3.5,
    "numbers": np.zeros(1000),
    "no Unicode": np.bytes_(b"\xff"),
    **{
        f"{name} {str(value)[:9]}": json.dumps({**ABOUT, name: value})
        for name in ABOUT
        for value in (7, None, [], "smell", {"name": 7}, {"name": "x", "options": 3}, {"name": "x", "version": 1e999})
        if (name, value) != ("backbone", {"name": "x"})
    },
}


@pytest.mark.parametrize("value", WRONG_ABOUT.values(), ids=WRONG_ABOUT.keys())
def test_an_attribute_of_another_type_is_named(tmp_path, value):
    path = write(tmp_path / "clip.hdf5", {"1": table(3)})
    with h5py.File(path, "r+") as file:
        file.attrs["evcap"] = value
    with pytest.raises(DataError, match=r"clip.hdf5: .*(attribute 'evcap'|line 1)") as caught:
        FeatureFiles({"appearance": [path]})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert origin(path) is None


@pytest.mark.parametrize(
    "value",
    ["text", b"x", np.nan, np.inf, -1.0, 1e300, [1.0, np.inf, 2.0], [[1.0], [2.0]], ["a", "b", "c"], 1j, True],
    ids=repr,
)
@pytest.mark.parametrize("name", ["times", "duration"])
def test_times_that_are_none_cost_one_video_and_are_named(tmp_path, capsys, name, value):
    path = write(tmp_path / "clip.hdf5", {"1": table(3), "2": table(3)})
    with h5py.File(path, "r+") as file:
        file["1"].attrs["times"], file["1"].attrs["duration"] = np.arange(3.0), 3.0
        file["1"].attrs[name] = value
    found = read(FeatureFiles({"appearance": [path]}), "1", "2")
    said = capsys.readouterr().err
    if "1" in found:  # times of another number than the rows are none: the rows are spread
        assert name == "times"
        assert np.isfinite(value).all()
        assert found["1"].streams["appearance"].times.isfinite().all()
    else:
        assert f"clip.hdf5: '1': attribute '{name}'" in said
    assert "2" in found


def test_damage_inside_a_file_costs_one_video(tmp_path, capsys):
    path = write(tmp_path / "clip.hdf5", {"1": table(40), "2": table(41)}, chunks=(8, 6), compression="gzip")
    with h5py.File(path) as file:
        at, size = file["2"].id.get_chunk_info(0).byte_offset, file["2"].id.get_chunk_info(0).size
    data = bytearray(path.read_bytes())
    data[at : at + size] = bytes(size)
    path.write_bytes(data)
    assert list(read(FeatureFiles({"appearance": [path]}), "1", "2")) == ["1"]
    assert "'2' is damaged" in capsys.readouterr().err


RECORD = {"name": "clip", "options": {}, "version": "1", "dim": 6, "weights_digest": "abc"}


def export(path: Path, clips: dict[str, ClipFeatures], record=RECORD) -> None:
    kinds = list(next(iter(clips.values())).streams)
    sources = [Source(Path(f"{name}.mp4"), f"{name}.mp4", Path(f"{name}.mp4")) for name in clips]
    plan = plan_export(str(path), dict.fromkeys(kinds, "clip"), sources)
    with FeatureExport(plan, dict.fromkeys(kinds, record), "moments") as opened:
        for number, clip in enumerate(clips.values()):
            opened.add(number, clip)
        opened.commit()


def stream(rows: int, width: int, seconds: float) -> StreamFeatures:
    return StreamFeatures(torch.from_numpy(table(rows, width)), torch.linspace(0.1, seconds, rows))


def test_what_we_export_comes_back_the_same(tmp_path):
    widths = {"appearance": 6, "motion": 6, "object": 6, "audio": 6}
    clips = {
        "vid10005": ClipFeatures({kind: stream(30, width, 13.0) for kind, width in widths.items()}, 13.06),
        "short": ClipFeatures(
            {kind: stream(7 if kind in ("appearance", "motion") else 0, width, 0.3) for kind, width in widths.items()},
            0.32,
        ),
    }
    export(tmp_path / "x.hdf5", clips)
    files = FeatureFiles({kind: [tmp_path / f"x_{kind}.hdf5"] for kind in widths})
    found = read(files, *clips)
    for name, clip in clips.items():
        assert found[name].duration == clip.duration
        assert found[name].streams.keys() == clip.streams.keys()
        for kind, original in clip.streams.items():
            assert torch.equal(found[name].streams[kind].values, original.values)
            assert torch.equal(found[name].streams[kind].times, original.times)
    assert files.backbones == dict.fromkeys(widths, RECORD)
    with h5py.File(tmp_path / "x_appearance.hdf5") as file:
        assert sorted(file) == ["10005", "short"]
        assert file["10005"].dtype == np.float32
        assert file["10005"].shape == (30, 6)


def test_files_of_ours_that_do_not_belong_together_are_refused(tmp_path):
    clip = ClipFeatures({"appearance": stream(3, 6, 1.0)}, 1.0)
    export(tmp_path / "clip_train.hdf5", {"1": clip})
    export(tmp_path / "clip_test.hdf5", {"2": clip}, {**RECORD, "weights_digest": "other"})
    with pytest.raises(DataError, match=r"clip_test.*other weights"):
        FeatureFiles({"appearance": feature_files(tmp_path, "clip")})
    with pytest.raises(DataError, match="holds appearance features, not motion"):
        FeatureFiles({"motion": [tmp_path / "clip_train.hdf5"]})


def test_only_emvidcap_ids_lose_their_vid():
    keys = {"vid10005": "10005", "VID7": "7", "10005": "10005", "video_90": "video_90", "vid": "vid", "vid_7": "vid_7"}
    assert {name: key_of(name) for name in keys} == keys


def test_rows_that_are_all_missing_name_the_file_and_the_next_step(tmp_path, capsys):
    path = write(tmp_path / "clip_train.hdf5", {"1": table(0)})
    assert not read(FeatureFiles({"appearance": [path]}), "vid1")
    told = capsys.readouterr().err
    assert f"vid1: {path}: its appearance features have no row; extract them again; left out" in told
    assert len(told.splitlines()) == 1


def test_streams_are_found_by_name_in_every_place_they_are_kept(tmp_path):
    places = ("features", "data/features", "data/EmVideo-L/features", "data/MSVD/features", "MSVD/features")
    paths = {write(tmp_path / place / f"clip_{n}_train.hdf5", {"1": table(2)}) for n, place in enumerate(places)}
    (tmp_path / "features" / "._clip_test.hdf5").touch()
    found = all_feature_files(tmp_path)
    assert list(found) == [f"clip_{n}" for n in range(len(places))]
    assert {path for paths in found.values() for path in paths} == paths
