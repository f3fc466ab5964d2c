"""A plugin affects nothing but what it offers: not other commands, not the data on standard output, not exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from evcap_cli.errors import EXIT_NOTHING_DONE, EXIT_SOME_FAILED, EXIT_USAGE
from tests.features.films import make_film
from tests.test_plugins import GOOD, evcap, install, run_code, run_code_afresh

HEAD = "import os, sys\nfrom evcap_cli import hookimpl\n"
HOOKS = ("register_backbones", "register_systems", "register_captioners", "register_writers", "register_metrics")
ENDS = (
    "sys.exit(4)",
    "sys.exit()",
    "raise SystemExit('over')",
    "raise KeyboardInterrupt",
    "raise GeneratorExit",
    "raise BaseException('base')",
)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "site"


@pytest.fixture(autouse=True)
def _made(site: Path) -> None:
    site.mkdir()


def commands(body: str) -> str:
    return f"{HEAD}@hookimpl\ndef register_commands(app):\n" + "".join(f"    {line}\n" for line in body.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS)
def test_a_plugin_that_ends_the_program_is_named_and_skipped(site: Path, end: str) -> None:
    for number, source in enumerate(
        [
            f"import sys\n{end}",
            commands(end),
            *(f"{HEAD}@hookimpl\ndef {hook}(register):\n    {end}" for hook in HOOKS),
        ]
    ):
        install(site, f"evcap-leaves{number}", f"evcap_leaves{number}", source)
    done = evcap(site, "--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, "evcap")
    lines = done.stderr.splitlines()
    assert len(lines) == len(HOOKS) + 2
    for number in range(6):
        assert sum(f"evcap-leaves{number} " in line or f"evcap-leaves{number}:" in line for line in lines) == 1


CHANGES = {
    "takes": "@app.command()\ndef merge(x: str = ''): print('mine')",
    "takes one of evcap's own plugin": "@app.command()\ndef study(x: str = ''): print('mine')",
    "group": "import typer\napp.add_typer(typer.Typer(), name='merge')",
    "nameless": "import typer\nt = typer.Typer()\nt.command('merge')(lambda: print('mine'))\napp.add_typer(t)",
    "removes": "app.registered_commands.clear()\napp.registered_groups.clear()",
    "replaces": "for c in app.registered_commands: c.callback = lambda: print('mine')",
    "hides": "for c in app.registered_commands: c.hidden = True",
    "nested": "app.registered_groups[0].typer_instance.command('info')(lambda: print('mine'))",
    "callback": "@app.callback()\ndef main(version: bool = False): print('mine')",
    "unbuildable": "@app.command()\ndef odd(x: int | bytes = 3): ...",
    "no class": "@app.command(cls=int)\ndef odd(): ...",
    "no number": "app.registered_commands.append(3)",
}


WITHOUT_EFFECT = ("removes", "replaces", "hides", "callback")


@pytest.fixture(scope="module")
def helps(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], str]:
    """Help texts of evcap without plugins."""
    nothing = tmp_path_factory.mktemp("nothing")
    pages = (("merge", "--help"), ("cache", "info", "--help"), ("--help",))
    return {page: evcap(nothing, *page, EVCAP_PLUGINS="").stdout for page in pages}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_commands_of_evcap_cannot_be_taken_removed_or_broken(
    site: Path, change: str, helps: dict[tuple[str, ...], str]
) -> None:
    install(site, "evcap-bad", "evcap_bad", commands(CHANGES[change]))
    for arguments, plain in helps.items():
        done = evcap(site, *arguments)
        assert (done.returncode, done.stdout) == (0, plain)
        if change in WITHOUT_EFFECT:
            assert done.stderr == ""
            continue
        (line,) = done.stderr.splitlines()
        assert line.startswith("warning: ")
        assert "evcap-bad" in line


@pytest.mark.slow
def test_a_command_of_two_plugins_names_both_and_runs_neither(site: Path) -> None:
    one = "import typer\nt = typer.Typer()\nt.command('go')(lambda: print('mine'))\n"
    install(site, "evcap-one", "evcap_one", commands(f"{one}app.add_typer(t, name='paint')"))
    install(site, "evcap-two", "evcap_two", commands("@app.command()\ndef paint(x: str = ''): print('mine')"))
    done = evcap(site, "paint", "go", "--help")
    assert (done.returncode, done.stdout) == (EXIT_USAGE, "")
    lines = done.stderr.splitlines()
    assert [line.split(":")[0] for line in lines] == ["warning", "error"]
    for line in lines:
        assert "'paint' is offered by both evcap-one and evcap-two" in line
    assert evcap(site, "paint", EVCAP_PLUGINS="evcap-two").stdout == "mine\n"


def test_what_evcap_brings_itself_cannot_be_disabled_by_its_name(site: Path) -> None:
    install(site, "evcap-rival", "evcap_rival", GOOD.format(name="lite-appearance"))
    done = run_code(site, "from evcap_cli import plugins; print(plugins.backbone_class('lite-appearance').__module__)")
    assert done.stdout.startswith("evcap_backbones.lite")
    assert "evcap-rival" in done.stderr


TALKS = (
    "print('talk'); os.write(1, b'talk'); os.system('echo talk'); sys.__stdout__.write('talk'); sys.__stdout__.flush()"
)


@pytest.mark.slow
def test_only_data_comes_out_of_standard_output_whatever_a_plugin_prints(site: Path, tmp_path: Path) -> None:
    source = (
        GOOD.format(name="grid").replace("...", TALKS).replace("        return", f"        {TALKS}\n        return")
    )
    late = "import atexit\natexit.register(lambda: print('talk'))\n"
    install(site, "evcap-grid", "evcap_grid", f"import os, sys\n{TALKS}\n{late}{source}    {TALKS}\n")
    program = [sys.executable, "-m", "evcap_cli"]
    code = f"import subprocess; r = subprocess.run({program!r} + ARGUMENTS); raise SystemExit(r.returncode)"
    film = make_film(tmp_path / "a.mp4", frames=4)
    for arguments in (
        ["plugins", "--json"],
        ["extract", str(film), "--appearance", "grid", "--cache-dir", str(tmp_path / "cache")],
    ):
        done = run_code_afresh(site, code.replace("ARGUMENTS", repr(arguments)))
        assert done.returncode == 0, done.stderr
        assert "talk" in done.stderr
        assert "talk" not in done.stdout
        if "--json" in arguments:
            assert any(row["name"] == "grid" for row in json.loads(done.stdout))
        else:
            assert done.stdout == ""


@pytest.mark.slow
def test_a_plugin_cannot_move_evcap_elsewhere_or_take_its_streams(site: Path) -> None:
    body = "os.chdir('/'); sys.stdout = sys.stderr = None; sys.stdin = 3"
    source = f"{HEAD}import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n{body}\n"
    install(site, "evcap-moves", "evcap_moves", source)
    here = "import os, signal, sys; here = os.getcwd(); from evcap_cli import plugins; plugins.registry(); "
    here += "print(os.getcwd() == here, signal.getsignal(signal.SIGINT) is signal.default_int_handler, sys.stdin.name)"
    assert run_code_afresh(site, here).stdout.split() == ["True", "True", "<stdin>"]


@pytest.mark.parametrize("place", ["load", "extract", "spec_for", "weights_source"])
@pytest.mark.slow
def test_a_backbone_that_ends_the_program_is_an_error_of_its_own(site: Path, tmp_path: Path, place: str) -> None:
    film = make_film(tmp_path / "a.mp4", frames=4)
    source = GOOD.format(name="grid").replace("Grid(Backbone)", "Base(Backbone)").replace("(Grid)", "(Grid)")
    made = {
        "load": "    def load(self, weights, device, dtype): sys.exit(0)\n",
        "extract": "    def extract(self, batch): sys.exit(0)\n",
        "spec_for": "    @classmethod\n    def spec_for(cls, variant, options): sys.exit(0)\n",
        "weights_source": "    def weights_source(self): sys.exit(0)\n",
    }[place]
    head, tail = source.split("@hookimpl")
    install(site, "evcap-grid", "evcap_grid", f"import sys\n{head}class Grid(Base):\n{made}\n@hookimpl{tail}")
    done = evcap(site, "extract", film, "--appearance", "grid", "--cache-dir", tmp_path / "cache")
    listed = evcap(site, "plugins")
    assert "grid" in listed.stdout
    if place == "weights_source":  # it loads all the same
        assert done.returncode == 0
        assert "sys.exit(0)" in listed.stdout
        return
    assert done.returncode in (1, 2)
    assert "grid" in done.stderr
    assert "sys.exit(0)" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_real_interrupt_passes_through_plugins(site: Path) -> None:
    install(site, "evcap-slow", "evcap_slow", "import os, signal\nos.kill(os.getpid(), signal.SIGINT)")
    done = evcap(site, "--version")
    assert done.returncode == 130
    assert done.stderr == "interrupted\n"


WRITER = """
from evcap_cli import hookimpl
class W:
    suffix, description = ".lines", "captions"
    def render(self, records): return BODY
@hookimpl
def register_writers(register): register(W())
"""
FAILS = {
    "1": "TypeError: it made a int",
    "__import__('sys').exit(0)": "RuntimeError: it called sys.exit(0)",
    "self.render(records)": "RecursionError",
}


@pytest.mark.slow
def test_a_writer_that_fails_loses_its_own_output_only(site: Path, tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.mp4", frames=4)
    install(site, "evcap-writes", "evcap_writes", WRITER.replace("BODY", "records[99].id"))
    out = tmp_path / "out"
    given = ("-o", out / "a.lines", "-o", out / "a.srt", "-o", out / "a.jsonl", "-o", "-")
    done = evcap(site, "caption", film, *given, "--cache-dir", tmp_path / "cache")
    assert done.returncode == EXIT_SOME_FAILED
    assert done.stdout == (out / "a.jsonl").read_text() != ""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert f"{out / 'a.lines'}: is not written: the format .lines of evcap-writes failed (IndexError" in line
    assert {path.name for path in out.iterdir()} == {"a.srt", "a.jsonl", "a.lines.partial"}
    merged = evcap(site, "merge", out / "a.jsonl", "-o", out / "b.lines", "-o", out / "b.srt")
    assert merged.returncode == EXIT_SOME_FAILED
    assert (out / "b.srt").read_text() == (out / "a.srt").read_text()
    assert evcap(site, "merge", out / "a.jsonl", "-o", out / "b.lines").returncode == EXIT_NOTHING_DONE
    tree = evcap(site, "caption", film, "-o", f"{out}/tree/", "--format", "lines", "--cache-dir", tmp_path / "cache")
    assert tree.returncode == EXIT_NOTHING_DONE
    assert "evcap-writes" in tree.stderr
    # mended, the next run captions nothing again
    (site / "evcap_writes.py").write_text(WRITER.replace("BODY", "'fine'"))
    again = evcap(site, "caption", film, *given, "--cache-dir", tmp_path / "cache")
    assert again.returncode == 0, again.stderr
    assert "(1 from an earlier run)" in again.stderr
    assert (out / "a.lines").read_text() == "fine"
    for number, body in enumerate(FAILS):
        source = WRITER.replace("BODY", body).replace('".lines"', f'".lines{number}"')
        install(site, f"evcap-writes{number}", f"evcap_writes{number}", source)
    targets = [out / f"c.lines{number}" for number in range(len(FAILS))]
    given = tuple(part for target in (*targets, out / "c.srt") for part in ("-o", target))
    several = evcap(site, "merge", out / "a.jsonl", *given)
    assert several.returncode == EXIT_SOME_FAILED
    assert (out / "c.srt").read_text() == (out / "a.srt").read_text()
    for number, (target, said) in enumerate(zip(targets, FAILS.values(), strict=True)):
        line = f"{target}: is not written: the format .lines{number} of evcap-writes{number} failed ({said}"
        assert line in several.stderr
        assert not target.exists()
