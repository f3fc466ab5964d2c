"""merge, report, plugins, doctor and the help texts."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from evcap_cli.app import build
from evcap_cli.commands.command_group import COMMANDS
from tests.commands.small import ROOT, evcap, start_evcap
from tests.output.test_formats import a_failure, a_record

Call = Callable[..., int]

IMPORTS = """
import sys
sys.path[:0] = [{root!r}, {plugins!r}]
from evcap_cli import app
assert app.run(["--help"]) == 0
heavy = {{"torch", "torchvision", "transformers", "av", "numpy", "jinja2", "pysubs2", "huggingface_hub"}}
commands = {{name for name in sys.modules if name.startswith(("evcap_cli.commands.", "evcap_experiments."))}}
assert commands == {{"evcap_cli.commands.command_group", "evcap_cli.commands.typed"}}, commands
found = (heavy | {{"pydantic", "annotated_types", "asyncio", "ssl"}}) & set(sys.modules)
assert not found, found
for command in {commands!r}:
    assert app.run([command, "--help"]) == 0, command
found = heavy & set(sys.modules)
assert not found, found
"""


@pytest.mark.slow
def test_no_help_text_loads_torch_and_evcaps_own_loads_no_command() -> None:
    code = IMPORTS.format(root=str(ROOT), plugins=str(ROOT / "plugins"), commands=list(COMMANDS))
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    for command in COMMANDS:
        assert f"Usage: evcap {command}" in ran.stdout


@pytest.mark.slow
def test_the_list_of_commands_says_of_each_what_its_help_begins_with() -> None:
    group: Any = typer.main.get_command(build())
    for name, command in group.commands.items():
        assert command.get_short_help_str(1000) == COMMANDS[name], name
    assert list(group.commands) == list(COMMANDS)


def test_commands_of_evcaps_own_plugin_stand_in_their_place(capfd: pytest.CaptureFixture[str]) -> None:
    assert evcap("--help") == 0
    listed = [line.split()[0] for line in capfd.readouterr().out.split("Commands:")[1].splitlines() if line.strip()]
    assert listed[listed.index("train") :][:4] == ["train", "reproduce", "study", "score"]


def test_merging_refuses_two_stories_of_one_video(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    one, two, out = (tmp_path / name for name in ("one.jsonl", "two.jsonl", "out.srt"))
    one.write_text(a_record().to_line() + "\n")
    two.write_text(a_record(text="something else").to_line() + "\n")
    assert evcap("merge", one, two, "-o", out) == 2
    assert "two.jsonl: v/a.mp4 is captioned here and, differently, in an earlier file" in capfd.readouterr().err
    two.write_text("{}\n")
    assert evcap("merge", one, two, "-o", out) == 2
    assert "two.jsonl: line 1" in capfd.readouterr().err
    two.write_text(a_failure("v/a.mp4").to_line() + "\n")
    for order in ((one, two), (two, one)):
        assert evcap("merge", *order, "-o", "-") == 0
        assert capfd.readouterr().out == one.read_text()


@pytest.mark.slow
def test_a_report_is_one_offline_page_that_shows_text_as_text(
    films: Path, caption: Call, capfd: pytest.CaptureFixture[str]
) -> None:
    assert caption(films, "-o", "out.jsonl", "--limit", "2") == 0
    with Path("out.jsonl").open("a") as file:
        hostile = '<script>alert(1)</script> " onload=x '
        file.write(a_record(f"{hostile}.mp4", text=hostile).to_line() + "\n" + a_failure().to_line() + "\n")
    capfd.readouterr()
    assert evcap("report", "out.jsonl", "-o", "page.html") == 0
    told = capfd.readouterr().err
    assert "2 of 4 videos are not where the records say" in told
    page = Path("page.html").read_text()
    assert "http" not in page
    assert page.count("<script>") == 1, "its own"
    assert "&lt;script&gt;alert(1)" in page
    assert page.count('src="data:image/jpeg;base64,') == 2
    assert "no frame decodes; check the file" in page
    assert evcap("report", "out.jsonl", "-o", "page.html", "--no-thumbnails") == 0
    assert "data:image" not in Path("page.html").read_text()
    assert evcap("report", "nowhere.jsonl") == 2


@pytest.mark.slow
def test_plugins_lists_what_is_installed(capfd: pytest.CaptureFixture[str]) -> None:
    assert evcap("plugins", "--json") == 0
    rows = {row["name"]: row for row in json.loads(capfd.readouterr().out)}
    for kind in ("appearance", "motion", "object", "audio"):
        row = rows[f"lite-{kind}"]
        assert (row["stream"], row["license"]) == (kind, "MIT")
        assert row["dim"] > 0
    assert {".srt", ".vtt", ".jsonl", ".tsv", ".html"} <= set(rows)
    assert evcap("plugins") == 0
    lines = capfd.readouterr().out.splitlines()
    assert any("lite-audio" in line and "audio" in line and "MIT" in line for line in lines)


def test_doctor_says_what_the_cpu_multiplies_bf16_with(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from evcap_cli.commands import doctor
    from evcap_cli.devices import bf16_units

    line = "bf16 matrix units of the CPU: "
    of_torch = bf16_units()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True, "amx_bf16": False, "sse": True})
    assert list(doctor._device())[1] == line + "avx512_bf16"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False, "sve_max_length": 32})
    assert list(doctor._device())[1] == line + "none, --dtype bf16 is slower there than fp32"
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # as in older versions
    if sys.platform == "linux":
        assert bf16_units() == of_torch
    else:
        assert bf16_units() == ""


@pytest.mark.parametrize(
    ("given", "expected"), [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "passive"}, "0")]
)
def test_threads_that_wait_leave_the_processor_to_others(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], expected: str
) -> None:
    """OpenMP itself says how long its threads wait, when torch loads it."""
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"OMP_DISPLAY_ENV": "verbose", **given}.items():
        monkeypatch.setenv(name, value)
    _, said = start_evcap("doctor").communicate(timeout=100)
    assert [line.split("=")[1].strip(" '") for line in said.splitlines() if "GOMP_SPINCOUNT" in line] == [expected]


REFILLING = """
import resource, sys
import numpy as np
from evcap_cli import app

app.run(sys.argv[1:])

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        np.ones(1 << 23)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
sys.stderr.write(f"{faults()}\\n")
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
@pytest.mark.parametrize(("given", "kept"), [({}, True), ({"MALLOC_TRIM_THRESHOLD_": "131072"}, False)])
def test_commands_use_freed_memory_again(given: dict[str, str], kept: bool) -> None:
    """64 MiB four times over: each page that comes from the system is a fault (with huge pages still 128)."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", REFILLING, "plugins"],
        env=environment | given,
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    assert (int(done.stderr.splitlines()[-1]) < 64) == kept


def test_bf16_without_units_works_and_costs_one_warning(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import torch

    from evcap_cli import devices

    cpu = torch.device("cpu")
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "7")  # and back to what it was, afterwards
    said = []
    for units in ("", "amx_bf16"):
        monkeypatch.setattr(devices, "bf16_units", lambda units=units: units)
        devices.prepare_bf16.cache_clear()
        assert [devices.choose_dtype("bf16", cpu) for _ in range(2)] == [torch.bfloat16] * 2
        assert devices.choose_dtype("auto", cpu) == devices.choose_dtype("fp32", cpu) == torch.float32
        said.append(capfd.readouterr().err.count("this CPU has no bf16 matrix units"))
    devices.prepare_bf16.cache_clear()
    assert said == [1, 0]
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "7"
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY")
    devices.prepare_bf16()
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == devices.BF16_PRODUCTS


def test_doctor_tells_what_is_wrong_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("evcap_cli.commands.doctor.find_spec", lambda _: None)
    monkeypatch.setattr("evcap_cli.checkpoints.checkpoint_files.files", lambda _: tmp_path)
    assert evcap("doctor") == 3
    lines = capfd.readouterr().out.splitlines()
    found = {line[9:].partition(":")[0]: line for line in lines}
    assert set(found) == {
        *("evcap", "libraries", "decoder", "device", "plugins", "demo checkpoint", "cache", "METEOR", "scenes"),
    }
    for name in ("evcap", "libraries", "decoder", "device", "plugins", "cache"):
        assert found[name].startswith("ok "), found[name]
    assert found["demo checkpoint"].startswith("PROBLEM ")
    assert found["METEOR"] == "optional METEOR: no Java, so METEOR stays empty in scores; pip install 'evcap[meteor]'"
    assert found["scenes"].endswith("pip install 'evcap[scenes]'")
