"""`evcap data check` and `evcap train` agree on whether there is something to learn."""

from __future__ import annotations

from pathlib import Path

import pytest

from evcap_cli.data.learnable import learnable
from evcap_cli.errors import TrainingError
from tests.commands.small import evcap

HEADER = "VideoID\tEmCaptions\n"


def test_captions_are_split_into_words_and_videos_without_any_are_left_out() -> None:
    found = learnable({"a": ["A dog, happily!", "..."], "b": ["一只狗"], "c": ["it runs"]}, max_words=2)
    assert found.words == {"a": [["a", "dog"]], "c": [["it", "runs"]]}
    assert sorted([*found.train, *found.validation]) == ["a", "c"]
    assert len(found.validation) == 1


@pytest.mark.parametrize(
    ("captions", "why"),
    [({}, "no video has a caption"), ({"a": [" "]}, "no video has a caption"), ({"a": ["собака"]}, "ASCII letters")],
)
def test_nothing_to_learn_says_why(captions: dict[str, list[str]], why: str) -> None:
    with pytest.raises(TrainingError, match=why):
        learnable(captions)


def test_words_without_a_file_are_nothing_to_learn() -> None:
    with pytest.raises(TrainingError, match="nothing to train on"):
        learnable({"a": ["a dog"], "b": ["一只狗"]}).check({"b"})


@pytest.mark.parametrize(
    "captions",
    [
        pytest.param("vid10001\t一个男孩在走路\nvid10002\t一只狗\n", id="no ASCII letter anywhere"),
        pytest.param("vid10001\t!?\nvid10002\t...\n", id="punctuation only"),
        pytest.param("vid10001\t一个男孩在走路\nvid10009\ta dog runs\n", id="words only where no video is"),
    ],
)
def test_the_data_check_stops_where_training_would(
    captions: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("EmVidCap-L/EmVideo_trainval_captions.csv", "videos/vid10001.mp4", "videos/vid10002.mp4"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(HEADER + captions if name.endswith("csv") else "")
    assert evcap("data", "check", ".") == 1
    told = capfd.readouterr().out
    assert "Training cannot start" in told
    assert "nothing to train on" in told
    assert evcap("train", "--backbone", "lite", "--data", ".", "-o", "run", "--recipe", "demo", "--no-cache") in (1, 2)
    assert "error: " in capfd.readouterr().err
