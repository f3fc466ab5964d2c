"""evcap as a library: what scripts and notebooks import, and that it minds their program."""

from __future__ import annotations

import gc
import json
import logging
import os
import subprocess
import sys
import threading
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_type_hints

import jsonschema
import pytest

import evcap_cli as evcap
from evcap_cli import console
from evcap_cli.captioning.options import CaptionKeywords, CaptionOptions
from evcap_cli.features.options import FeatureKeywords, FeatureOptions, Sampling
from evcap_cli.features.sampling import SAMPLINGS
from tests.features.films import make_film

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("films")
    return [make_film(folder / f"{name}.mp4", frames=16, seed=number) for number, name in enumerate("ab")]


@pytest.fixture(scope="module")
def captioner(tmp_path_factory: pytest.TempPathFactory) -> evcap.Captioner:
    return evcap.load_captioner("demo", device="cpu", cache_dir=tmp_path_factory.mktemp("cache"))


def run_python(code: str) -> str:
    path = os.pathsep.join((str(ROOT), str(ROOT / "plugins")))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_importing_evcap_loads_neither_torch_nor_numpy_and_the_errors_neither() -> None:
    code = "import sys, evcap_cli; evcap_cli.WriteError, evcap_cli.FeatureOptions; dir(evcap_cli)"
    assert run_python(f"{code}; print({{'torch', 'numpy', 'av'}} & set(sys.modules))") == "set()\n"


@pytest.mark.slow
def test_every_public_name_is_there_and_is_listed() -> None:
    for name in evcap.__all__:
        assert getattr(evcap, name) is not None
    assert set(evcap.__all__) <= set(dir(evcap))
    assert sorted([*evcap._MODULES, "__version__", "hookimpl"]) == sorted(evcap.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Captionner'"):
        evcap.Captionner  # noqa: B018


def test_every_error_that_a_user_may_catch_is_public() -> None:
    from evcap_cli import errors

    tree = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, evcap.EvcapError)]
    assert {kind.__name__ for kind in tree} <= set(evcap.__all__)


@pytest.mark.parametrize(
    ("keywords", "options", "apart"),
    [(FeatureKeywords, FeatureOptions, set()), (CaptionKeywords, CaptionOptions, {"checkpoint"})],
)
def test_keyword_arguments_are_the_fields_of_the_options(keywords: type, options: type, apart: set[str]) -> None:
    assert get_type_hints(keywords).keys() | apart == {each.name for each in fields(options)}
    plain = get_type_hints(options)
    assert {name: plain[name] for name in get_type_hints(keywords)} == get_type_hints(keywords)


def test_the_samplings_are_those_that_there_are() -> None:
    assert get_args(Sampling) == tuple(SAMPLINGS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"workers": 0}, "workers"),
        ({"beam_size": -1}, "beam_size"),
        ({"dtype": "fp8"}, "fp8"),
        ({"timeout": "x"}, "timeout"),
    ],
)
def test_an_option_out_of_range_is_wrong_usage_before_anything_loads(options: dict[str, object], said: str) -> None:
    with pytest.raises(evcap.UsageError, match=said):
        evcap.load_captioner("demo", **options)


@pytest.mark.slow
def test_records_come_in_the_order_of_the_paths_and_a_bad_one_is_a_failed_record(
    captioner: evcap.Captioner, films: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    paths = [films[1], broken, tmp_path / "missing.mp4", tmp_path, films[0]]
    records = list(captioner.caption_many(paths))
    assert [record.path for record in records] == [path.as_posix() for path in paths]
    assert [record.status for record in records] == ["ok", "failed", "failed", "failed", "ok"]
    assert {record.error["code"] for record in records[1:4]} == {"open"}
    assert [captioner.caption(path) for path in (films[1], str(films[0]))] == [records[0], records[4]]


@pytest.mark.slow
def test_bf16_on_a_cpu_searches_in_bf16_and_records_say_so(
    captioner: evcap.Captioner, films: list[Path], tmp_path: Path
) -> None:
    half = evcap.load_captioner("demo", device="cpu", dtype="bf16", cache_dir=tmp_path)
    record, single = half.caption(films[0]), captioner.caption(films[0])
    assert record.checkpoint is not None
    assert single.checkpoint is not None
    assert record.checkpoint == {**single.checkpoint, "dtype": "bfloat16"}
    assert half.settings["dtype"] != captioner.settings["dtype"]
    jsonschema.validate(record.to_dict(), json.loads((ROOT / "docs" / "record.schema.json").read_text()))
    emotion, expected = record.captions[0].emotion, single.captions[0].emotion
    assert emotion is not None
    assert expected is not None
    # eight bits a number, some hundred products: a few hundredths of a probability
    assert emotion.probability == pytest.approx(expected.top[emotion.category], abs=0.05)
    assert record.captions[0].score != single.captions[0].score


@pytest.mark.slow
def test_two_threads_and_two_captioners_give_the_same_captions(
    captioner: evcap.Captioner, films: list[Path], tmp_path: Path
) -> None:
    expected = [record.captions for record in captioner.caption_many(films)]
    other = evcap.load_captioner("demo", device="cpu", cache_dir=tmp_path)
    found: dict[int, list[object]] = {}

    def work(number: int, used: evcap.Captioner) -> None:
        found[number] = [record.captions for record in used.caption_many(films)]

    threads = [threading.Thread(target=work, args=pair) for pair in enumerate((captioner, captioner, other))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(3), expected)


@pytest.mark.slow
def test_iterators_of_one_captioner_may_be_interleaved(captioner: evcap.Captioner, films: list[Path]) -> None:
    pairs = zip(captioner.caption_many(films), captioner.caption_many(reversed(films)), strict=True)
    names = [(Path(a.path).name, Path(b.path).name) for a, b in pairs]
    assert names == [("a.mp4", "b.mp4"), ("b.mp4", "a.mp4")]


@pytest.mark.slow
def test_a_dropped_iterator_leaves_no_thread_behind(films: list[Path], tmp_path: Path) -> None:
    before = set(threading.enumerate())
    captioner = evcap.load_captioner("demo", device="cpu", cache_dir=tmp_path, workers=1)
    records = captioner.caption_many(films * 2)
    next(records)
    del records
    features = evcap.extract_features(films, cache=False, device="cpu", workers=1)
    next(features)
    del features
    gc.collect()
    readers = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("evcap")]
    assert readers == []


@pytest.mark.slow
def test_the_library_prints_nothing_and_leaves_signals_alone(films: list[Path]) -> None:
    code = f"""
import signal, evcap_cli as evcap
before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
captioner = evcap.load_captioner("demo", device="cpu", cache=False)
assert captioner.caption({str(films[0])!r}).status == "ok"
assert captioner.caption("nowhere.mp4").status == "failed"
assert before == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
"""
    assert run_python(code) == ""


@pytest.mark.slow
def test_what_a_command_would_say_goes_to_the_logger(
    films: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(console, "_verbosity", console.LIBRARY)
    with caplog.at_level(logging.INFO, logger="evcap_cli"):
        list(
            evcap.extract_features(
                films[:1],
                backbones={"appearance": "resnet:resnet18"},
                weights={"resnet": "random:0"},
                device="cpu",
                cache=False,
            )
        )
    assert "resnet:resnet18 has random weights" in caplog.text
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_safe_run_writes_what_the_command_writes(
    captioner: evcap.Captioner, films: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.commands.small import evcap as command

    monkeypatch.chdir(tmp_path)
    seen: list[str] = []
    summary = evcap.caption_videos(
        films[0].parent, ["out.srt", Path("out.jsonl")], captioner=captioner, on_record=lambda r: seen.append(r.id)
    )
    assert (summary.total, summary.done, summary.failed, summary.unwritten) == (2, 2, 0, [])
    assert seen == ["a", "b"]
    assert command("caption", films[0].parent, "-o", "same.srt", "-o", "same.jsonl", "--device", "cpu") == 0
    for suffix in (".srt", ".jsonl"):
        assert Path(f"out{suffix}").read_bytes() == Path(f"same{suffix}").read_bytes()
    assert not Path("out.srt.partial").exists()


def test_a_safe_run_refuses_standard_output_options_of_another_and_nothing(
    captioner: evcap.Captioner, films: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(evcap.UsageError, match="caption_many"):
        evcap.caption_videos(films, "-", captioner=captioner)
    with pytest.raises(evcap.UsageError, match="beam_size"):
        evcap.caption_videos(films, tmp_path / "out.srt", captioner=captioner, beam_size=1)
    with pytest.raises(evcap.EvcapError, match="no video found"):
        evcap.caption_videos(tmp_path, tmp_path / "out.srt", captioner=captioner)


@pytest.mark.slow
def test_features_come_with_the_place_of_their_segment(films: list[Path]) -> None:
    found = list(evcap.extract_features(films, backbone="lite", segment="fixed:0.4", device="cpu"))
    assert [(path.name, features.start, features.duration) for path, features in found] == [
        ("a.mp4", 0.0, 0.4),
        ("a.mp4", 0.4, 0.4),
        ("b.mp4", 0.0, 0.4),
        ("b.mp4", 0.4, 0.4),
    ]
    assert set(found[0][1].streams) == {"appearance", "motion", "object", "audio"}
    appearance = found[0][1].streams["appearance"]
    assert len(appearance.values) == len(appearance.times) > 0


@pytest.mark.slow
def test_a_bad_video_ends_an_extraction_unless_somebody_takes_its_error(films: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    given = {"backbones": {"appearance": "lite-appearance"}, "device": "cpu"}
    with pytest.raises(evcap.OpenFailed, match=r"broken\.mp4"):
        list(evcap.extract_features([films[0], broken], **given))
    failed: dict[Path, evcap.EvcapError] = {}
    found = list(evcap.extract_features([broken, *films], on_error=failed.__setitem__, **given))
    assert sorted(path.name for path, _ in found) == ["a.mp4", "b.mp4"]
    assert [(path, problem.code) for path, problem in failed.items()] == [(broken, "open")]
    with pytest.raises(evcap.UsageError, match="no such file"):
        evcap.extract_features("nowhere.mp4", **given)
