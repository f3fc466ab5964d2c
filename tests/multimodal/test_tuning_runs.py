"""``evcap train --model multimodal`` as it is typed: runs, kills, captions of what they leave, and wrong calls."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from tests.commands.small import ROOT, evcap, fork_evcap, records
from tests.experiments.roots import write_root
from tests.forked import kill_at_commit
from tests.multimodal import tiny

FAMILIES = ["smolvlm", "qwen3_vl"]
FEW = ["--frames", 3, "--batch-size", 8, "--lr", 0.02, "--device", "cpu", "--workers", 1]
ADAPTER = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_root(tmp_path_factory.mktemp("tuning") / "root", films=True)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVCAP_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("PATH", "/nothing")  # METEOR would take ten seconds a run


@pytest.fixture
def base_of(folder_of: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A model that may write any token and ends its answers, as published ones do."""

    def made(family: str) -> Path:
        folder = tmp_path / "models" / family
        if not folder.exists():
            shutil.copytree(folder_of(family), folder)
            tiny.edited(folder, "generation_config.json", eos_token_id=1, suppress_tokens=None)
        return folder

    return made


def train(base: Path, root: Path, run: Path, *more: object) -> list[object]:
    return ["train", "--model", "multimodal", "--base", base, "--data", root, *FEW, "-o", run, *more]


def log(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_falls_and_a_killed_run_ends_with_the_same_adapter_which_captions(
    family: str,
    base_of: Callable[[str], Path],
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    base, calm, killed = base_of(family), tmp_path / "calm", tmp_path / "killed"
    assert evcap(*train(base, root, calm, "--epochs", 4, "--select", "loss")) == 0
    losses = [entry["loss"]["total"] for entry in log(calm)]
    assert losses[-1] < 0.7 * losses[0]
    assert log(calm)[-1]["validation"]["cross_entropy"] < log(calm)[0]["validation"]["cross_entropy"]
    with monkeypatch.context() as patch:
        kill_at_commit(patch, "epoch.safetensors", 2)
        code, _, _ = fork_evcap(*train(base, root, killed, "--epochs", 4, "--select", "loss")).end()
    assert code == -signal.SIGKILL
    assert not (killed / "config.json").exists()
    capfd.readouterr()
    assert evcap(*train(base, root, killed, "--epochs", 4, "--select", "loss")) == 0
    assert "going on after epoch 1 of 4" in capfd.readouterr().err
    assert (killed / ADAPTER).read_bytes() == (calm / ADAPTER).read_bytes()
    # a finished run is found finished
    assert evcap(*train(base, root, killed, "--epochs", 4, "--select", "loss")) == 0
    assert json.loads((killed / "test.json").read_text())["evaluation"] == 1

    page = (killed / "report.html").read_text("utf-8")
    assert family in page
    assert set(log(calm)[0]["part_seconds"]) == {"data", "forward", "backward", "optimiser", "validation"}

    # it captions as it did at the end of its training
    out = tmp_path / "out.jsonl"
    videos = [root / "videos" / f"{number}.mp4" for number in (5, 6)]
    assert evcap("caption", *videos, "-c", calm, "-o", out, "--workers", 1, "--device", "cpu") == 0
    tested = [json.loads(line) for line in (calm / "test.jsonl").read_text().splitlines()]
    found = records(out)
    assert [record["captions"][0]["text"] for record in found] == [one["caption"] for one in tested]
    schema = json.loads((ROOT / "docs" / "record.schema.json").read_text("utf-8"))
    for record in found:
        jsonschema.validate(record, schema)
        assert record["checkpoint"]["base"] == family
        assert record["checkpoint"]["name"] == "calm"
        assert record["checkpoint"]["style"] == "emotional"
    capfd.readouterr()
    assert evcap("score", out, "--data", root, "--json", "--no-meteor") == 0
    scored = json.loads(capfd.readouterr().out)
    assert scored["metrics"] == json.loads((calm / "test.json").read_text())["metrics"]
    assert "captioned_by" not in scored, "it is no ready-made captioner, but trained here"
    assert evcap("explain", videos[0], "-c", calm, "-o", tmp_path / "page.html") == 2
    assert "cannot look into" in capfd.readouterr().err


@pytest.mark.slow
def test_a_base_that_changed_or_moved_is_an_error(
    base_of: Callable[[str], Path], root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    base, run = base_of("smolvlm"), tmp_path / "run"
    assert evcap(*train(base, root, run, "--epochs", 1, "--no-test")) == 0
    caption = ["caption", root / "videos" / "1.mp4", "-c", run, "-o", tmp_path / "out.jsonl", "--device", "cpu"]
    tiny.edited(base, "tokenizer_config.json", other=1)
    capfd.readouterr()
    assert evcap(*caption) == 2
    assert "was trained on another smolvlm (digest " in capfd.readouterr().err
    tiny.edited(base, "tokenizer_config.json", other=None)
    moved = base.rename(tmp_path / "moved")
    assert evcap(*caption) == 2
    assert "its base model smolvlm was not found" in capfd.readouterr().err
    (run / "base.json").write_text(json.dumps({"path": str(moved)}))
    assert evcap(*caption, "--dry-run") == 0
    for name in ("config.json", ADAPTER, "lexicon.json"):
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[: len(content) // 2])
        capfd.readouterr()
        assert evcap(*caption) == 2
        assert capfd.readouterr().err.count("\n") == 1
        (run / name).write_bytes(content)
    assert evcap(*caption, "--prompt", root / "tiny.toml") == 2
    # the same folder is not another run's
    assert evcap(*train(moved, root, run, "--lora-rank", 4, "--epochs", 1)) == 2
    assert "holds a run with other data or settings" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--model", "multimodal"], "none is named; give --base"),
        (["--base", "nowhere"], "is no ready-made captioner"),
        (["--base", "http://localhost:1/v1#x"], "cannot be tuned here"),
        (["--base", "smolvlm2", "--backbone", "lite"], "--backbone means nothing for --model multimodal"),
        (["--base", "smolvlm2", "--self-critical", "1"], "--self-critical means nothing for --model multimodal"),
        (["--base", "smolvlm2", "--select", "oracle"], "--select oracle means nothing for --model multimodal"),
        (["--base", "smolvlm2", "--without", "objects"], "--without means nothing"),
        (["--base", "smolvlm2", "--init", "demo"], "--init means nothing"),
        (["--base", "smolvlm2", "--dtype", "fp16"], "use bf16"),
        (["--base", "smolvlm2", "--lora-targets", ","], "--lora-targets names no layer"),
        (["--base", "smolvlm2", "--lora-alpha", "-1"], "alpha"),
        (["--base", "smolvlm2", "--recipe", "nowhere.toml"], "no such file"),
        (["--base", "smolvlm2", "--recipe", "paper.toml"], "is a recipe of other systems, not of multimodal"),
        (["--backbone", "lite", "--lora-rank", "4"], "--lora-rank is of --model multimodal"),
        (["--model", "epan", "--base", "smolvlm2"], "--base is of --model multimodal"),
        (["--model", "nothing"], "multimodal"),
    ],
)
def test_wrong_calls_are_one_line(
    given: list[str],
    expected: str,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("paper.toml").write_text("[train]\nepochs = 2\n")
    assert evcap("train", "--data", root, *given, "-o", "run") == 2
    said = capfd.readouterr().err.strip().splitlines()
    assert expected in said[-1], said


def test_recipes_of_adapters_are_printed_and_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert evcap("train", "--recipe", "causal-evc-base", "--print-config") == 0
    printed = capfd.readouterr().out
    for line in ("rank = 16", "alpha = 32.0", "frames = 30", "frame_size = 224", "max_words = 15", "beam_size = 4"):
        assert line in printed.splitlines()
    (tmp_path / "again.toml").write_text(printed)
    assert evcap("train", "--recipe", tmp_path / "again.toml", "--lora-targets", "q_proj,v_proj", "--print-config") == 0
    changed = capfd.readouterr().out
    assert changed == printed.replace("targets = []", 'targets = ["q_proj", "v_proj"]')
    (tmp_path / "bad.toml").write_text('system = "multimodal"\n[train]\nepochs = "x"\n')
    assert evcap("train", "--recipe", tmp_path / "bad.toml", "--print-config") == 2
    assert "not a recipe: epochs" in capfd.readouterr().err
