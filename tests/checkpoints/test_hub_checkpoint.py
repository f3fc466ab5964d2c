"""Checkpoints go to a hub and come back the same, through the hub's own client and real requests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from evcap_cli.checkpoints.checkpoint import Checkpoint
from evcap_cli.checkpoints.checkpoint_files import FILES
from evcap_cli.checkpoints.hub import check_pushing, without_places
from evcap_cli.errors import CheckpointError, UploadError, UsageError
from tests.checkpoints.hub_server import OWNER, READER, Hub, serving
from tests.checkpoints.test_checkpoint import made
from tests.checkpoints.test_familiarity_file import summary
from tests.commands.small import ROOT
from tests.training import test_train_command
from tests.training.test_train_command import Call, arguments

call, root = test_train_command.call, test_train_command.root
PRIVATE = "/home/anna/patients/EPAN"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on this machine, an empty cache of its client, nobody logged in."""
    with serving() as found:
        monkeypatch.setattr(constants, "ENDPOINT", found.address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", found.address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("no_proxy", "*")
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint whose card tells the command as evcap train writes it."""
    checkpoint = made()
    command = without_places(f"evcap train --data {PRIVATE} -o /scratch/anna/run7 --backbone clip")
    checkpoint.training["command"] = command
    card = f"# toy\n\n```\nevcap caption VIDEOS -c THIS_FOLDER -o out.srt\n```\n```\n{command}\n```\n"
    checkpoint.save_pretrained(tmp_path / "run", card=card)
    return tmp_path / "run"


def files_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.mark.slow
def test_pushed_and_loaded_by_processes_of_their_own_it_is_the_same(folder: Path, tmp_path: Path) -> None:
    """HF_ENDPOINT and HF_TOKEN as users set them; nothing of the client is patched."""
    code = """if True:
        import sys
        from pathlib import Path
        from evcap_cli.checkpoints.checkpoint import Checkpoint
        run = Path(sys.argv[1])
        address = Checkpoint.from_pretrained(run).push_to_hub("org/model", folder=run)
        loaded = Checkpoint.from_pretrained(address)
        print(address, loaded.name, loaded.digest)
        loaded.save_pretrained(Path(sys.argv[2]))
    """
    with serving() as hub:
        surroundings = {
            "HF_ENDPOINT": hub.address,
            "HF_TOKEN": OWNER,
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "plugins"))),
            "no_proxy": "*",
        }
        told = subprocess.run(
            [sys.executable, "-c", code, folder, tmp_path / "back"],
            env={**os.environ, **surroundings},
            capture_output=True,
            text=True,
        )
        assert told.returncode == 0, told.stderr
        before, after = Checkpoint.from_pretrained(folder), Checkpoint.from_pretrained(tmp_path / "back")
        assert told.stdout.split() == ["hf-hub:org/model", "hf-hub:org/model", before.digest]
        assert told.stderr == ""
        for name, tensor in before.model.state_dict().items():
            assert torch.equal(tensor, after.model.state_dict()[name]), name
        assert [line for line in hub.asked if line.startswith("PUT /lfs/")] != []
        assert "POST /api/models/org/model/commit/main" in hub.asked


def test_the_card_on_the_hub_says_how_to_use_it_and_no_place(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", OWNER)
    assert made().push_to_hub("model", folder=folder) == "hf-hub:org/model"
    _, pushed = hub.repositories["org/model"].at("main") or ("", {})
    assert {name: pushed[name] for name in FILES} == files_of(folder)
    card = pushed["README.md"].decode()
    assert "evcap caption VIDEOS -c hf-hub:org/model -o out.srt" in card
    for content in pushed.values():
        assert b"anna" not in content
    assert b"--data EPAN -o run7" in pushed["README.md"]


@pytest.mark.slow
def test_places_that_a_library_call_wrote_down_stay_here(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", OWNER)
    checkpoint = made()
    checkpoint.training["command"] = f"evcap train --data {PRIVATE}"
    checkpoint.save_pretrained(tmp_path / "run", card=f"# toy\n\nevcap train --data {PRIVATE}\n")
    checkpoint.push_to_hub("org/model", folder=tmp_path / "run", private=True)
    assert hub.repositories["org/model"].private
    _, pushed = hub.repositories["org/model"].at("main") or ("", {})
    assert all(b"anna" not in content for content in pushed.values())
    loaded = Checkpoint.from_pretrained("hf-hub:org/model")
    assert loaded.training["command"] == "evcap train --data EPAN"
    assert torch.equal(loaded.model.decoder.gates.weight.detach(), checkpoint.model.decoder.gates.weight.detach())


@pytest.mark.slow
def test_without_a_folder_the_checkpoint_itself_is_pushed(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", OWNER)
    checkpoint = made()
    address = checkpoint.push_to_hub("org/model")
    assert Checkpoint.from_pretrained(address).digest == checkpoint.digest


@pytest.mark.slow
def test_the_summary_of_training_videos_is_pushed_and_loaded(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", OWNER)
    made().push_to_hub("org/model")
    checkpoint = made()
    checkpoint.familiarity = summary()
    address = checkpoint.push_to_hub("org/model")  # over one that has none
    loaded = Checkpoint.from_pretrained(address)
    assert loaded.digest == checkpoint.digest
    assert loaded.familiarity is not None
    assert loaded.familiarity.tensors().keys() == checkpoint.familiarity.tensors().keys()
    made().push_to_hub("org/model")
    assert Checkpoint.from_pretrained(address).familiarity is None


@pytest.mark.slow
def test_a_revision_is_loaded_as_it_was_and_the_cache_serves_without_the_hub(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.put("org/model", files_of(folder))
    first = next(iter(hub.repositories["org/model"].commits))
    config = json.loads((folder / "config.json").read_text())
    config["beam"]["size"] = 2
    hub.put("org/model", {"config.json": json.dumps(config).encode()})
    assert Checkpoint.from_pretrained("hf-hub:org/model").beam.size == 2
    assert Checkpoint.from_pretrained(f"hf-hub:org/model@{first}").digest == Checkpoint.from_pretrained(folder).digest
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert Checkpoint.from_pretrained("hf-hub:org/model").beam.size == 2
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert Checkpoint.from_pretrained(f"hf-hub:org/model@{first}").beam.size == 3


@pytest.mark.parametrize(
    ("address", "token", "said"),
    [
        ("hf-hub:org/none", None, "no such repository, or a private one; check the name; for a private one log in"),
        ("hf-hub:org/none", OWNER, "no such repository, or your token may not read it"),
        ("hf-hub:org/hidden", None, "no such repository, or a private one"),
        ("hf-hub:org/gated", READER, "its owner grants access one by one; ask for it at http"),
        ("hf-hub:org/model@v9", None, "it has no revision 'v9'"),
        ("hf-hub:org/bert", None, "holds no checkpoint of evcap: vocabulary.json is not there"),
        ("hf-hub:org/weightless", None, "holds no checkpoint of evcap: model.safetensors is not there"),
        ("hf-hub:", None, "is no address on the hub"),
        ("hf-hub:a/b/c", None, "is no address on the hub"),
    ],
)
def test_what_cannot_be_loaded_is_one_line_with_the_next_step(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch, address: str, token: str | None, said: str
) -> None:
    files = files_of(folder)
    hub.put("org/model", files)
    hub.put("org/hidden", files, private=True)
    hub.put("org/gated", files, gated=True)
    hub.put("org/bert", {"config.json": b"{}", "model.safetensors": b"0" * 100})
    hub.put("org/weightless", {name: files[name] for name in FILES if name != "model.safetensors"})
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(CheckpointError) as caught:
        Checkpoint.from_pretrained(address)
    assert said in str(caught.value)
    assert str(caught.value).startswith(address)
    assert "\n" not in str(caught.value)
    assert not [line for line in hub.asked if line.startswith("GET /lfs/")], "weights of something else"


def test_a_damaged_file_of_the_hub_is_named_by_its_address(hub: Hub, folder: Path) -> None:
    hub.put("org/model", {**files_of(folder), "vocabulary.json": b"[]"})
    with pytest.raises(CheckpointError, match=r"^hf-hub:org/model"):
        Checkpoint.from_pretrained("hf-hub:org/model")


def test_without_an_answer_the_line_says_so_at_once(monkeypatch: pytest.MonkeyPatch, hub: Hub, folder: Path) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(CheckpointError, match=r"the hub does not answer .*refused.*copy the folder"):
        Checkpoint.from_pretrained("hf-hub:org/model")
    monkeypatch.setenv("HF_TOKEN", OWNER)
    with pytest.raises(UsageError, match="does not answer"):
        check_pushing("org/model")
    with pytest.raises(UploadError, match="cannot be pushed to") as caught:
        made().push_to_hub("org/model", folder=folder)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("name", "token", "said"),
    [
        ("org/model/x", OWNER, "cannot be a repository"),
        ("org/model", None, "there is no token to push to org/model with; log in with `hf auth login`"),
        ("org/model", "hf_old", "the hub does not know your token"),
    ],
)
def test_pushing_is_checked_before_training(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, name: str, token: str | None, said: str
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UsageError) as caught:
        check_pushing(name)
    assert said in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", OWNER)
    check_pushing("org/model")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "token", "said"),
    [
        ("org/model", None, "there is no token"),
        ("org/model", READER, "your token does not permit it"),
        ("org/bert", OWNER, "holds something else than a checkpoint of evcap"),
    ],
)
def test_a_refused_push_is_one_line_and_changes_nothing(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, token: str | None, said: str
) -> None:
    hub.put("org/bert", {"config.json": b"{}", "model.safetensors": b"0"})
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UploadError) as caught:
        made().push_to_hub(name, folder=folder)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(hub.repositories) == ["org/bert"]
    assert len(hub.repositories["org/bert"].commits) == 1


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("evcap train --data /home/anna/EPAN/ -o runs/7", "evcap train --data EPAN -o 7"),
        ("evcap train --weights clip=/home/anna/w.pt", "evcap train --weights clip=w.pt"),
        ("evcap train --data=/home/anna/EPAN --lr 0.1", "evcap train --data=EPAN --lr 0.1"),
        ("evcap train '--glove=C:\\anna\\my glove.txt'", "evcap train '--glove=my glove.txt'"),
        ("evcap train --appearance clip:ViT-L-14/openai", "evcap train --appearance clip:ViT-L-14/openai"),
        ("evcap train --weights x=hf-hub:org/x --push-to-hub org/m", None),
        ("evcap train --data ../..", "evcap train --data .."),
        ("/home/anna/bin/python train.py", "python train.py"),
    ],
)
def test_published_command_lines_name_no_place(command: str, shown: str | None) -> None:
    assert without_places(command) == (shown or command)


@pytest.mark.slow
def test_train_pushes_what_it_wrote_and_finds_a_missing_token_first(
    call: Call, root: Path, tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    given = arguments(root, run, "--no-test", "--epochs", 1, "--push-to-hub", "org/model")
    with pytest.raises(UsageError, match="no token"):
        call(*given)
    assert not run.exists()
    monkeypatch.setenv("HF_TOKEN", OWNER)
    monkeypatch.setattr(sys, "argv", ["evcap", *map(str, given)])
    assert "-c hf-hub:org/model -o out.srt" in call(*given).stderr
    pushed, here = Checkpoint.from_pretrained("hf-hub:org/model"), Checkpoint.from_pretrained(run)
    assert pushed.digest == here.digest
    assert f"--data {root.name} --recipe tiny.toml" in pushed.training["command"]
    _, files = hub.repositories["org/model"].at("main") or ("", {})
    assert sorted(files) == sorted([".gitattributes", *FILES, "README.md"])
    assert all(str(root.parent).encode() not in content for content in files.values())
