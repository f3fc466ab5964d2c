"""The end of a run: what is scored, how often the test split is looked at, what is marked, what a kill changes."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from evcap_cli.checkpoints.checkpoint import Checkpoint
from evcap_cli.errors import TrainingError, UsageError
from evcap_cli.features.streams import ClipFeatures
from evcap_cli.files import WholeFile
from evcap_cli.scoring.metrics import METRICS
from evcap_cli.training import evaluation
from evcap_cli.training.epoch_selection import ORACLE_NOTE, best_of_each, epoch_score
from evcap_cli.training.feature_sources import MappingSource
from evcap_cli.training.final_scores import score_test
from evcap_cli.training.printed_comparison import markdown_table, quoted, rows_beside, text_table
from evcap_cli.training.run_log import RunLog
from evcap_cli.training.trainer import Trainer
from tests.forked import Forked, kill_at_commit
from tests.training import run_toy, toy


@pytest.fixture(autouse=True)
def quick_meteor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evcap_cli.scoring.score_texts._meteor", toy.meteor)


class Watched(MappingSource):
    """Notes when test videos are asked for, by the number of epochs that the log holds then."""

    def __init__(self, run: Path) -> None:
        super().__init__({f"vid{number}": toy.features(number) for number in range(24)})
        self.run, self.seen = run, list[int]()

    def read(self, videos: Sequence[str]) -> Iterator[tuple[str, ClipFeatures]]:
        if set(videos) & toy.unseen().keys():
            assert set(videos) == toy.unseen().keys()
            log = self.run / "log.jsonl"
            self.seen.append(len(log.read_text().splitlines()) if log.exists() else 0)
        return super().read(videos)


def watched(run: Path, **train: Any) -> tuple[Trainer, Watched]:
    source = Watched(run)
    recipe = toy.recipe(**{"learning_rate": run_toy.QUICK, **train})
    trainer = Trainer(
        recipe, toy.captions(), toy.LEXICON, source, run, tensorboard=False, test=toy.unseen(), data="toys"
    )
    return trainer, source


def finished(run: Path, **train: Any) -> tuple[dict[str, Any], Watched]:
    trainer, source = watched(run, **train)
    return score_test(trainer, trainer.fit(), toy.unseen(), bootstrap=20), source


@pytest.mark.slow
@pytest.mark.parametrize("select", ["cfs", "loss", "last"])
def test_the_test_split_is_touched_once_after_the_last_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, select: str
) -> None:
    scored: list[set[str]] = []
    real = evaluation.score_texts

    def noting(captions: dict[str, str], references: Any, *arguments: Any, **options: Any) -> Any:
        scored.append(set(captions) & toy.unseen().keys())
        return real(captions, references, *arguments, **options)

    monkeypatch.setattr(evaluation, "score_texts", noting)
    document, source = finished(tmp_path, select=select)
    assert source.seen == [3]
    assert scored == [set(), set(), set(), set(toy.unseen())]
    assert "test" not in json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])
    # a rerun finds the scores and does not look again
    before = (tmp_path / "test.json").read_bytes(), (tmp_path / "README.md").read_bytes()
    again, source = finished(tmp_path, select=select)
    assert (source.seen, len(scored)) == ([], 4)
    assert again == document
    assert ((tmp_path / "test.json").read_bytes(), (tmp_path / "README.md").read_bytes()) == before


@pytest.mark.slow
def test_what_is_written_at_the_end_belongs_together(tmp_path: Path) -> None:
    document, _ = finished(tmp_path)
    assert document == json.loads((tmp_path / "test.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "test.jsonl").read_text().splitlines()]
    assert {line["video_id"] for line in lines} == toy.unseen().keys()
    assert list(document["metrics"]) == list(METRICS)
    assert document["evaluation"] == 1
    assert document["select"] == "cfs"
    card = (tmp_path / "README.md").read_text()
    cfs = f"{document['metrics']['cfs']:.1f} ({document['intervals']['cfs'][0]:.1f} to"
    for part in (
        "| metric | held-out videos | test split (6 videos) |",
        cfs,
        "the paper's rows are not shown: this is not EmVidCap-L's test split (6 videos here, 382 there)",
        "data: toys: 14 videos with 28 captions to learn from, 4 videos held out",
        "chosen by CFS on held-out training videos; the test split took no part",
        "## Limits",
        "appearance features by memory: no weights",
    ):
        assert part in card


@pytest.mark.slow
def test_more_epochs_after_a_look_at_the_test_split_are_told(tmp_path: Path) -> None:
    finished(tmp_path, epochs=1, select="last")
    document, _ = finished(tmp_path, epochs=2, select="last")
    assert (document["epoch"], document["evaluation"]) == (2, 2)
    assert any("scored on the test split before, at epoch 1" in note for note in document["notes"])


@pytest.mark.slow
def test_an_oracle_looks_at_every_epoch_and_everything_says_so(tmp_path: Path) -> None:
    document, source = finished(tmp_path, select="oracle", epochs=4)
    assert source.seen == [0]
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["select"] for entry in log] == ["oracle"] * 4
    assert all(entry["test"].keys() == set(METRICS) for entry in log)
    best = {name: max(entry["test"][name] for entry in log) for name in METRICS}
    assert document["oracle"]["metrics"] == best
    assert all(log[document["oracle"]["epochs"][name] - 1]["test"][name] == best[name] for name in METRICS)
    assert document["metrics"]["cfs"] == pytest.approx(best["cfs"], abs=1e-3)
    assert document["metrics"]["cfs"] > 1
    assert len({entry["test"]["cfs"] for entry in log}) > 1
    assert document["select"] == "oracle"
    assert ORACLE_NOTE in document["notes"]
    assert all("ORACLE" in line for line in text_table(document)[2:] if line.startswith("this run"))
    assert all(json.loads(line)["select"] == "oracle" for line in (tmp_path / "test.jsonl").read_text().splitlines())
    training = Checkpoint.from_pretrained(tmp_path).training
    assert training["select"] == "oracle"
    assert training["test"]["cfs"] == best["cfs"]
    card = (tmp_path / "README.md").read_text()
    assert card.index("**Oracle:") < card.index("## How it was made")
    assert "ORACLE: chosen by CFS on the test split" in card
    assert "took no part" not in card
    assert "test split (6 videos) (ORACLE)" in card


def test_an_oracle_chooses_by_the_test_split_and_without_one_it_is_refused(tmp_path: Path) -> None:
    entries = [
        {"epoch": n + 1, "validation": {"cfs": held, "cross_entropy": 1.0}, "test": {"cfs": cfs, "acc_c": 9.0 - n}}
        for n, (held, cfs) in enumerate([(5.0, 1.0), (1.0, 4.0)])
    ]
    assert epoch_score(entries[1], "oracle") > epoch_score(entries[0], "oracle")
    assert epoch_score(entries[1], "cfs") < epoch_score(entries[0], "cfs")
    assert best_of_each(entries) == ({"cfs": 4.0, "acc_c": 9.0}, {"cfs": 2, "acc_c": 1})
    with pytest.raises(UsageError, match="oracle chooses on the test split"):
        Trainer(toy.recipe(select="oracle"), toy.captions(), toy.LEXICON, toy.source(), tmp_path)


def test_epochs_of_one_cfs_are_told_apart_by_their_loss() -> None:
    one, two = ({"epoch": n, "validation": {"cfs": 0.0, "cross_entropy": 3.0 - n}} for n in (1, 2))
    assert epoch_score(two, "cfs") > epoch_score(one, "cfs")
    better = {"epoch": 1, "validation": {"cfs": 0.1, "cross_entropy": 9.0}}
    assert epoch_score(better, "cfs") > epoch_score(two, "cfs")
    assert epoch_score({"epoch": 1}, "cfs") < epoch_score({"epoch": 2}, "cfs")


@pytest.mark.slow
def test_a_test_split_without_features_is_named(tmp_path: Path) -> None:
    trainer = Trainer(toy.recipe(epochs=1), toy.captions(), toy.LEXICON, toy.source(), tmp_path, tensorboard=False)
    result = trainer.fit()
    with pytest.raises(TrainingError, match="no video has features"):
        score_test(trainer, result, toy.unseen())
    assert Checkpoint.from_pretrained(tmp_path).digest == result.checkpoint.digest


@pytest.mark.slow
def test_videos_without_features_are_noted_and_scored_once_they_have_them(tmp_path: Path) -> None:
    def score(videos: int) -> dict[str, Any]:
        source = toy.source(videos)
        trainer = Trainer(toy.recipe(epochs=1), toy.captions(), toy.LEXICON, source, tmp_path, tensorboard=False)
        return score_test(trainer, trainer.fit(), toy.unseen(), bootstrap=0)

    part = score(20)
    assert part["videos"] == 2
    assert "4 of 6 test videos have no features and are not scored" in part["notes"]
    whole = score(24)
    assert (whole["videos"], whole["evaluation"]) == (6, 1)


@pytest.mark.slow
def test_everything_that_comes_of_labels_says_whose_they_are(tmp_path: Path) -> None:
    run, source = tmp_path / "run", Watched(tmp_path / "run")
    trainer = Trainer(
        toy.recipe(epochs=1),
        toy.captions(),
        toy.LEXICON,
        source,
        run,
        tensorboard=False,
        test=toy.unseen(),
        labels_by="teacher",
    )
    document = score_test(trainer, trainer.fit(), toy.unseen(), bootstrap=0)
    assert (document["labels_by"], document["references_by"]) == ("teacher", "teacher")
    assert "the references are labels by teacher: captions that a model wrote, not people" in document["notes"]
    assert document["published_reason"].startswith("the references are labels by teacher")
    assert all(json.loads(line)["labels_by"] == "teacher" for line in (run / "test.jsonl").read_text().splitlines())
    checkpoint = Checkpoint.from_pretrained(run)
    assert checkpoint.labels_by == checkpoint.training["labels_by"] == "teacher"
    card = (run / "README.md").read_text()
    assert "**Trained on labels by teacher: captions that a model wrote, not people.**" in card
    assert "test split (6 videos), labels by teacher |" in card


def test_the_papers_rows_stand_beside_emvidcap_l_only() -> None:
    split = [f"vid{number}" for number in range(10001, 10383)]

    def beside(appearance: str, without: Sequence[str] = (), videos: Sequence[str] = split, *, official: bool = True):
        return rows_beside(appearance, without, videos, official=official)

    rows, reason = beside("clip")
    assert not reason
    assert [(row.table, row.system) for row in rows] == [
        ("table2", "SA-LSTM"), ("table2", "EPAN"), ("table2", "the paper"), ("table3", "A and B"),
    ]  # fmt: skip
    assert beside("CLIP", ["audio-visual"])[0][-1].system == "B only"
    assert beside("clip", ["audio-visual", "fine-grained"])[0][-1].system == "neither module"
    assert {row.table for row in beside("ResNet101")[0]} == {"table1"}
    for given, why in (
        (beside("lite-appearance"), "lite-appearance"),
        (beside("clip:ViT-L-14/openai"), "ViT-L-14"),
        (beside("clip", videos=split[:-1]), "381 videos here, 382 there"),
        (beside("clip", videos=[f"clip{number}" for number in range(382)]), "not EmVidCap-L"),
        (beside("clip", official=False), "lexicon"),
    ):
        assert given[0] == []
        assert why in given[1]


def test_printed_rows_are_quoted_as_printed() -> None:
    split = [f"{number}" for number in range(20001, 20383)]
    metrics = dict.fromkeys(METRICS, 12.34) | {"meteor": None}
    document = {
        "metrics": metrics,
        "intervals": {"cfs": [10.0, 14.0]},
        "videos": 382,
        "protocol": "paper",
        "lexicon": {"name": "emvidcap"},
        "system": "fusion",
        "without": [],
        "select": "cfs",
        "epoch": 7,
        "epochs": 30,
        "published": quoted(rows_beside("resnet", (), split, official=True)[0]),
        "published_reason": "",
    }
    lines = text_table(document)
    assert len({len(line) for line in lines[1:8]}) == 1
    ours = next(line for line in lines if line.startswith("this run, epoch 7 of 30"))
    assert ours.split()[-5:] == ["-", "12.3", "12.3", "12.3", "12.3"]
    paper = next(line for line in lines if line.startswith("the paper (the same system; Table 1, quoted)"))
    printed = "53.4 52.5 67.6 45.3 30.3 19.7 18.5 38.3 24.6 36.8 30.1"
    assert paper.split()[-11:] == printed.split()
    assert "quoted as printed" in lines[-1]
    for system, shown in (("epan", "EPAN (the same system; Table 1, quoted)"), ("sa-lstm", "no row of SA-LSTM")):
        other = text_table({**document, "system": system})
        assert any(shown in line for line in other)
        assert any(line.startswith("the paper (Table 1, quoted)") for line in other)
    assert f"| the paper (the same system; Table 1, quoted) | {' | '.join(printed.split())} |" in markdown_table(
        document
    )


RESULTS = ("test.json", "test.jsonl", "model.safetensors", "vocabulary.json")
EPOCHS = "6"
"""Of the smallest system, until its captions have words."""


def logged(run: Path) -> list[dict[str, Any]]:
    """The log without wall times."""
    times = ("seconds", "captions_per_second", "loading_share", "part_seconds")
    entries = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in entry.items() if name not in times} for entry in entries]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evcap_cli.scoring.score_texts._meteor", toy.meteor)
        run_toy.main(str(folder), EPOCHS, "sa-lstm")
    return folder


@pytest.mark.slow
def test_stopped_between_any_two_writes_a_run_ends_with_the_same_log_scores_and_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the state of an epoch and its line in the log, too: no epoch is missing, none is there twice."""

    class Killed(BaseException):
        pass

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    written: list[str] = []
    commit, moment = WholeFile.commit, -1

    def counted(self: WholeFile, **given: Any) -> None:
        if len(written) == moment:
            raise Killed
        commit(self, **given)
        written.append(self.path.name)

    monkeypatch.setattr(WholeFile, "commit", counted)
    run_toy.main(str(whole), "2", "sa-lstm")
    expected, every = logged(whole), len(written)
    assert written.count("epoch.safetensors") == written.count("log.jsonl") == 2
    assert [entry["epoch"] for entry in expected] == [1, 2]
    named = ("recipe.toml", "epoch.safetensors", "log.jsonl", "config.json", "test.json")
    for moment in [number for number, name in enumerate(written) if name in named]:
        written.clear()
        shutil.rmtree(cut, ignore_errors=True)
        with pytest.raises(Killed):
            run_toy.main(str(cut), "2", "sa-lstm")
        where = f"before {moment}: after {written[-1:]}"
        finished = written.count("epoch.safetensors")
        written[:] = [""] * every * 2  # to the end now
        run_toy.main(str(cut), "2", "sa-lstm")
        assert logged(cut) == expected, where
        assert written[every * 2 :].count("epoch.safetensors") == 2 - finished, where
        for name in RESULTS:
            assert (cut / name).read_bytes() == (whole / name).read_bytes(), f"{name}, {where}"


def test_a_log_without_a_state_is_of_another_run(tmp_path: Path) -> None:
    """As after --overwrite that was cut short."""
    log = tmp_path / "log.jsonl"
    log.write_text('{"epoch": 1}\n{"epoch": 2}\n')
    RunLog(tmp_path, [], tensorboard=False)
    assert not log.exists()


def test_tensorboard_shows_each_epoch_once_after_an_interruption(tmp_path: Path) -> None:
    history = [{"epoch": number, "loss": {"total": number}} for number in (1, 2, 3)]
    for known, more in ((0, 1), (2, 1)):  # the second epoch's state was the last thing that was written
        log = RunLog(tmp_path, history[:known], tensorboard=True)
        log.write(history[: known + more])
        log.close()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in shown.Scalars("loss/total")] == [1, 2, 3]


@pytest.mark.parametrize(("name", "times"), [("log.jsonl", 2), ("test.json", 1)])
@pytest.mark.slow
def test_a_killed_process_ends_with_the_same_scores_and_weights(
    whole: Path, tmp_path: Path, name: str, times: int
) -> None:
    """The process ends by SIGKILL with ``name`` written but not yet renamed: nothing of it can clean up."""
    cut = tmp_path / "cut"
    with pytest.MonkeyPatch.context() as patch:
        kill_at_commit(patch, name, times)
        assert Forked(lambda: run_toy.main(str(cut), EPOCHS, "sa-lstm")).end()[0] == -signal.SIGKILL
    assert list(cut.rglob(f"*{name}*.tmp"))
    assert logged(cut) == logged(whole)[: int(EPOCHS) if name == "test.json" else 1]
    run_toy.main(str(cut), EPOCHS, "sa-lstm")
    assert json.loads((whole / "test.json").read_text())["metrics"]["cfs"] > 1
    assert logged(cut) == logged(whole)
    for result in RESULTS:
        assert (cut / result).read_bytes() == (whole / result).read_bytes(), result
    assert not list(cut.rglob("*.tmp"))
