"""A value means the same however it is given, in every command; links to one file share its work."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from evcap_cli.app import build
from evcap_cli.features.pipeline import FeaturePipeline
from tests.commands.small import evcap, records, texts

Call = Callable[..., int]
LONG = "clip.mp4 " * 60


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("EVCAP_CACHE_DIR", raising=False)
    return tmp_path


def one_error(capfd: pytest.CaptureFixture[str]) -> str:
    told = capfd.readouterr()
    lines = told.err.splitlines()
    assert len(lines) == 1, told.err
    assert lines[0].startswith("error: ")
    return lines[0]


def commands() -> list[tuple[str, ...]]:
    root = typer.main.get_command(build())
    found: list[tuple[str, ...]] = []
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        found += [(name, below) for below in getattr(command, "commands", {})] or [(name,)]
    return found


@pytest.mark.parametrize("command", commands(), ids=" ".join)
@pytest.mark.slow
def test_an_empty_value_is_wrong_usage_in_every_command(
    command: tuple[str, ...], here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    parser = typer.main.get_command(build())
    for name in command:
        parser = parser.commands[name]  # type: ignore[attr-defined]
    options = [
        max(parameter.opts, key=len)
        for parameter in parser.params
        if parameter.param_type_name == "option" and not parameter.is_flag
    ]
    for option in options:
        assert evcap(*command, option, "") == 2
        assert "error: " in one_error(capfd)
    arguments = [parameter for parameter in parser.params if parameter.param_type_name == "argument"]
    if arguments:
        assert evcap(*command, *[""] * len(arguments)) == 2
        assert "error: " in one_error(capfd)
    assert list(here.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["caption", LONG, "-o", "out.srt"],
        ["caption", "a.mp4", "-o", f"{LONG}.srt"],
        ["caption", "a.mp4", "-o", f"new/{LONG}/"],
        ["extract", "a.mp4", "--cache-dir", LONG],
        ["extract", "a.mp4", "-o", f"{LONG}/x.hdf5"],
        ["explain", LONG],
        ["explain", "a.mp4", "-o", f"{LONG}.html"],
        ["data", "check", LONG],
        ["score", LONG],
        ["merge", LONG, "-o", "out.srt"],
        ["report", LONG],
        ["train", "--backbone", "lite", "--data", LONG],
        ["demo-world", LONG],
        ["cache", "info", "--cache-dir", LONG],
    ],
    ids=lambda arguments: f"{arguments[0]}-{arguments[-1][:12].strip()}",
)
def test_a_value_longer_than_any_name_is_wrong_usage(
    arguments: list[str], here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("a.mp4").touch()
    assert evcap(*arguments) == 2
    assert one_error(capfd)
    assert [path.name for path in here.iterdir()] == ["a.mp4"]


@pytest.mark.slow
def test_the_home_folder_is_meant_in_options_settings_and_the_environment(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for call, named in (
        (["cache", "info", "--cache-dir=~/typed"], "typed"),
        (["cache", "info", "--cache-dir", "~/typed"], "typed"),
        (["cache", "info"], "set"),
    ):
        monkeypatch.setenv("EVCAP_CACHE_DIR", "~/set")
        assert evcap(*call) == 0
        assert capfd.readouterr().out.startswith(f"{here}/home/{named}: ")
    monkeypatch.setenv("EVCAP_DATA", "~/data")
    assert evcap("train", "--backbone", "lite") == 2
    assert f"{here}/home/data: no such data root" in capfd.readouterr().err
    Path("home").mkdir()
    Path("home/a.mp4").touch()
    Path("home/evcap.toml").write_text('[caption]\noutput = ["~/out.srt"]\n')
    assert evcap("caption", "~/a.mp4", "--config=~/evcap.toml", "--dry-run") == 0
    assert capfd.readouterr().out == f"{here}/home/a.mp4\n1 video -> {here}/home/out.srt\n"
    assert evcap("extract", "home/a.mp4", "--weights", "lite-audio=~/w.safetensors", "--appearance", "lite-audio") == 2
    assert [path.name for path in here.iterdir()] == ["home"]


@pytest.mark.slow
def test_links_to_one_file_get_a_record_each_and_are_decoded_once(
    films: Path, caption: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    serve = FeaturePipeline.serve

    def taken(path: Path) -> Path:
        seen.append(str(path))
        return path

    monkeypatch.setattr(FeaturePipeline, "serve", lambda self, feed: serve(self, feed.mapped(taken)))
    Path("set").mkdir()
    for name, target in (("a1.mp4", "a.mp4"), ("b.mp4", "b.mp4"), ("a2.mp4", "a.mp4")):
        Path("set", name).symlink_to(Path("..", films, target))
    assert caption("set", "-o", "out.jsonl", "-o", "tree/", "--no-cache") == 0
    assert seen == ["set/a1.mp4", "set/b.mp4"]
    assert [(record["path"], record["id"]) for record in records(Path("out.jsonl"))] == [
        ("set/a1.mp4", "a1"),
        ("set/a2.mp4", "a2"),
        ("set/b.mp4", "b"),
    ]
    assert caption(films, "-o", "plain.jsonl", "--no-cache") == 0
    plain, linked = texts(Path("plain.jsonl")), texts(Path("out.jsonl"))
    assert linked["set/a1.mp4"] == linked["set/a2.mp4"] == plain["videos/a.mp4"]
    assert Path("tree/a2.mp4.srt").read_bytes() == Path("tree/a1.mp4.srt").read_bytes()


@pytest.mark.slow
def test_extracted_links_to_one_file_have_features_each(
    films: Path, warm: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import h5py

    Path("set").mkdir()
    shutil.copy(films / "a.mp4", "set/a.mp4")
    Path("set/z.mp4").symlink_to("a.mp4")
    assert evcap("extract", "set", "--appearance", "lite-appearance", "-o", "x.hdf5", "--cache-dir", warm) == 0
    assert "features of 2 of 2 videos" in capfd.readouterr().err
    with h5py.File("x.hdf5") as file:
        assert (file["a"][()] == file["z"][()]).all()
