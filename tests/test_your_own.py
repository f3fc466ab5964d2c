"""docs/your-own.md: its commands are run one after another, on few clips and for one epoch."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from evcap_cli.checkpoints.checkpoint import Checkpoint
from evcap_cli.data.emvidcap import DataRoot
from evcap_cli.demo import make_facts
from tests.commands.small import evcap, records
from tests.multimodal import tiny

GUIDE = Path(__file__).parents[1] / "docs" / "your-own.md"
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
CLIPS = {"mine": "5", "old": "2", "more": "4"}
"""Of each world that the guide renders."""
SECONDS = 1.0
"""Of a clip."""
BASES = {"smolvlm2": "smolvlm", "hf-hub:Qwen/Qwen2.5-VL-7B-Instruct": "qwen3_vl"}
"""Models of the guide, and tiny ones of their families."""


def in_small(line: str) -> list[str]:
    """A command of the guide with few clips, one epoch and one process."""
    program, command, *given = shlex.split(line)
    assert program == "evcap"
    if command == "demo-world":
        given[given.index("--videos") + 1] = CLIPS[given[0]]
        given += ["--workers", "1"]
    if command == "train":
        given = [*given, "--epochs", "1"] if "--epochs" not in given else given
        given[given.index("--epochs") + 1] = "1"
        given += ["--no-test"]
    if "--base" in given:
        place = given.index("--base") + 1
        given[place] = f"models/{BASES[given[place]]}"
        given += ["--batch-size", "32"]
    if command in ("train", "caption", "label"):
        given += ["--device", "cpu", "--workers", "1"]
    return [command, *given]


@pytest.mark.slow
def test_the_commands_of_the_guide_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))  # METEOR would take ten seconds a score
    monkeypatch.setenv("EVCAP_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(make_facts, "SHORTEST_SECONDS", SECONDS)
    monkeypatch.setattr(make_facts, "LONGEST_SECONDS", SECONDS)
    for family in BASES.values():
        tiny.BUILDERS[family](tmp_path / "models" / family)
        # words alone, which may end: bytes are no text
        tiny.edited(tmp_path / "models" / family, "generation_config.json", eos_token_id=1)
    lines = [line for block in BLOCK.findall(GUIDE.read_text("utf-8")) for line in block.splitlines()]
    assert len(lines) > 8
    for line in lines:
        assert evcap(*in_small(line)) == 0, line
    old, mine = Checkpoint.from_pretrained("demo"), Checkpoint.from_pretrained("runs/mine")
    assert mine.training["init"]["digest"] == old.digest
    assert mine.vocabulary.words[: len(old.vocabulary)] == old.vocabulary.words
    assert {"robot", "wizard"} & set(mine.vocabulary.words)
    assert len(records(tmp_path / "old.jsonl")) == int(CLIPS["old"])
    frozen = json.loads(Path("runs/frozen/config.json").read_text())["training"]["init"]["freeze"]
    assert frozen == ["emotion", "encoder"]
    assert "init" not in Checkpoint.from_pretrained("runs/nothing").training
    adapters = {name: json.loads(Path(f"runs/{name}/config.json").read_text()) for name in ("lora", "causal", "few")}
    causal = adapters["causal"]["evcap_adapter"]
    assert (causal["frames"], causal["longest_side"], causal["max_words"], causal["beam_size"]) == (30, 224, 15, 4)
    assert adapters["few"]["training"]["settings"]["targets"] == ["q_proj", "v_proj"]
    assert records(Path("lora.jsonl"))[0]["checkpoint"]["name"] == "lora"
    assert DataRoot.open(Path("labelled")).labels_by == "mine"
    assert Checkpoint.from_pretrained("runs/student").labels_by == "mine"
