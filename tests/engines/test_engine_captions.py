"""Captions of several workers on one machine: the bytes of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import evcap_cli
from tests.commands.events import events
from tests.commands.small import evcap, records
from tests.features.films import make_film


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for number in range(3):
        make_film(folder / f"{number}.mp4", frames=10 + number, seed=number)
    (folder / "link to 1.mp4").symlink_to(folder / "1.mp4")
    (folder / "text.mp4").write_text("not a video")
    return folder


@pytest.mark.slow
def test_two_devices_write_what_one_writes(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = {}
    for device in ("cpu", "cpu,cpu"):
        folder = tmp_path / device.replace(",", " and ")
        files = [folder / name for name in ("out.jsonl", "out.srt", "tree/")]
        given = [argument for file in files for argument in ("-o", f"{file}/" if file.name == "tree" else file)]
        assert evcap("caption", films, *given, "--device", device, "--no-cache") == 3
        assert "captioned 4 of 5 videos, 1 failed" in capsys.readouterr().err
        outputs[device] = {
            str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()
        }
    assert outputs["cpu"] == outputs["cpu,cpu"]
    assert len(outputs["cpu"]) == 2 + 4 + 2  # files, the tree, and the plan and lock of the tree
    assert len(records(tmp_path / "cpu" / "out.jsonl")) == 5


def test_commands_of_one_device_refuse_several(films: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evcap("explain", films / "1.mp4", "--device", "cpu,cpu") == 2
    assert "--device cpu,cpu: one device is used here; name one" in capsys.readouterr().err


def test_a_profile_of_several_processes_is_refused(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evcap("caption", films, "-o", tmp_path / "out.srt", "--device", "cpu,cpu", "--profile") == 2
    assert "--profile measures one process; leave it out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        ("cpu,", "--device 'cpu,' does not name each device"),
        ("cpu,cuda:99", "--device cpu,cuda:99: there is no cuda:99 (this machine has "),
        ("cpu, grafix", "--device cpu, grafix: grafix is no device; name cpu, cuda:0, ..."),
        ("cpu,meta", "--device cpu,meta: meta is no device"),
    ],
)
@pytest.mark.parametrize("command", ["caption", "extract"])
def test_a_list_of_devices_with_one_that_is_not_there_is_refused_before_any_work(
    command: str, devices: str, words: str, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache, output = tmp_path / "cache", tmp_path / ("out.srt" if command == "caption" else "out.hdf5")
    assert evcap(command, films, "-o", output, "--device", devices, "--cache-dir", cache) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_features_of_two_devices_are_those_of_one(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import h5py

    written = {}
    for device in ("cpu", "cpu,cpu"):
        folder = tmp_path / device.replace(",", " and ")
        options = ("--appearance", "lite-appearance", "--device", device, "--cache-dir", folder / "cache")
        assert evcap("extract", films, *options, "-o", folder / "x.hdf5", "--log-json", folder / "log") == 3
        begin, *others, progress, end = events(folder / "log")
        assert (begin["command"], begin["outputs"]) == ("extract", [str(folder / "x.hdf5")])
        finished = {event["path"]: event["status"] for event in others if event["event"] == "video"}
        assert [path for path, status in finished.items() if status == "failed"] == [str(films / "text.mp4")]
        assert (len(finished), progress["failed"], end["exit_code"]) == (5, 1, 3)
        assert "features of 4 of 5 videos are in" in (error := capsys.readouterr().err), error
        assert "1 failed" in error
        assert not [entry for entry in (folder / "cache").iterdir() if entry.name != "features"]
        with h5py.File(folder / "x.hdf5") as file:
            written[device] = {name: file[name][:].tolist() for name in file if isinstance(file[name], h5py.Dataset)}
        assert written[device], list(h5py.File(folder / "x.hdf5"))
    assert written["cpu"] == written["cpu,cpu"]


@pytest.mark.slow
def test_the_library_has_features_of_two_devices_in_the_order_of_the_videos(films: Path, tmp_path: Path) -> None:
    failed: dict[str, dict[Path, evcap_cli.EvcapError]] = {"cpu": {}, "cpu,cpu": {}}
    found = {
        device: [
            (path, features.start, features.streams["appearance"].values.tolist())
            for path, features in evcap_cli.extract_features(
                films,
                on_error=failed[device].__setitem__,
                backbones={"appearance": "lite-appearance"},
                device=device,
                cache_dir=tmp_path / device,
                workers=1,
            )
        ]
        for device in failed
    }
    assert len(found["cpu"]) == 4
    assert found["cpu"] == found["cpu,cpu"]
    assert {device: {path.name: problem.code for path, problem in each.items()} for device, each in failed.items()} == {
        device: {"text.mp4": "open"} for device in failed
    }


def test_the_library_refuses_what_an_engine_cannot_do(films: Path, tmp_path: Path) -> None:
    with pytest.raises(evcap_cli.UsageError, match="workers hand features over through the cache, which is turned off"):
        evcap_cli.extract_features(films, device="cpu,cpu", cache=False)
    with pytest.raises(evcap_cli.UsageError, match="workers_per_node"):
        evcap_cli.EngineOptions(engine="ray", workers_per_node=0)
    with pytest.raises(evcap_cli.UsageError, match="engine must be one of local, ray"):
        evcap_cli.EngineOptions(engine="slurm")  # type: ignore[arg-type]
    captioner: Any = object()
    with pytest.raises(evcap_cli.UsageError, match="engine is given with a captioner, which has its own"):
        evcap_cli.caption_videos(
            films, tmp_path / "out.srt", captioner=captioner, engine=evcap_cli.EngineOptions(engine="ray")
        )
