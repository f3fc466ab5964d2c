"""The report plays its videos: driven in a real browser, where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evcap_cli.output.html_report import video_links
from evcap_cli.output.records import Caption, Emotion, Record
from evcap_cli.output.rendering import write_files
from evcap_cli.output.writers import HtmlReport
from tests.features.films import make_film
from tests.output.test_formats import a_record

TEXTS = ["a dog runs <b>happily</b>", "a cat & a dog sit", "a man waves"]
NAME = "ünïcode & #1 100%.mp4"


def captions(seconds: float = 1.0) -> tuple[Caption, ...]:
    joy = Emotion("joy", 0.8, ("happily",), {"joy": 0.8, "fear": 0.2})
    return tuple(Caption(n * seconds, (n + 1) * seconds, text, -0.5, joy) for n, text in enumerate(TEXTS))


def written(folder: Path, records: list[Record]) -> Path:
    page = folder / "report.html"
    assert write_files([(page, HtmlReport())], records) == []
    return page


def wait(browser: Any, script: str) -> Any:
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 60).until(lambda found: found.execute_script(f"return {script}"))


def test_links_are_relative_to_the_page_and_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / NAME).write_bytes(b"video")
    monkeypatch.chdir(tmp_path)
    records = [a_record(f"videos/{NAME}", captions=captions()), a_record("videos/gone.mp4", captions=captions())]
    (tmp_path / "pages").mkdir()
    expected = "../videos/%C3%BCn%C3%AFcode%20%26%20%231%20100%25.mp4"
    assert video_links(records, tmp_path / "pages") == {0: expected}
    assert video_links(records, Path("pages")) == {0: expected}


def test_a_page_of_videos_that_are_gone_has_no_player(tmp_path: Path) -> None:
    page = written(tmp_path, [a_record("gone.mp4", captions=captions())]).read_text(encoding="utf-8")
    assert "data-video=" not in page.partition("<script>")[0]
    assert 'class="play"' not in page


@pytest.mark.slow
def test_a_click_on_a_caption_plays_the_video_there(browser: Any, tmp_path: Path) -> None:
    film = make_film(tmp_path / NAME, frames=60)
    browser.get(written(tmp_path, [a_record(str(film), captions=captions())]).as_uri())
    assert browser.execute_script("return document.querySelectorAll('video').length") == 0
    browser.find_elements("class name", "play")[1].click()
    assert wait(
        browser, "document.querySelector('video').currentTime >= 1 && document.querySelector('.speaking') !== null"
    )
    browser.execute_script("document.querySelector('video').pause()")
    # the cue being spoken is highlighted, and no other
    browser.execute_script("document.querySelector('video').currentTime = 2.5")
    assert wait(
        browser,
        "[...document.querySelectorAll('.caption')].map(c => c.classList.contains('speaking')).join()"
        " == 'false,false,true'",
    )
    cues = "document.querySelector('video').textTracks[0].cues"
    assert browser.execute_script(f"return [...{cues}].map(c => [c.startTime, c.endTime])") == [[0, 1], [1, 2], [2, 3]]
    shown = browser.execute_script(f"return [...{cues}].map(c => c.getCueAsHTML().textContent)")
    assert shown == TEXTS
    # a second click, on the timeline, moves the same player
    browser.execute_script("document.querySelector('rect').dispatchEvent(new MouseEvent('click', { bubbles: true }))")
    assert wait(
        browser, "document.querySelectorAll('video').length == 1 && document.querySelector('video').currentTime < 1"
    )
    errors = [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    assert errors == []


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["gone", "no video"])
def test_what_the_browser_cannot_play_leaves_the_page_as_it_was(browser: Any, tmp_path: Path, broken: str) -> None:
    film = make_film(tmp_path / "a.mp4", frames=30)
    page = written(tmp_path, [a_record(str(film), captions=captions(0.5))])
    film.unlink()
    if broken == "no video":
        film.write_bytes(b"no video at all")
    browser.get(page.as_uri())
    browser.find_elements("class name", "play")[0].click()
    assert wait(browser, "document.querySelector('.unplayable') !== null")
    assert browser.execute_script("return document.querySelectorAll('video, .speaking').length") == 0
    assert not browser.find_elements("class name", "play")[0].is_displayed()
    assert [text.text for text in browser.find_elements("class name", "text")] == TEXTS
