"""``evcap extract`` fills the cache, goes on where it was, and its exit code is true."""

from __future__ import annotations

import errno
import os

import h5py
import pytest
import typer
from typer.testing import CliRunner

from evcap_cli import plugins
from evcap_cli.backbones import presets
from evcap_cli.commands import extract as command
from evcap_cli.errors import PluginError, UsageError, WriteError
from evcap_cli.features import cache as cache_module
from evcap_cli.features.cache import FeatureCache
from tests.features.films import make_film
from tests.features.tiny import TINY


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(2):
        make_film(folder / f"{number}.mp4", frames=12, seed=number)
    return folder


@pytest.fixture
def call(tmp_path, monkeypatch):
    names = {cls.spec.name: cls for cls in TINY.values()}

    def backbone_class(name):
        if name not in names:
            raise PluginError(f"no backbone named {name!r} is installed")
        return names[name]

    monkeypatch.setattr(plugins, "backbone_class", backbone_class)
    monkeypatch.setattr(presets, "PRESETS", {"lite": {kind: cls.spec.name for kind, cls in TINY.items()}})
    app = typer.Typer()
    command.register(app)
    app.callback()(lambda: None)

    def run(*arguments):
        given = ["extract", *map(str, arguments), "--cache-dir", str(tmp_path / "cache"), "--device", "cpu"]
        return CliRunner().invoke(app, given, catch_exceptions=False)

    return run


@pytest.mark.slow
def test_a_folder_is_extracted_once(call, videos, tmp_path):
    first = call(videos)
    assert first.exit_code == 0
    assert "features of 2 of 2 videos" in first.stderr
    info = FeatureCache(tmp_path / "cache").info()
    assert info.streams == {cls.spec.name: 2 for cls in TINY.values()} | {"videos": 2}
    assert "2 were there before" in call(videos).stderr


@pytest.mark.slow
def test_single_backbones_without_a_preset_are_used_alone(call, videos, tmp_path):
    assert call(videos, "--audio", "tiny-audio").exit_code == 0
    assert FeatureCache(tmp_path / "cache").info().streams == {"tiny-audio": 2, "videos": 2}


@pytest.mark.slow
def test_a_bad_file_is_an_error_line_and_exit_code_three_or_one(call, videos):
    (videos / "bad.mp4").write_text("text")
    result = call(videos)
    assert result.exit_code == 3
    assert "bad.mp4" in result.stderr
    assert call(videos / "bad.mp4").exit_code == 1


@pytest.mark.slow
def test_a_full_disk_ends_with_a_write_error(call, videos, monkeypatch):
    def full(key, about, arrays):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache_module, "pack", full)
    with pytest.raises(WriteError, match="No space left"):
        call(videos)


def test_a_cache_that_cannot_be_written_is_found_before_any_work(call, videos, tmp_path):
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(WriteError):
        call(videos)


def test_dry_run_names_the_work_and_does_none(call, videos, tmp_path):
    result = call(videos, "--dry-run")
    assert "0.mp4" in result.stdout
    assert "audio tiny-audio" in result.stdout
    assert not (tmp_path / "cache").exists()


def test_wrong_calls_are_found_before_any_work(call, videos):
    for arguments in (
        ["--backbone", "heavy"],
        ["--motion", "nowhere"],
        ["--segment", "halves"],
    ):
        with pytest.raises(UsageError):
            call(videos, *arguments)
    wrong = call(videos, "--sampling", "dice")
    assert wrong.exit_code == 2
    assert "--sampling" in wrong.stderr


@pytest.mark.slow
def test_features_are_written_as_hdf5_one_file_a_stream(call, videos, tmp_path):
    (videos / "bad.mp4").write_text("text")
    result = call(videos, "-o", tmp_path / "out" / "x.hdf5")
    assert result.exit_code == 3
    assert "bad.mp4" in result.stderr
    written = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert sorted(written) == [f"x_{kind}.hdf5" for kind in sorted(TINY)]
    with h5py.File(tmp_path / "out" / "x_appearance.hdf5") as file:
        assert sorted(file) == ["0", "1"]
        assert file["0"].shape == (12, 12)
        assert file["0"].dtype == "float32"
    again = call(videos, "-o", tmp_path / "out" / "x.hdf5")
    assert "2 were there before" in again.stderr
    assert written == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}


@pytest.mark.slow
def test_a_folder_gets_a_file_named_after_each_backbone(call, videos, tmp_path):
    assert call(videos, "--motion", "tiny-motion", "-o", f"{tmp_path}/features/", "--sampling", "epan").exit_code == 0
    (path,) = (tmp_path / "features").iterdir()
    assert path.name == "tiny-motion.hdf5"
    with h5py.File(path) as file:
        assert file["1"].shape == (30, 48)


@pytest.mark.slow
def test_nothing_is_written_when_every_video_fails_or_the_run_stops_early(call, videos, tmp_path):
    (videos / "bad.mp4").write_text("text")
    out = tmp_path / "x.hdf5"
    assert call(videos / "bad.mp4", "-o", out, "--audio", "tiny-audio").exit_code == 1
    assert "was not written" in call(videos, "--fail-fast", "-o", out, "--audio", "tiny-audio").stderr
    assert not list(tmp_path.glob("*x.hdf5*"))


def test_wrong_outputs_are_found_before_any_work(call, videos, tmp_path):
    for arguments in (["-o", "x.npy"], ["-o", "x.hdf5", "--segment", "fixed:1"]):
        with pytest.raises(UsageError):
            call(videos, *arguments)
    assert not (tmp_path / "cache").exists()
