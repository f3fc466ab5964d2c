"""``evcap caption`` on real films with real backbones: outputs, and what must not change them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import jsonschema
import pysubs2
import pytest

from evcap_cli.features.feed import Feed
from evcap_cli.features.pipeline import FeaturePipeline
from tests.commands.small import ROOT, evcap, records, texts

SCHEMA = json.loads((ROOT / "docs" / "record.schema.json").read_text())
Call = Callable[..., int]


def seconds(path: Path) -> Fraction:
    with av.open(str(path)) as container:
        return Fraction(container.duration, av.time_base)


@pytest.mark.slow
def test_one_cue_a_file_within_its_time_and_valid_records(films: Path, caption: Call) -> None:
    assert caption(films, "-o", "out.srt", "-o", "out.jsonl", "-o", "out.vtt", "-o", "out.tsv") == 0
    found = records(Path("out.jsonl"))
    assert [record["path"] for record in found] == [f"videos/{name}.mp4" for name in "abcde"]
    offset = Fraction(0)
    cues = pysubs2.load("out.srt")
    assert len(cues) == len(pysubs2.load("out.vtt")) == len(found) == 5
    for record, cue in zip(found, cues, strict=True):
        jsonschema.validate(record, SCHEMA)
        length = seconds(Path(record["path"]))
        (only,) = record["captions"]
        assert 0 <= only["start"] < only["end"] <= float(length)
        assert only["text"] == cue.plaintext
        assert offset * 1000 - 1 <= cue.start < cue.end <= (offset + length) * 1000
        offset += Fraction(record["media"]["duration"]).limit_denominator(10**6)
        assert record["media"]["has_audio"] == (record["id"] != "c")
    assert len({texts["captions"][0]["text"] for texts in found}) > 2
    assert len(Path("out.tsv").read_text().splitlines()) == 6


@pytest.mark.slow
def test_a_second_run_comes_from_the_cache_and_is_the_same_to_the_byte(
    films: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = []
    serve = FeaturePipeline.serve

    def counted(self: FeaturePipeline, feed: Feed[Path]) -> object:
        yield from serve(self, feed)
        passes.append(sum(self.passes.values()))

    monkeypatch.setattr(FeaturePipeline, "serve", counted)
    for name in ("one", "two"):
        assert evcap("caption", films, "-c", checkpoint, "-o", f"{name}.srt", "-o", f"{name}.jsonl") == 0
    assert passes == [5, 0]
    for suffix in ("srt", "jsonl"):
        assert Path(f"one.{suffix}").read_bytes() == Path(f"two.{suffix}").read_bytes()
    assert not list(Path().glob("*.partial"))


@pytest.mark.slow
def test_captions_depend_on_neither_batch_order_workers_nor_cache(films: Path, caption: Call) -> None:
    names = [films / f"{name}.mp4" for name in "abcde"]
    assert caption(*names, "-o", "plain.jsonl") == 0
    plain = Path("plain.jsonl").read_bytes()
    ways = (
        (*names, "--batch-size", "1", "--no-cache", "--workers", "1"),
        (*reversed(names), "--batch-size", "16", "--no-cache", "--workers", "2"),
    )
    for number, way in enumerate(ways):
        assert caption(*way, "-o", f"{number}.jsonl") == 0
        assert texts(Path(f"{number}.jsonl")) == texts(Path("plain.jsonl"))
        for ours, theirs in zip(records(Path(f"{number}.jsonl")), records(Path("plain.jsonl")), strict=True):
            assert ours["captions"][0]["score"] == pytest.approx(theirs["captions"][0]["score"], abs=1e-4)
    assert caption(films / "d.mp4", "-o", "alone.jsonl") == 0
    assert Path("alone.jsonl").read_bytes() in plain


@pytest.mark.slow
def test_fixed_segments_have_a_cue_each_and_cover_the_video(films: Path, caption: Call) -> None:
    assert caption(films / "e.mp4", "-o", "out.jsonl", "-o", "out.srt", "-o", "r.html", "--segment", "fixed:0.5") == 0
    (record,) = records(Path("out.jsonl"))
    spans = [(cue["start"], cue["end"]) for cue in record["captions"]]
    assert spans == [(0.0, 0.5), (0.5, 1.0), (1.0, record["media"]["duration"])]
    assert len(pysubs2.load("out.srt")) == 3
    assert "<svg" in Path("r.html").read_text()


@pytest.mark.slow
def test_jsonl_on_standard_output_and_nothing_else_there(
    films: Path, caption: Call, capfd: pytest.CaptureFixture[str]
) -> None:
    assert caption(films, "-o", "-", "--limit", "2") == 0
    told = capfd.readouterr()
    assert [json.loads(line)["id"] for line in told.out.splitlines()] == ["a", "b"]
    assert "captioned 2 of 2 videos: standard output" in told.err
    assert sorted(path.name for path in Path().iterdir()) == ["videos"]
    assert caption(films, "-o", "-", "-o", "out.jsonl", "--limit", "2", "-q") == 0
    quiet = capfd.readouterr()
    assert (quiet.out, quiet.err) == (told.out, "")
    assert Path("out.jsonl").read_text() == told.out


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    films: Path, caption: Call, capfd: pytest.CaptureFixture[str]
) -> None:
    assert caption(films, "-o", "out.srt", "-o", "tree/", "--dry-run", "--limit", "2") == 0
    assert capfd.readouterr().out.splitlines() == [
        "videos/a.mp4 -> tree/a.mp4.srt",
        "videos/b.mp4 -> tree/b.mp4.srt",
        "2 videos -> out.srt",
    ]
    assert sorted(path.name for path in Path().iterdir()) == ["videos"]


@pytest.mark.slow
def test_shards_merge_to_what_one_run_writes(films: Path, caption: Call) -> None:
    assert caption(films, "-o", "all.jsonl", "-o", "all.srt") == 0
    for number in (1, 2):
        assert caption(films, "-o", f"part{number}.jsonl", "--shard", f"{number}/2") == 0
    assert evcap("merge", "part2.jsonl", "part1.jsonl", "-o", "merged.jsonl", "-o", "merged.srt") == 0
    for suffix in ("jsonl", "srt"):
        assert Path(f"merged.{suffix}").read_bytes() == Path(f"all.{suffix}").read_bytes()


@pytest.mark.slow
def test_options_may_come_from_a_file_and_flags_win(
    films: Path, caption: Call, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("evcap.toml").write_text('[caption]\nlimit = 1\noutput = ["out.jsonl", "out.srt"]\nmax-words = 2\n')
    assert caption(films, "--config", "evcap.toml") == 0
    (record,) = records(Path("out.jsonl"))
    assert len(record["captions"][0]["text"].split()) <= 2
    assert Path("out.srt").exists()
    assert caption(films, "--config", "evcap.toml", "--limit", "2", "--max-words", "3") == 0
    assert len(records(Path("out.jsonl"))) == 2
    capfd.readouterr()
    for text, why in (
        ("[caption]\nlimits = 1\n", "limits"),
        ("limit = ", "TOML"),
        ("[captoin]\nlimit = 1\n", "captoin"),
    ):
        Path("evcap.toml").write_text(text)
        assert caption(films, "-o", "out.jsonl", "--config", "evcap.toml") == 2
        told = capfd.readouterr().err
        assert why in told
        assert "evcap.toml" in told
        assert len(told.splitlines()) == 1


@pytest.mark.slow
def test_names_of_all_kinds_survive(films: Path, caption: Call, capfd: pytest.CaptureFixture[str]) -> None:
    import os

    names = ["ü ñ 日本.mp4", "take[1].mp4", "a\nb.mp4", "-dash.mp4", "@at.mp4", "<b>&.mp4", "x\u2028y.mp4", "...mp4"]
    folder = Path("odd")
    folder.mkdir()
    for name in names:
        (folder / name).hardlink_to(films / "a.mp4")
    raw = os.fsencode(folder) + b"/caf\xe9.mp4"
    os.link(films / "a.mp4", raw)
    assert caption(folder, "-o", "out.jsonl", "-o", "out.tsv", "-o", "out.html", "-o", "tree/") == 0
    found = records(Path("out.jsonl"))
    # a name that begins with a dot is hidden
    assert {os.fsencode(record["path"]) for record in found} == {
        raw,
        *(os.fsencode(folder / name) for name in names if not name.startswith(".")),
    }
    assert len({record["captions"][0]["text"] for record in found}) == 1
    assert len(list(Path("tree").rglob("*.srt"))) == len(found)
    page = Path("out.html").read_text("utf-8")
    assert "<b>&.mp4" not in page
    assert re.search("&lt;b&gt;&amp;.mp4", page)
    assert caption(Path(os.fsdecode(raw)), "-o", "one.jsonl", "--retry-failed") == 2
    assert caption(folder, "-o", "out.jsonl", "--retry-failed") == 0
    assert "(8 from an earlier run)" in capfd.readouterr().err


@pytest.mark.slow
def test_captions_are_chosen_anew_where_asked_and_by_a_checkpoint_that_says_so(
    films: Path, caption: Call, checkpoint: Path, warm: Path
) -> None:
    def told(name: str, *more: str, by: Path = checkpoint) -> list[tuple[str, float]]:
        assert evcap("caption", films, "-o", name, "-c", by, "--cache-dir", warm, *more) == 0
        lines = Path(name).read_text().splitlines()
        return [(one["text"], one["score"]) for line in lines for one in json.loads(line)["captions"]]

    plain, chosen = told("plain.jsonl"), told("chosen.jsonl", "--rerank", "consensus=9,emotion=1")
    assert Path("plain.jsonl").read_bytes() == (told("off.jsonl", "--rerank", "off"), Path("off.jsonl").read_bytes())[1]
    assert chosen != plain
    assert all(after <= before for (_, after), (_, before) in zip(chosen, plain, strict=True))
    shutil.copytree(checkpoint, "own")
    config = json.loads(Path("own/config.json").read_text())
    config["beam"]["rerank"] = {"consensus": 9, "emotion": 1, "candidates": 10}
    Path("own/config.json").write_text(json.dumps(config))
    assert told("own.jsonl", by=Path("own")) == chosen
    assert told("own-off.jsonl", "--rerank", "off", by=Path("own")) == plain
