"""The page: whole HTML, nothing from elsewhere, every word and number in it, hostile text as text."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from evcap_cli.explaining.clip_trace import trace_clip
from evcap_cli.explaining.explain_page import FILM_FRAMES, distributions, film, percent, points, render
from evcap_cli.explaining.explain_video import ExplainedVideo
from evcap_cli.explaining.trace_values import ClipTrace
from evcap_cli.output.html_report import Picture
from tests.explaining.test_clip_trace import BEAM, CLIP, LEXICON, fusion, of
from tests.network import small
from tests.systems.small import system

VOID = {"meta", "img", "br", "link", "input", "hr"}
PICTURE = Picture("data:image/jpeg;base64,AAAA", 8, 6)


class Page(HTMLParser):
    """Tags that close in the right order, attributes by name, text, and what would be loaded."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and "style" not in self.open:
            self.text.append(data.strip())

    def numbers(self, attribute: str) -> list[float]:
        return [float(values[attribute] or "") for _, values in self.tags if attribute in values]

    def addresses(self) -> list[str]:
        names = ("src", "href", "srcset", "xlink:href", "data", "action")
        return [str(values[name]) for _, values in self.tags for name in names if name in values]


def self_contained(text: str) -> Page:
    page = Page(text)
    assert text.startswith("<!doctype html>")
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.addresses())
    lowered = text.lower()
    assert not [bad for bad in ("http:", "https:", "@import", "url(", "<script", "<link", "<iframe") if bad in lowered]
    assert not [name for _, values in page.tags for name in values if name.startswith("on")]
    return page


def explained(trace: ClipTrace, name: str = "films/a.mp4") -> ExplainedVideo:
    moments = dict.fromkeys(range(len(trace.moments)), PICTURE)
    objects = dict.fromkeys(range(len(trace.objects or ())), PICTURE)
    return ExplainedVideo(name, 4.0, trace, moments, objects)


@pytest.mark.slow
def test_every_word_stands_on_the_page_with_its_attention_and_its_objects() -> None:
    checkpoint = of(fusion())
    trace = trace_clip(checkpoint, CLIP, BEAM)
    page = self_contained(render(explained(trace), checkpoint))
    for word in trace.words:
        assert word.text in page.text
    attention, objects = page.numbers("data-attention"), page.numbers("data-object")
    assert attention == pytest.approx([w for word in trace.words for w in word.attention or ()], abs=1e-6)
    for values, size in ((attention, 3), (objects, 2)):
        assert len(values) == size * len(trace.words)
        for first in range(0, len(values), size):
            assert sum(values[first : first + size]) == pytest.approx(1, abs=1e-5)
    assert sum(page.numbers("data-by-appearance")) == pytest.approx(1, abs=1e-5)
    assert sum(page.numbers("data-by-motion")) == pytest.approx(1, abs=1e-5)
    # picture, sound, reported
    assert sum(page.numbers("data-share")) == pytest.approx(3, abs=1e-4)
    assert sum(tag == "img" for tag, _ in page.tags) == 3 + len(trace.words) + 2


def test_a_distribution_keeps_its_sum_where_few_categories_are_shown() -> None:
    names = [f"c{number}" for number in range(34)]
    low = [0.01] * 34
    picture, sound = [*low], [*low]
    picture[3] = sound[30] = 1 - 33 * 0.01
    made = trace_clip(of(fusion()), CLIP, BEAM)
    branches = tuple(replace(b, categories=tuple(r)) for b, r in zip(made.branches, (picture, sound), strict=True))
    mean = tuple((a + b) / 2 for a, b in zip(picture, sound, strict=True))
    found = distributions(replace(made, branches=branches, categories=mean), names)
    assert [each.title for each in found] == ["The picture", "The sound", "Reported: the mean of those that count"]
    assert {"c3", "c30"} == {name for name, _ in found[2].bars[:2]}
    for each in found:
        assert len(each.bars) + each.rest == 34
        assert [name for name, _ in each.bars] == [name for name, _ in found[0].bars]


@pytest.mark.parametrize("module", ["fine_grained", "audio_visual"])
def test_what_is_off_is_said_and_not_drawn(module: str) -> None:
    checkpoint = of(fusion(**{module: False}))
    trace = trace_clip(checkpoint, CLIP, BEAM)
    page = self_contained(render(explained(trace), checkpoint))
    assert trace.lacks[0] in page.text
    letter = {"fine_grained": "B", "audio_visual": "A"}[module]
    assert not any(text.startswith(f"Module {letter}:") for text in page.text)
    assert any(f"{letter} (" in text and " off" in text for text in page.text)
    assert ("Objects" in page.text) == (module == "audio_visual")
    assert ("The sound" in page.text) == (module == "fine_grained")


@pytest.mark.parametrize("name", ["epan", "sa-lstm"])
def test_another_system_gets_a_page_of_what_it_has(name: str) -> None:
    checkpoint = of(system(name).float(), name)
    trace = trace_clip(checkpoint, CLIP, BEAM)
    page = self_contained(render(explained(trace), checkpoint))
    assert trace.lacks[0] in page.text
    assert ("The picture" in page.text) == (name == "epan")
    assert not page.numbers("data-attention")


def test_an_empty_caption_and_a_clip_of_one_moment_without_anything_else() -> None:
    model = fusion()
    model.decoder.output.bias.data[2] += 50
    checkpoint = of(model)
    trace = trace_clip(checkpoint, small.clip(1, 0, 0), BEAM)
    assert trace.hypothesis.tokens == ()
    page = self_contained(render(ExplainedVideo("a.mp4", 0.04, trace, {}, {}), checkpoint))
    assert "(an empty caption)" in page.text
    assert set(trace.lacks) <= set(page.text)


@pytest.mark.slow
def test_text_is_shown_as_text() -> None:
    hostile = '<script>alert(1)</script>"onload=x.mp4'
    checkpoint = of(fusion())
    made = explained(trace_clip(checkpoint, CLIP, BEAM), hostile)
    page = self_contained(render(replace(made, warnings=("<b>odd</b>",)), checkpoint))
    assert any(hostile in text for text in page.text)
    assert "<b>odd</b>" in page.text


@pytest.mark.slow
def test_emotion_words_of_the_lexicon_are_marked() -> None:
    checkpoint = of(fusion())
    made = trace_clip(checkpoint, CLIP, BEAM)
    words = tuple(replace(word, text="c" if number == 0 else word.text) for number, word in enumerate(made.words))
    page = self_contained(render(explained(replace(made, words=words)), checkpoint))
    assert [values["title"] for tag, values in page.tags if tag == "mark" and "title" in values] == ["fear"]
    assert LEXICON.categories[1] == "fear"


@pytest.mark.parametrize("count", [1, 7, 10, 25, 30])
def test_the_film_covers_each_moment_once(count: int) -> None:
    frames = film(tuple(float(number) for number in range(count)), {0: PICTURE})
    assert len(frames) == min(count, FILM_FRAMES)
    assert sum(frame.span for frame in frames) == count
    at = 0
    for frame in frames:
        assert at <= frame.seconds < at + frame.span
        at += frame.span


def test_numbers_for_people() -> None:
    texts = [percent(share).replace("\N{NO-BREAK SPACE}", " ") for share in (1, 0.344, 0.01, 0.004, 0.0001, 0)]
    assert texts == ["100 %", "34 %", "1 %", "0.4 %", "< 0.1 %", "< 0.1 %"]
    assert points((0.0, 0.5, 1.0), 600, 100) == "0.0,100.0 300.0,50.0 600.0,0.0"
    assert points((0.25,), 600, 100) == "0.0,75.0 600.0,75.0"
