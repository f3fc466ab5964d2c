"""``evcap weights import epan`` and ``dcgn``: a state dict of the released code captions through the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from evcap_cli import Backbone, BackboneSpec, FrameInput, plugins
from evcap_cli.checkpoints.checkpoint import Checkpoint
from evcap_cli.data.special_tokens import END
from evcap_cli.errors import DataError
from evcap_cli.training.released_checkpoint import read_words
from tests.backbones.serving import Net
from tests.commands.small import evcap, records
from tests.features.films import make_film
from tests.systems import released
from tests.systems.released import SYSTEMS, golden

BACKBONE = ("--appearance", "pixels")


class Pixels(Backbone):
    """Pixels of a small frame, as many as the released weights read."""

    spec = BackboneSpec("pixels", "appearance", 512, "1", FrameInput(size=(16, 16)))

    def load(self, weights: str | None, device: torch.device, dtype: torch.dtype) -> None:
        pass

    def extract(self, batch: Tensor) -> Tensor:
        return batch.flatten(1)[:, :512]


def emotion_words() -> list[list[str]]:
    """Words of each category in released order, its name first; the others fall, so that sorting changes them."""
    sizes = np.bincount([category for category, _ in golden("epan")["lexicon_mask_true"]])
    return [
        [f"mood{number:02d}", *(f"m{number:02d}{99 - word}" for word in range(int(size) - 1))]
        for number, size in enumerate(sizes)
    ]


def vocabulary_words() -> list[str]:
    emotions = [word for words in emotion_words() for word in words]
    return [*(f"w{number}" for number in range(4, 500)), *emotions, *(f"w{number}" for number in range(679, 700))]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))  # no Java: METEOR takes ten seconds
    monkeypatch.setitem(plugins.registry().backbones, "pixels", Pixels)
    monkeypatch.setitem(plugins.registry().origin, ("backbone", "pixels"), "evcap-pixels")
    folder = tmp_path / "EPAN" / "EmotionEval" / "sentiment-words-E"
    folder.mkdir(parents=True)
    for words in emotion_words():
        (folder / f"{words[0]}.txt").write_text("\n".join(words))
    Path("vocabulary.txt").write_text("\n".join(["<PAD>", "<SOS>", "<EOS>", "<UNK>", *vocabulary_words()]))
    return tmp_path


def save(path: str, tensors: Mapping[str, Tensor], prefix: str = "") -> None:
    torch.save({prefix + name: tensor for name, tensor in tensors.items()}, path)


def imported(system: str, file: str, *more: object, backbone: Sequence[str] = BACKBONE) -> int:
    names = ("--vocabulary", "vocabulary.txt", "--lexicon", "EPAN", "-o", "run")
    return evcap("weights", "import", system, file, *names, *backbone, *more)


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_released_checkpoint_captions_scores_and_explains(
    here: Path, system: str, capfd: pytest.CaptureFixture[str]
) -> None:
    given = released.state(system)
    file = {"epan": "model.ckpt", "dcgn": "model.pth"}[system]
    save(file, given, "module." if system == "dcgn" else "")
    assert imported(system, file) == 0
    assert f"run: {system} with 700 words, features 512 wide of pixels" in capfd.readouterr().err

    # the numbers of the released code come out of the folder
    made = Checkpoint.from_pretrained(here / "run")
    assert (made.system, made.sampling, made.untrained) == (system, "epan", False)
    assert made.vocabulary.words[4:] == tuple(vocabulary_words())
    assert made.training["imported"]["file"] == file
    model, (inputs, targets), wanted = made.model.double(), released.targets(system), golden(system)
    with torch.no_grad():
        output = model(released.clips(torch.float64), inputs, targets.clip_index)
    steps = output.padded().log_softmax(-1)[:, :15, wanted["probe_words"]]
    np.testing.assert_allclose(steps.numpy(), np.array(wanted["log_P_steps"])[:, :15], rtol=0, atol=1e-6)
    order = [made.lexicon.word_ids[word] for words in emotion_words() for word in words]
    assert order != sorted(order)
    perceived = output.perceived
    np.testing.assert_allclose(
        perceived.words[:6].log_softmax(-1)[:, order].numpy(), wanted["log_P_w"], rtol=0, atol=1e-6
    )

    # of such weights the empty caption is often the best: no end mark
    given["decoder.out.bias"][END] -= 99
    save(file, given)
    Path("run/config.json").unlink()
    assert imported(system, file) == 0
    make_film(Path("a.mp4"), frames=12, seed=2)
    config = json.loads(Path("run/config.json").read_text("utf-8"))
    config["beam"]["max_words"] = 4
    Path("run/config.json").write_text(json.dumps(config))
    cache = ("--cache-dir", "features")
    assert evcap("caption", "a.mp4", "-c", "run", "-o", "out.jsonl", *cache, "-q") == 0
    record = records(Path("out.jsonl"))[0]
    assert record["status"] == "ok"
    assert record["captions"][0]["text"]
    assert record["captions"][0]["emotion"]["category"].startswith("mood")
    Path("refs.jsonl").write_text('{"video_id": "a", "caption": "w5 mood03"}\n')
    assert evcap("score", "out.jsonl", "--refs", "refs.jsonl", "-q") == 0
    assert evcap("explain", "a.mp4", "-c", "run", "-o", "page.html", *cache, "-q") == 0
    assert record["captions"][0]["text"].split()[0] in Path("page.html").read_text("utf-8")
    card = Path("run/README.md").read_text("utf-8")
    assert system.upper() in card
    assert f"weights of the released code, imported from {file} (digest " in card
    assert "None" not in card


@pytest.mark.slow
def test_names_that_are_missing_surplus_or_of_another_shape_are_listed(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = released.state("epan")
    del given["decoder.out.bias"], given["embedding_emo.weight"]
    given["decoder.more.weight"] = torch.zeros(1)
    given["emotion_attention.fc.bias"] = torch.zeros(3)
    save("model.ckpt", given)
    assert imported("epan", "model.ckpt") == 2
    line = capfd.readouterr().err
    assert "lacks tensors (2): decoder.out.bias, embedding_emo.weight" in line
    assert "holds unknown tensor (1): decoder.more.weight" in line
    assert "emotion_attention.fc.bias (3,), not (512,)" in line
    assert line.count("\n") == 1
    assert not Path("run").exists()
    save("model.ckpt", released.state("dcgn"))
    assert imported("epan", "model.ckpt") == 2
    line = capfd.readouterr().err
    assert "holds unknown tensors (20)" in line
    assert "decoder.dynamic_module.agg_w_a.bias, " in line
    assert line.rstrip().endswith("for dcgn: evcap weights import dcgn")


@pytest.mark.slow
def test_both_copies_of_the_emotion_module_and_the_table_of_positions_may_be_there(here: Path) -> None:
    given = released.state("dcgn")
    copies = {
        name.replace("decoder.emo_atten.", "emotion_attention."): tensor
        for name, tensor in given.items()
        if name.startswith("decoder.emo_atten.")
    }
    position = torch.arange(18.0, dtype=torch.float64)[:, None] / 10000 ** (2 * (torch.arange(300) // 2) / 300)
    position[:, 0::2], position[:, 1::2] = position[:, 0::2].sin(), position[:, 1::2].cos()
    position[0] = 0
    save("model.ckpt", given | copies | {"phr_encoder.position_enc.weight": position.float()})
    assert imported("dcgn", "model.ckpt", backbone=("--features", "CLIP")) == 0
    record = Checkpoint.from_pretrained("run").backbones["appearance"]
    assert (record["name"], record["dim"], record["version"]) == ("CLIP", 512, "hdf5")


@pytest.mark.slow
def test_copies_that_differ_and_other_positions_are_refused(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    given = released.state("dcgn")
    save("model.ckpt", given | {"emotion_attention.fc.bias": torch.zeros(512)})
    assert imported("dcgn", "model.ckpt") == 2
    assert "differ" in capfd.readouterr().err
    save("model.ckpt", given | {"phr_encoder.position_enc.weight": torch.ones(18, 300)})
    assert imported("dcgn", "model.ckpt", backbone=("--features", "CLIP")) == 2
    assert "phr_encoder.position_enc.weight is not the table of sinusoids" in capfd.readouterr().err


@pytest.mark.slow
def test_files_that_do_not_fit_the_weights_are_named(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save("model.ckpt", released.state("epan"))
    assert imported("epan", "model.ckpt", backbone=("--appearance", "lite-appearance")) == 2
    assert "the weights read features 512 wide, lite-appearance gives" in capfd.readouterr().err
    Path("vocabulary.txt").write_text("\n".join(vocabulary_words()[:-1]))
    assert imported("epan", "model.ckpt", backbone=("--features", "CLIP")) == 2
    assert "vocabulary.txt: holds 695 words, the weights have rows for 696" in capfd.readouterr().err
    Path("vocabulary.txt").unlink()
    assert imported("epan", "model.ckpt", backbone=("--features", "CLIP")) == 2
    assert "vocabulary.txt: cannot read" in capfd.readouterr().err
    Path("EPAN/EmotionEval/sentiment-words-E/mood03.txt").unlink()
    assert imported("epan", "model.ckpt", backbone=("--features", "CLIP")) == 2
    assert "33 categories" in capfd.readouterr().err
    assert not Path("run").exists()


def test_what_must_be_said_is_asked_for_before_any_work(
    here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = {
        "needs its vocabulary": ("epan", "--lexicon", "EPAN", "--features", "CLIP"),
        "needs its lexicon": ("epan", "--vocabulary", "vocabulary.txt", "--features", "CLIP"),
        "nothing says what the features are": ("epan", "--vocabulary", "vocabulary.txt", "--lexicon", "EPAN"),
        "fusion has no released checkpoints": ("fusion",),
        "are of a system": ("resnext3d", "--vocabulary", "vocabulary.txt"),
    }
    for message, (name, *more) in cases.items():
        assert evcap("weights", "import", name, "nothing.ckpt", "-o", "run", *more) == 2
        assert message in capfd.readouterr().err
    assert imported("epan", "nothing.ckpt") == 2
    assert "nothing.ckpt: these weights do not exist" in capfd.readouterr().err
    Path("run").mkdir()
    Path("run/config.json").write_text("{}")
    assert imported("epan", "nothing.ckpt") == 2
    assert "run: is a checkpoint already" in capfd.readouterr().err
    monkeypatch.setitem(plugins.registry().backbones, "epan", Net)
    monkeypatch.setitem(plugins.registry().origin, ("backbone", "epan"), "evcap-other")
    assert imported("epan", "nothing.ckpt") == 2
    assert "epan is a system and a backbone (evcap-other)" in capfd.readouterr().err


def test_a_vocabulary_may_lack_marks_and_emotion_words_and_have_counts(tmp_path: Path) -> None:
    file, emotions = tmp_path / "vocabs.txt", ["glad", "sad"]
    file.write_text("a 17\nsad 3\nman 2\n")
    assert read_words(file, 8, emotions) == ["a", "sad", "man", "glad"]
    assert read_words(file, 7, emotions) == ["a", "sad", "man"]
    file.write_text("<pad>\n<start>\n<end>\n<unk>\na\nman\n")
    assert read_words(file, 6, emotions) == ["a", "man"]
    for text, rows, message in (("a\na\n", 6, "twice"), ("a\n", 9, "holds 1 word, the weights have rows for 5")):
        file.write_text(text)
        with pytest.raises(DataError, match=message):
            read_words(file, rows, emotions)
