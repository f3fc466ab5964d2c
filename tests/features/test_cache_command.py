"""``evcap cache`` says what is there and removes what was requested."""

from __future__ import annotations

import json
import os

import pytest
import typer
from typer.testing import CliRunner

from evcap_cli.commands import cache as command
from evcap_cli.commands.options import parse_size
from evcap_cli.errors import UsageError
from evcap_cli.features.cache import FeatureCache
from tests.features.test_cache import ABOUT, KEY, OTHER, stream


@pytest.fixture
def call(tmp_path):
    app = typer.Typer()
    command.register(app)
    app.callback()(lambda: None)

    def run(*arguments):
        return CliRunner().invoke(app, ["cache", *arguments, "--cache-dir", str(tmp_path)], catch_exceptions=False)

    return run


def test_info_counts_and_verify_removes_damage(call, tmp_path):
    cache = FeatureCache(tmp_path)
    for key in (KEY, OTHER):
        cache.write_stream(key, ABOUT, stream())
    assert json.loads(call("info", "--json").stdout)["entries"] == 2
    assert "tiny: 2" in call("info").stdout
    cache.path_of(KEY).write_bytes(b"torn")
    assert "damaged: 1" in call("info").stdout
    assert call("verify").exit_code == 0
    assert [path.stem for path in cache.entries()] == [OTHER]


def test_prune_by_age_by_size_and_altogether(call, tmp_path):
    cache = FeatureCache(tmp_path)
    for key in (KEY, OTHER):
        cache.write_stream(key, ABOUT, stream())
    os.utime(cache.path_of(KEY), (0, 0))
    call("prune", "--older-than", "30d")
    assert [path.stem for path in cache.entries()] == [OTHER]
    call("prune", "--max-size", "1G")
    assert len(list(cache.entries())) == 1
    call("prune", "--all")
    assert not list(cache.entries())


def test_prune_without_a_rule_removes_nothing(call, tmp_path):
    FeatureCache(tmp_path).write_stream(KEY, ABOUT, stream())
    with pytest.raises(UsageError):
        call("prune")
    assert len(list(FeatureCache(tmp_path).entries())) == 1


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("2", 172800), ("1.5h", 5400), ("1w", 604800)])
def test_times(text, seconds):
    assert command.parse_span(text) == seconds


@pytest.mark.parametrize(("text", "size"), [("10", 10), ("2K", 2048), ("1.5GB", 3 * 2**29), ("1 tib", 2**40)])
def test_sizes(text, size):
    assert parse_size(text, "--max-size") == size


def test_nonsense_is_named():
    with pytest.raises(UsageError, match="soon"):
        command.parse_span("soon")
    with pytest.raises(UsageError, match="--max-size 'soon'"):
        parse_size("soon", "--max-size")
