"""What stands next to scores: the captioner and its prompt, one caption for every video, people, published rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from evcap_cli.scoring.captioned_by import CaptionedBy
from evcap_cli.scoring.constant_row import constant_of
from evcap_cli.scoring.metrics import METRICS
from evcap_cli.scoring.published_rows import LITERATURE_ROWS
from evcap_cli.scoring.score_captions import score_captions
from tests.commands.small import evcap
from tests.scoring.test_score import HYPOTHESES, LEXICON, REFERENCES

SMOLVLM = {
    "name": "hf-hub:HuggingFaceTB/SmolVLM2-500M-Video-Instruct",
    "digest": "d" * 32,
    "revision": "0123456789abcdef0123456789abcdef01234567",
    "style": "emotional-lexicon",
    "prompt": "fedcba9876543210fedcba9876543210",
}
ROW = "zero-shot SmolVLM2-500M-Video-Instruct, emotional-lexicon prompt"
TITLE = f"zero-shot {SMOLVLM['name']}@0123456789ab, emotional-lexicon prompt fedcba987654"
CONSTANT = "a man is happily talking"
Score = Callable[..., str]


def lines(path: Path, checkpoint: object = SMOLVLM, backbones: Mapping[str, str] | None = None) -> Path:
    """Records of the golden captions."""
    common = {"schema": 1, "status": "ok", "checkpoint": checkpoint, "backbones": backbones or {}}
    rows = [{**common, "id": video, "captions": [{"text": text}]} for video, text in HYPOTHESES.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The golden references, and training captions of which one is frequent, if case and full stops do not count."""
    folder = tmp_path / "root"
    (folder / "sentiment-words-E").mkdir(parents=True)
    for category, entries in LEXICON.table.items():
        (folder / "sentiment-words-E" / f"{category}.txt").write_text("\n".join(entries))
    test = [f"{video}\t{text}" for video, texts in REFERENCES.items() for text in texts]
    train = ["x1\tA man is happily talking.", "x2\ta man is happily talking", "x2\ta dog", "x3\ta cat", "x3\tA dog!"]
    train.append("x4\ta man is happily talking")
    for name, rows in (("test", test), ("trainval", train)):
        (folder / f"EmVideo_{name}_captions.csv").write_text("\n".join(["VideoID\tEmCaptions", *rows]) + "\n")
    return folder


@pytest.fixture
def score(root: Path, capfd: pytest.CaptureFixture[str]) -> Score:
    """What ``evcap score`` prints; ``said`` is expected among its messages."""

    def run(path: Path, *more: object, said: str = "") -> str:
        assert evcap("score", path, "--data", root, "--no-meteor", *more) == 0
        shown = capfd.readouterr()
        assert said in shown.err
        return shown.out

    return run


def numbers(text: str, row: str) -> list[str]:
    """The values of the one line that begins with ``row``."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"{row} ")]
    return line.removeprefix(row).split()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("checkpoint", "row", "title"),
    [
        (SMOLVLM, ROW, TITLE),
        (
            {"name": "http://127.0.0.1:8000/v1#org/tiny", "style": "file", "prompt": "ab" * 16},
            "zero-shot tiny, own prompt",
            "zero-shot http://127.0.0.1:8000/v1#org/tiny, own prompt abababababab",
        ),
        ({"name": "git"}, "zero-shot git, no prompt", "zero-shot git, no prompt"),
    ],
)
def test_a_ready_made_captioner_is_named_with_its_prompt(
    checkpoint: dict[str, Any], row: str, title: str, tmp_path: Path, score: Score
) -> None:
    path = lines(tmp_path / "p.jsonl", checkpoint)
    shown = score(path, "--rows", "literature")
    assert shown.splitlines()[1] == title
    assert len(numbers(shown, row)) == len(METRICS)
    found = json.loads(score(path, "--json"))["captioner"]
    prompt = {key: checkpoint.get(key) for key in ("revision", "style", "prompt")}
    assert found == {"name": checkpoint["name"], "zero_shot": True, **prompt}


@pytest.mark.parametrize("checkpoint", [None, "model.pt", {"digest": "d"}, {"name": 3}])
def test_records_of_other_programs_name_no_captioner(checkpoint: object, tmp_path: Path, score: Score) -> None:
    shown = score(lines(tmp_path / "p.jsonl", checkpoint), "--rows", "literature")
    assert "zero-shot" not in shown
    assert len(numbers(shown, "this system")) == len(METRICS)


def test_a_trained_checkpoint_is_not_called_zero_shot(tmp_path: Path, score: Score) -> None:
    path = lines(tmp_path / "p.jsonl", {"name": "mine", "digest": "d"}, {"appearance": "clip"})
    assert "zero-shot" not in score(path)
    assert json.loads(score(path, "--json"))["captioner"]["zero_shot"] is False


def test_captions_of_two_captioners_in_a_file_are_named(tmp_path: Path, score: Score) -> None:
    path = lines(tmp_path / "p.jsonl")
    first, *rest = path.read_text().splitlines()
    other = json.dumps({**json.loads(first), "checkpoint": {**SMOLVLM, "style": "factual"}})
    path.write_text("\n".join([other, *rest]))
    shown = score(path, "--rows", "literature", said="captions of 2 captioners, scored as one system: zero-shot ")
    assert "zero-shot" not in shown


@pytest.mark.parametrize("rows", ["literature", "paper"])
def test_a_constant_caption_and_people_stand_next_to_published_rows(
    rows: str, tmp_path: Path, root: Path, score: Score
) -> None:
    path = lines(tmp_path / "p.jsonl")
    shown = score(path, "--rows", rows)
    everywhere = tmp_path / "constant.json"
    everywhere.write_text(json.dumps(dict.fromkeys(HYPOTHESES, CONSTANT)))
    alone = json.loads(score(everywhere, "--json"))["metrics"]
    assert f'next to one caption for every video, "{CONSTANT}"' in shown
    expected = ["-" if alone[metric] is None else f"{alone[metric]:.2f}" for metric in METRICS]
    assert numbers(shown, "constant caption") == expected
    assert any(float(value) > 0 for value in expected if value != "-")
    assert len(numbers(shown, "people")) == len(numbers(shown, f"{ROW}, the same references")) == len(METRICS)
    found = json.loads(score(path, "--rows", rows, "--json"))
    assert found["constant"] == {"caption": CONSTANT, "metrics": alone}
    assert set(found["human"]["human"]) == set(METRICS)


@pytest.mark.slow
def test_newer_rows_are_quoted_with_their_source(tmp_path: Path, score: Score) -> None:
    path = lines(tmp_path / "p.jsonl")
    shown = score(path, "--rows", "literature")
    assert "quoted as printed, not computed here: Causal-EVC (2026), its Table 1, EmVidCap-L" in shown
    assert " ".join(numbers(shown, "Causal-EVC (2026)")) == "82.8 81.5 - - - 32.4 - - 74.0 55.3 75.6"
    assert "Table 2, CLIP" not in shown
    found = json.loads(score(path, "--rows", "literature", "--json"))["published"]
    assert [row["system"] for row in found["rows"]] == [row.system for row in LITERATURE_ROWS]
    assert found["rows"][0]["metrics"]["bleu_1"] is None
    score(path, "--rows", "literature", "--split", "all", said="the literature's rows are of EmVidCap-L, test split")


def test_without_training_captions_one_line_says_why_there_is_no_constant_caption(
    tmp_path: Path, root: Path, score: Score
) -> None:
    path = lines(tmp_path / "p.jsonl")
    (root / "EmVideo_trainval_captions.csv").unlink()
    shown = score(path, "--rows", "literature", said="no row of a constant caption: the training captions of --data")
    assert "constant caption" not in shown
    assert "people" in shown


@pytest.mark.slow
def test_a_constant_caption_next_to_another_system_takes_nothing_from_the_comparison() -> None:
    other = {video: texts[0] for video, texts in REFERENCES.items()}
    plain, both = (
        score_captions(HYPOTHESES, REFERENCES, lexicon=LEXICON, meteor=False, compare=other, human=True, constant=floor)
        for floor in (None, "a dog")
    )
    assert plain.constant is None
    assert both.constant is not None
    assert both.comparison == plain.comparison
    assert both.human == plain.human
    assert both.metrics == plain.metrics


def test_an_empty_training_split_has_no_most_frequent_caption(root: Path) -> None:
    from evcap_cli.data.emvidcap import DataRoot

    opened = DataRoot.open(root)
    assert constant_of(opened) == CONSTANT
    opened.train = {"x": ["?!"]}
    assert constant_of(opened) is None


def test_a_row_of_a_folder_is_named_by_its_last_part() -> None:
    assert CaptionedBy("models/mine/", ready_made=True).row == "zero-shot mine, no prompt"
