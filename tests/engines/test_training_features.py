"""Features of training videos by several workers: the bytes of one process, and so are the weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.small_training import made, train


@pytest.mark.slow
def test_two_workers_make_the_features_and_the_weights_of_one_process(
    training_root: Path, trained_alone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "two"
    assert train(training_root, run, "--device", "cpu,cpu", "--workers", 1) == 0
    error = capsys.readouterr().err
    assert "features of 5 of 6 videos are in the cache" in error
    assert error.count("5.mp4") == 1
    assert "5.mp4: not a video file" in error
    assert made(run) == made(trained_alone)
    assert len(made(run)) == 1 + 4 * 3  # weights; facts and two streams of each of four films
    assert [entry.name for entry in run.with_suffix(".cache").iterdir()] == ["features"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--device", "cpu,cuda:99"), "--device cpu,cuda:99: there is no cuda:99"),
        (
            ("--device", "cpu,cpu", "--no-cache"),
            "workers hand features over through the cache, which is turned off; leave out",
        ),
        (("--device", "cpu,cpu", "--features", "."), "--device cpu,cpu: one device is used here"),
    ],
)
def test_what_workers_cannot_do_is_refused_before_any_work(
    more: tuple[str, ...], words: str, training_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(training_root, tmp_path / "run", *more) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_one_of_several_processes_that_train_has_no_workers(
    training_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert train(training_root, tmp_path / "run", "--device", "cpu,cpu") == 2
    assert "several processes train here, and each would have workers of its own" in capsys.readouterr().err


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_is_named_before_workers_start(
    training_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.cache").write_text("a file")
    assert train(training_root, tmp_path / "run", "--device", "cpu,cpu") == 1
    assert "run.cache: features cannot be kept here" in capsys.readouterr().err.splitlines()[-1]
