"""é is one letter or two; wherever videos are told apart by name, both forms name the same one."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from evcap_cli.data.emvidcap import DataRoot
from evcap_cli.data.features_hdf5 import FeatureFiles
from evcap_cli.data.video_files import match_videos
from evcap_cli.inputs import gather
from evcap_cli.output.record_files import read_records
from tests.commands.small import evcap, records
from tests.output.test_formats import a_record

Call = Callable[..., int]
COMPOSED = "café"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)
FORMS = [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_two_forms_differ() -> None:
    assert COMPOSED != DECOMPOSED


@pytest.mark.parametrize(("one", "other"), FORMS)
@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv"])
def test_references_are_found_for_predictions(
    one: str, other: str, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("preds.jsonl").write_text(json.dumps({"video_id": one, "caption": "a dog runs"}) + "\n")
    references = {
        "jsonl": json.dumps({"video_id": other, "captions": ["a dog runs"]}) + "\n",
        "json": json.dumps({other: ["a dog runs"]}),
        "csv": f"VideoID\tEmCaptions\n{other}\ta dog runs\n",
    }
    Path(f"refs.{suffix}").write_text(references[suffix])
    assert evcap("score", "preds.jsonl", "--refs", f"refs.{suffix}", "--no-meteor", "--json") == 0
    assert json.loads(capfd.readouterr().out)["metrics"]["bleu_1"] == pytest.approx(100)


def test_captions_under_both_forms_are_of_one_video_and_match_files_and_features() -> None:
    Path("root/videos").mkdir(parents=True)
    Path(f"root/videos/{DECOMPOSED}.mp4").touch()
    rows = f"{COMPOSED}\ta dog runs\n{DECOMPOSED}\tit runs\n"
    Path("root/EmVideo_trainval_captions.csv").write_text(f"VideoID\tEmCaptions\n{rows}")
    root = DataRoot.open(Path("root"))
    assert list(root.train.values()) == [["a dog runs", "it runs"]]
    assert list(root.videos(Path("root/videos"))) == list(root.train)
    assert match_videos([DECOMPOSED], Path("root")) == {DECOMPOSED: Path(f"root/videos/{DECOMPOSED}.mp4")}
    with h5py.File("x_train.hdf5", "w") as file:
        file[DECOMPOSED] = np.zeros((2, 4), np.float32)
    assert FeatureFiles({"appearance": [Path("x_train.hdf5")]}).has(COMPOSED)


@pytest.mark.parametrize(("one", "other"), FORMS)
def test_records_of_one_video_are_merged(one: str, other: str) -> None:
    record = a_record(f"v/{one}.mp4")
    failed = replace(a_record(f"v/{other}.mp4"), status="failed", captions=(), error={"code": "crash", "message": "m"})
    Path("a.jsonl").write_text(failed.to_line() + "\n")
    Path("b.jsonl").write_text(record.to_line() + "\n")
    Path("c.jsonl").write_text(replace(record, path=f"v/{other}.mp4", id=other).to_line() + "\n")
    for files in (("a.jsonl", "b.jsonl", "c.jsonl"), ("c.jsonl", "b.jsonl", "a.jsonl")):
        assert evcap("merge", *files, "-o", "all.jsonl") == 0
        assert [found.status for found in read_records(Path("all.jsonl"))] == ["ok"]


def test_two_files_whose_names_look_the_same_stay_two() -> None:
    for name in (COMPOSED, DECOMPOSED):
        Path(f"{name}.mp4").touch()
    if len(list(Path().glob("*.mp4"))) < 2:
        pytest.skip("this file system takes both forms for one name")
    sources = gather(["."])
    assert len({source.id for source in sources}) == 2
    both = "".join(a_record(f"{name}.mp4", text=f"text {n}").to_line() + "\n" for n, name in enumerate(FORMS[0]))
    Path("both.jsonl").write_text(both)
    assert evcap("merge", "both.jsonl", "-o", "all.jsonl") == 0
    assert len(read_records(Path("all.jsonl"))) == 2


@pytest.mark.slow
def test_retrying_takes_over_what_another_machine_named_in_the_other_form(films: Path, caption: Call) -> None:
    (films / "b.mp4").write_text("no video")
    (films / "a.mp4").rename(films / f"{COMPOSED}.mp4")
    assert caption(films, "-o", "out.jsonl", "--limit", 3) == 3
    lines = Path("out.jsonl").read_text()
    assert COMPOSED in lines
    Path("out.jsonl").write_text(lines.replace(COMPOSED, DECOMPOSED))
    assert caption(films, "-o", "out.jsonl", "--limit", 3, "--retry-failed") == 3
    assert [(record["path"], record["status"]) for record in records(Path("out.jsonl"))] == [
        ("videos/b.mp4", "failed"),
        ("videos/c.mp4", "ok"),
        (f"videos/{COMPOSED}.mp4", "ok"),
    ]
