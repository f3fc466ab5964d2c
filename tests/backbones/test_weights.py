"""Weights are drawn, read, checked and named by content; whatever is wrong with a file is one line and a next step."""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import tarfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from evcap_cli.backbones.weights import load_strictly, random_seed, read_legacy, read_tensors, seeded, state_digest
from evcap_cli.errors import EXIT_USAGE, PluginError, WeightsError


class Harmful:
    """What a pickle could do to whoever loads it."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.trace,)


def net(width: int = 3) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Conv2d(3, width, 2), torch.nn.BatchNorm2d(width), torch.nn.Linear(width, 2))


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    with seeded(1):
        return net().state_dict()


def line(caught: pytest.ExceptionInfo[WeightsError], *parts: object) -> str:
    text = str(caught.value)
    assert "\n" not in text
    assert ";" in text  # the next step
    for part in parts:
        assert str(part) in text
    return text


def test_weights_errors_end_a_command_before_it_works() -> None:
    assert issubclass(WeightsError, PluginError)
    assert (WeightsError.code, WeightsError.exit_code) == ("weights", EXIT_USAGE)


def test_a_seed_is_read_from_random_weights_only() -> None:
    assert random_seed("random:0") == 0
    assert random_seed(f"random:{2**63 - 1}") == 2**63 - 1
    assert random_seed(None) is None
    assert random_seed("/weights/random:1") is None
    assert random_seed("IMAGENET1K_V2") is None


@pytest.mark.parametrize("text", ["random:", "random:-1", "random:1.5", "random:one", "random: 1", f"random:{2**63}"])
def test_a_bad_seed_is_one_line(text: str) -> None:
    with pytest.raises(WeightsError) as caught:
        random_seed(text)
    line(caught, text, "random:0")


def test_a_draw_repeats_and_does_not_disturb_other_draws() -> None:
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    before = torch.rand(2)
    with seeded(3):
        first = torch.rand(8)
    with contextlib.suppress(KeyError), seeded(3):
        assert torch.equal(torch.rand(8), first)
        raise KeyError
    with seeded(4):
        assert not torch.equal(torch.rand(8), first)
    assert torch.equal(torch.cat([before, torch.rand(2)]), expected)


def test_safetensors_come_back_as_they_were_saved(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, tmp_path / "w.safetensors")
    read = read_tensors(str(tmp_path / "w.safetensors"))
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensor) and read[name].dtype == tensor.dtype for name, tensor in tensors.items())


@pytest.mark.parametrize("read", [read_tensors, read_legacy])
def test_files_that_are_not_weights_are_named(tmp_path: Path, read: object) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(WeightsError) as caught:
        read(path)  # type: ignore[operator]
    line(caught, path, "do not exist", "--weights")
    for content, part in ((b"", "empty"), (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull")):
        path.write_bytes(content)
        with pytest.raises(WeightsError) as caught:
            read(path)  # type: ignore[operator]
        line(caught, path, part)
    path.unlink()
    path.mkdir()
    with pytest.raises(WeightsError) as caught:
        read(path)  # type: ignore[operator]
    line(caught, path, "folder")


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.999])
def test_truncated_safetensors_are_refused(tmp_path: Path, tensors: dict[str, torch.Tensor], kept: float) -> None:
    path = tmp_path / "w.safetensors"
    save_file(tensors, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(WeightsError) as caught:
        read_tensors(path)
    line(caught, path, "not a whole safetensors file", "again")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_not_opened_where_safetensors_is_expected(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "net.pth"
    torch.save(net().state_dict(), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError) as caught:
        read_tensors(path)
    line(caught, path, "pickle", f"evcap weights import NAME {path} -o {tmp_path / 'net'}.safetensors")


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("zipped", [True, False])
def test_legacy_files_are_read_alone_or_under_state_dict(
    tmp_path: Path, tensors: dict[str, torch.Tensor], wrapped: bool, zipped: bool
) -> None:
    content = {"arch": "net", "epoch": 3, "optimizer": {"lr": 0.1}, "state_dict": tensors} if wrapped else tensors
    torch.save(content, tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    read = read_legacy(tmp_path / "net.pth")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())


def test_nothing_in_a_legacy_file_is_executed(tmp_path: Path) -> None:
    path, trace = tmp_path / "net.pth", tmp_path / "trace"
    for save in (lambda content: torch.save(content, path), lambda content: path.write_bytes(pickle.dumps(content))):
        save({"state_dict": {"weight": torch.zeros(2)}, "more": Harmful(trace)})
        with pytest.raises(WeightsError) as caught:
            read_legacy(path)
        line(caught, path, "executing")
        assert "weights_only" not in str(caught.value)  # no advice on how to switch the protection off
    assert not trace.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_legacy_files_are_refused(tmp_path: Path, tensors: dict[str, torch.Tensor], zipped: bool) -> None:
    path = tmp_path / "net.pth"
    torch.save(tensors, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    for kept in (0.1, 0.5, 0.95):
        path.write_bytes(content[: int(kept * len(content))])
        with pytest.raises(WeightsError) as caught:
            read_legacy(path)
        line(caught, path)


def test_legacy_files_without_tensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    for content, part in (
        ([1, 2], "no tensors"),
        ({}, "no tensors"),
        ({"state_dict": 3}, "no tensors"),
        ({"a": torch.zeros(1), "epoch": 3}, "'epoch'"),
    ):
        torch.save(content, path)
        with pytest.raises(WeightsError) as caught:
            read_legacy(path)
        line(caught, path, part, "state_dict")


def test_text_archives_and_programs_are_refused(tmp_path: Path) -> None:
    page, archive, program = tmp_path / "page.pth", tmp_path / "archive.pth", tmp_path / "program.pt"
    page.write_text("<html>404</html>")
    with tarfile.open(archive, "w") as tar:
        tar.add(page, "page")
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(program))
    for path in (page, archive, program):
        with pytest.raises(WeightsError) as caught:
            read_legacy(path)
        line(caught, path)
    with pytest.raises(WeightsError, match="a program rather than weights"):
        read_legacy(program)


def test_weights_that_fit_are_copied_in_the_models_own_format(tensors: dict[str, torch.Tensor]) -> None:
    model = net().to(torch.float16)
    load_strictly(model, tensors, source="w")
    assert all(
        torch.equal(tensor, tensors[name].to(tensor.dtype)) and tensor.dtype in (torch.float16, torch.int64)
        for name, tensor in model.state_dict().items()
    )


def test_files_older_than_the_counters_of_batches_load(tensors: dict[str, torch.Tensor]) -> None:
    model = net()
    old = {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}
    assert len(old) == len(tensors) - 1
    load_strictly(model, old, source="w")
    assert torch.equal(model.state_dict()["0.weight"], tensors["0.weight"])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(tensors: dict[str, torch.Tensor], value: float) -> None:
    changed = {name: tensor.clone() for name, tensor in tensors.items()}
    changed["2.weight"][1, 2] = value
    with pytest.raises(WeightsError) as caught:
        load_strictly(net(), changed, source="net.safetensors")
    line(caught, "net.safetensors", "2.weight", "not a finite number")


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_whole_numbers_are_no_weights(tensors: dict[str, torch.Tensor], dtype: torch.dtype) -> None:
    changed = {**tensors, "2.bias": tensors["2.bias"].to(dtype)}
    with pytest.raises(WeightsError) as caught:
        load_strictly(net(), changed, source="net.safetensors")
    line(caught, "2.bias", dtype, torch.float32)


@pytest.mark.parametrize("read", [read_tensors, read_legacy])
def test_a_pipe_or_device_in_place_of_weights_is_refused_without_waiting(tmp_path: Path, read: object) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "device.safetensors").symlink_to("/dev/zero")
    for kind in ("pipe", "device"):
        with pytest.raises(WeightsError) as caught:
            read(tmp_path / f"{kind}.safetensors")  # type: ignore[operator]
        line(caught, f"{kind}.safetensors", f"is a {kind}, not a file")


def test_weights_of_another_architecture_are_named_with_numbers(tensors: dict[str, torch.Tensor]) -> None:
    model = net()
    before = state_digest(model.state_dict())
    shorter = {name: tensor for name, tensor in tensors.items() if not name.startswith("0.")}
    longer = {**tensors, "fc.bias": torch.zeros(3), "fc.weight": torch.zeros(3, 3)}
    wider = net(4).state_dict()
    for wrong, parts in (
        (shorter, ["lacks 0.bias and 1 more"]),
        (longer, ["unknown fc.bias and 1 more"]),
        (wider, ["0.bias has shape (4,), not (3,) and 6 more"]),
        ({"other": torch.zeros(1)}, ["lacks 0.bias and 7 more", "unknown other"]),
    ):
        with pytest.raises(WeightsError) as caught:
            load_strictly(model, wrong, source="some/w.safetensors")
        line(caught, "some/w.safetensors", "another architecture", *parts)
    assert state_digest(model.state_dict()) == before  # nothing was half loaded


def test_a_digest_names_content_and_nothing_else(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    digest = state_digest(tensors)
    assert len(digest) == 32
    assert state_digest(dict(reversed(tensors.items()))) == digest
    save_file(tensors, tmp_path / "w.safetensors")
    shutil.copy(tmp_path / "w.safetensors", tmp_path / "elsewhere.safetensors")
    assert state_digest(read_tensors(tmp_path / "elsewhere.safetensors")) == digest
    strided = {name: tensor.t().contiguous().t() if tensor.ndim == 2 else tensor for name, tensor in tensors.items()}
    assert state_digest(strided) == digest

    name = "2.weight"
    nudged, renamed = tensors[name].clone(), dict(tensors)
    nudged[0, 0] += 1
    renamed["2.wei"] = renamed.pop(name)
    changed = (
        {**tensors, name: nudged},
        {**tensors, name: tensors[name].reshape(3, 2)},
        {**tensors, name: tensors[name].view(torch.int32)},
        renamed,
        {**tensors, "empty": torch.zeros(0, 4)},
    )
    assert len({digest, *map(state_digest, changed)}) == 1 + len(changed)


def test_every_number_format_has_a_digest() -> None:
    formats = (torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64)
    digests = {state_digest({"a": torch.ones(2, 3).to(dtype), "b": torch.tensor(1).to(dtype)}) for dtype in formats}
    assert len(digests) == len(formats)
