"""Every test has a cache of its own and quiet threads: nothing here may touch the user's files."""

from __future__ import annotations

import functools
import gc
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

# one thread: tests that fork a run (to kill it) would inherit a thread pool without its threads
os.environ["OMP_NUM_THREADS"] = "1"


# a shell lets what it starts with & ignore Ctrl-C, and nohup SIGHUP; children inherit that, and tests send both
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _source_tree_on_path() -> None:
    """Tests run from a checkout that was never installed, too."""
    root = Path(__file__).parents[1]
    if (root / "evcap_cli").is_dir():
        for place in (root, root / "plugins"):
            if str(place) not in sys.path:
                sys.path.insert(0, str(place))


_source_tree_on_path()

from evcap_cli import console  # noqa: E402

# tests call the command line many hundred times in one process, and each time typer reads the signatures of all
# commands again, which takes five times as long as all the rest of a call
typer.main.get_params_from_function = functools.cache(typer.main.get_params_from_function)

# what tests write need not outlive a power cut: a flush to the disk waits for it
os.fsync = os.fstat  # type: ignore[assignment]


@pytest.fixture(autouse=True)
def own_surroundings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No user cache, no data root, no debug traces, no network; messages are printed, as while a command runs."""
    monkeypatch.setattr(console, "_verbosity", console.NORMAL)
    monkeypatch.setenv("EVCAP_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("EVCAP_DATA", "EVCAP_PLUGINS", "EVCAP_DEBUG"):
        monkeypatch.delenv(name, raising=False)


def pytest_collection_finish() -> None:
    """What is loaded by now stays: the collector need not look at it each time, here and in forked processes."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real Chromium without a window."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs chromium and chromedriver (Debian: apt install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio"):
        options.add_argument(flag)
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield made
    made.quit()
