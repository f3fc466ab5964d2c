"""Wrong calls end before any work, with one line and exit code 2; an empty folder with 1."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.small import evcap

Call = Callable[..., int]


@pytest.fixture(autouse=True)
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here may open a video."""

    def refuse(*_: object) -> None:
        raise AssertionError("work began")

    monkeypatch.setattr("evcap_cli.features.pipeline.FeaturePipeline.serve", refuse)


def one_line(capfd: pytest.CaptureFixture[str]) -> str:
    told = capfd.readouterr()
    lines = [line for line in told.err.splitlines() if not line.startswith("note:")]
    assert told.out == ""
    assert len(lines) == 1, told.err
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["videos/nowhere.mp4", "-o", "out.srt"], "videos/nowhere.mp4: no such file or folder"),
        (["videos/*.mkv", "-o", "out.srt"], "no file matches this pattern"),
        (["videos"], "Missing option"),
        (["-o", "out.srt"], "Missing argument"),
        (["videos", "-o", "out.doc"], "unknown suffix '.doc'"),
        (["videos", "-o", "tree/", "--format", "doc"], "unknown --format 'doc'"),
        (["videos", "-o", "out.srt", "--nonsense"], "No such option"),
        (["videos", "-o", "out.srt", "--beam-size", "1000000000"], "size: should be less than or equal to 256"),
        (["videos", "-o", "out.srt", "--max-words", "16"], "max_words 16 is more than the 15"),
        (
            ["videos", "-o", "out.srt", "--length-penalty", "1e300"],
            "length_penalty: should be less",
        ),
        (["videos", "-o", "out.srt", "--workers", "0"], "--workers"),
        (["videos", "-o", "out.srt", "--length-penalty", "-1"], "--length-penalty"),
        (
            ["videos", "-o", "out.srt", "--rerank", "mood=1"],
            "--rerank 'mood=1': 'mood=1' is not one of consensus=NUMBER",
        ),
        (["videos", "-o", "out.srt", "--rerank", "consensus=-1"], "consensus: should be greater than or equal to 0"),
        (["videos", "-o", "out.srt", "--batch-size", "many"], "--batch-size 'many'"),
        (["videos", "-o", "out.srt", "--segment", "fixed:0"], "--segment 'fixed:0'"),
        (["videos", "-o", "out.srt", "--decoder-memory", "lots"], "--decoder-memory 'lots' is not a size"),
        (["videos", "-o", "out.srt", "--decoder-memory", "1M"], "--decoder-memory '1M' is less than 64M"),
        (["videos", "-o", "out.srt", "--sampling", "often"], "often"),
        (["videos", "-o", "out.srt", "--device", "toaster"], "--device toaster"),
        (
            ["videos", "-o", "out.srt", "--dtype", "fp3"],
            "'--dtype': 'fp3' is not one of 'auto', 'bf16', 'fp16', 'fp32'",
        ),
        (["videos", "-o", "out.srt", "--shard", "3/2"], "--shard 3/2 is out of range"),
        (["videos", "-o", "out.srt", "--backbone", "clip"], "not with clip"),
        (["videos", "-o", "out.srt", "--backbone", "huge"], "unknown --backbone 'huge'"),
        (["videos", "-o", "out.srt", "--object", "lite-audio"], "not with lite-audio"),
        (["videos", "-o", "out.srt", "--weights", "lite-audio"], "is not NAME=VALUE"),
        (["videos", "-o", "out.srt", "--weights", "hubert=x.pth"], "not in use"),
        (["videos", "-o", "out.srt", "--option", "lite-audio=3"], "is not NAME.KEY=VALUE"),
        (["videos", "-o", "out.srt", "--option", "lite-audio.colour=3"], "no option 'colour'"),
        (["videos", "-o", "out.srt", "--retry-failed"], "--retry-failed reads the old JSONL"),
        (["videos", "-o", "out.jsonl", "--retry-failed"], "nothing can be retried"),
        (["videos", "-o", "videos/a.mp4"], "unknown suffix '.mp4'"),
        (["videos", "videos/../videos2", "-o", "tree/"], "would be written for both"),
        (["videos", "--config", "nowhere.toml", "-o", "out.srt"], "nowhere.toml: cannot read"),
    ],
)
@pytest.mark.slow
def test_a_wrong_call_is_one_line_and_exit_code_2(
    films: Path, caption: Call, capfd: pytest.CaptureFixture[str], arguments: list[str], why: str
) -> None:
    shutil.copytree(films, "videos2")
    assert caption(*arguments) == 2
    assert why in one_line(capfd)
    assert sorted(path.name for path in Path().iterdir()) == ["videos", "videos2"]


def test_an_empty_folder_is_nothing_done(tmp_path: Path, caption: Call, capfd: pytest.CaptureFixture[str]) -> None:
    assert caption(tmp_path, "-o", tmp_path / "out.srt") == 1
    assert f"{tmp_path}: no video found" in one_line(capfd)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocabulary.json", "lexicon.json"])
def test_an_incomplete_checkpoint_names_the_missing_file(
    films: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    shutil.copytree(checkpoint, "broken")
    (Path("broken") / name).unlink()
    assert evcap("caption", films, "-o", "out.srt", "-c", "broken") == 2
    assert f"broken: the checkpoint lacks {name}" in one_line(capfd)


@pytest.mark.slow
def test_a_backbone_that_is_not_installed_is_named(
    films: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(checkpoint, "foreign")
    path = Path("foreign/config.json")
    config = json.loads(path.read_text())
    config["backbones"]["appearance"]["name"] = "dino-next"
    path.write_text(json.dumps(config))
    assert evcap("caption", films, "-o", "out.srt", "-c", "foreign") == 2
    told = one_line(capfd)
    assert "no backbone named 'dino-next' is installed" in told
    assert "pip install" in told


@pytest.mark.slow
def test_a_checkpoint_of_another_backbone_version_is_refused(
    films: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(checkpoint, "older")
    path = Path("older/config.json")
    config = json.loads(path.read_text())
    config["backbones"]["motion"]["version"] = "0"
    path.write_text(json.dumps(config))
    assert evcap("caption", films, "-o", "out.srt", "-c", "older") == 2
    assert "trained with motion version '0', not '1'" in one_line(capfd)


@pytest.mark.slow
def test_an_output_that_cannot_be_written_is_found_before_work(
    films: Path, caption: Call, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("file").touch()
    assert caption(films, "-o", "file/out.srt") == 1
    told = one_line(capfd)
    assert "file/out.srt: cannot write" in told


def test_evcap_alone_shows_its_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert evcap() == 2
    told = capfd.readouterr()
    assert "caption" in told.out + told.err
    assert "error" not in told.err
