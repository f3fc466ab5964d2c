"""``report.html`` of a run: what training keeps for it, what it shows, and that it never costs the run."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from evcap_cli.data.caption_text import tokens
from evcap_cli.data.lexicon import Lexicon
from evcap_cli.output.html_report import Picture
from evcap_cli.training import run_page, shown_clips
from evcap_cli.training.loop import Loop
from evcap_cli.training.run_charts import charts, ticks
from evcap_cli.training.run_page import LogEntry, RunRecord, confusion_table, parts, read_run, render_run, write_page
from evcap_cli.training.shown_clips import NO_EMOTION, ShownClip, ShownClips, confusion, shown_caption, shown_clip
from evcap_cli.training.trainer import Trainer, TrainResult
from tests.commands.small import evcap
from tests.training import toy

HOSTILE = (
    "<script>document.title='owned'</script> & \"happy\" ünïcode 🎬 <img src=http://example.com/x.png onerror=alert(1)>"
)
PIXEL = Picture("data:image/jpeg;base64,/9j/4AAQSkZJRg==", 16, 9)


def train(run: Path, *, videos: int = 18, **train: Any) -> TrainResult:
    values = {"epochs": 3, "val_share": 0.34, "learning_rate": 3e-2, **train}
    return Trainer(
        toy.recipe(**values), toy.captions(videos), toy.LEXICON, toy.source(videos), run, tensorboard=False
    ).fit()


class Tags(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def without_times(page: str) -> str:
    """A page without its section of times."""
    return page.partition('<section id="parts">')[0]


def record(**changes: Any) -> RunRecord:
    """A small run of two epochs."""
    values: dict[str, Any] = {
        "name": "a run",
        "history": [
            LogEntry(1, {"total": 3.0, "cross_entropy": 2.5}, best=True, select="cfs", validation={"cfs": 20.0}),
            LogEntry(2, {"total": 2.0, "cross_entropy": 1.5}, select="cfs", validation={"cfs": 10.0}),
        ],
        "best_epoch": 1,
        "planned": 2,
    }
    return RunRecord(**{**values, **changes})


def shown(caption: str = "a sad happy man", video: str = "vid", picture: Picture | None = None) -> dict[str, Any]:
    """One held-out clip with its caption of both epochs."""
    references = [HOSTILE, "the man is happy", "a sad man"]
    clip = shown_clip(video, references[:2], toy.LEXICON)
    return {
        "shown": ShownClips([ShownClip(video, clip.references, clip.category, clip.emotion_words, picture)], 5),
        "captions": [
            shown_caption(1, video, caption, references[:2], toy.LEXICON),
            shown_caption(2, video, "a man", references[:2], toy.LEXICON),
        ],
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed, with self-critical epochs."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train(run, self_critical_epochs=1)
    return run


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Weights of a run of two epochs."""
    run = tmp_path_factory.mktemp("plain") / "run"
    train(run, epochs=2)
    return (run / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_training_writes_the_page_that_report_makes_again(whole: Path, tmp_path: Path) -> None:
    page = (whole / "report.html").read_bytes()
    (whole / "report.html").unlink()
    assert evcap("report", whole) == 0
    assert (whole / "report.html").read_bytes() == page
    assert evcap("report", whole, "-o", tmp_path / "elsewhere.html") == 0
    assert (tmp_path / "elsewhere.html").read_bytes() == page


@pytest.mark.slow
def test_the_page_shows_what_the_log_says(whole: Path) -> None:
    log = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    text = (whole / "report.html").read_text()
    best = max(entry["epoch"] for entry in log if entry["best"])
    assert f'<dd id="chosen">{best}, chosen by CFS' in text
    for entry in log:
        assert f"<title>epoch {entry['epoch']}: CFS {entry['validation']['cfs']:.4g}</title>" in text
        drawn = f"<title>epoch {entry['epoch']}: total {entry['loss']['total']:.4g}</title>"
        assert (drawn in text) == ("phase" not in entry), "the loss of self-critical epochs is another one"
    assert f"<title>epoch {log[-1]['epoch']}: reward {log[-1]['reward']:.4g}</title>" in text
    assert "self-critical epochs (1)" in text
    assert "their videos" in text, "there are no pictures, and the page says why"


@pytest.mark.slow
def test_a_resumed_run_has_the_page_of_an_unbroken_one(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended before, within and after the third epoch; captions that the folder kept too early are dropped."""
    step = Loop._step

    def stops(self: Loop, batch: Any, rate: float, epoch: int, number: int) -> Any:
        if epoch == 2 and number == 1:
            raise KeyboardInterrupt
        return step(self, batch, rate, epoch, number)

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_step", stops)
        with pytest.raises(KeyboardInterrupt):
            train(run, self_critical_epochs=1)
    half = (run / "validation/captions.jsonl").read_text()
    assert {json.loads(line)["epoch"] for line in half.splitlines()} == {1, 2}
    early = half.splitlines()[-1].replace('"epoch": 2', '"epoch": 3')
    (run / "validation/captions.jsonl").write_text(half + early + "\n")  # as a kill before the state leaves them
    train(run, self_critical_epochs=1)
    for name in ("validation/captions.jsonl", "validation/clips.json"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    assert without_times((run / "report.html").read_text()) == without_times((whole / "report.html").read_text())


@pytest.mark.slow
def test_what_is_kept_is_bounded_and_drawn_by_the_seed(tmp_path: Path) -> None:
    train(tmp_path, videos=60, epochs=1, val_share=0.5)
    kept = json.loads((tmp_path / "validation/clips.json").read_text())
    names = [clip["video_id"] for clip in kept["clips"]]
    assert (len(names), kept["of"]) == (shown_clips.SHOWN, 30)
    assert all(len(clip["references"]) == 2 for clip in kept["clips"])
    lines = [json.loads(line) for line in (tmp_path / "validation/captions.jsonl").read_text().splitlines()]
    assert [line["video_id"] for line in lines] == names
    videos = [f"v{number}" for number in range(100)]
    assert shown_clips.chosen(videos, 1) == shown_clips.chosen(videos, 1)
    assert shown_clips.chosen(videos, 1) != shown_clips.chosen(videos, 2)
    assert shown_clips.chosen(videos[:3], 1) == videos[:3]


@pytest.mark.slow
@pytest.mark.parametrize("fails", ["folder", "template", "clips"])
def test_a_page_that_cannot_be_written_never_ends_training(
    plain: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], fails: str
) -> None:
    if fails == "folder":
        (tmp_path / "run/report.html/in the way").mkdir(parents=True)
    elif fails == "template":
        monkeypatch.setattr(run_page, "page", lambda *_, **__: 1 / 0)
    else:
        (tmp_path / "run").mkdir()
        (tmp_path / "run/validation").write_text("a file where a folder should be")
    result = train(tmp_path / "run", epochs=2)
    assert len(result.history) == 2
    said = capfd.readouterr().err
    assert said.count("is not up to date") == 1, "said once"
    assert (tmp_path / "run/model.safetensors").read_bytes() == plain, "weights do not depend on it"


def test_without_held_out_clips_the_page_has_losses_and_says_so(tmp_path: Path) -> None:
    train(tmp_path, epochs=1, val_share=0.0)
    text = (tmp_path / "report.html").read_text()
    assert "Training loss" in text
    assert "Nothing was held out" in text
    assert not (tmp_path / "validation").exists()


def test_the_log_of_an_earlier_evcap_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    line = {"epoch": 1, "loss": {"total": 2.0}, "best": True, "validation": {"cfs": 3.0, "cross_entropy": 1.0}}
    (tmp_path / "log.jsonl").write_text(json.dumps(line) + "\n")
    text = write_page(tmp_path).read_text()
    assert "keeps no captions of held-out clips: an earlier evcap" in text
    assert "has no times of the parts of a step" in text
    assert "CFS 3" in text


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ((), "is no run folder (log.jsonl is not there)"),
        (("log.jsonl", ""), "no epoch of this run is finished"),
        (("log.jsonl", "text\n"), "line 1"),
        (("log.jsonl", '{"epoch": "one", "loss": {}}\n'), "line 1"),
        (("log.jsonl", '{"epoch": 1, "loss": {"total": 1e300}}\n'), "line 1"),
        (("log.jsonl", '{"epoch": 9223372036854775807, "loss": {}}\n'), "line 1"),
    ],
)
def test_what_is_no_run_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], made: tuple[str, ...], expected: str
) -> None:
    if made:
        (tmp_path / made[0]).write_text(made[1])
    assert evcap("report", tmp_path) == 2
    said = capsys.readouterr().err
    assert expected in " ".join(said.split())
    assert "Traceback" not in said
    assert not (tmp_path / "report.html").exists()


def test_damaged_files_of_the_validation_cost_the_clips_only(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"epoch": 1, "loss": {"total": 2.0}, "validation": {"cfs": 1.0}}\n')
    (tmp_path / "validation").mkdir()
    (tmp_path / "validation/clips.json").write_text('{"clips": [{"video_id": 3}], "of": 1}')
    (tmp_path / "validation/captions.jsonl").write_text("\x00 nothing\n")
    (tmp_path / "recipe.toml").write_text("[train\n")
    (tmp_path / "test.json").write_text("[]")
    assert read_run(tmp_path).shown is None
    assert "Held-out CFS" in write_page(tmp_path).read_text()


@pytest.mark.parametrize("where", ["caption", "video", "reference"])
def test_hostile_text_is_escaped_and_nothing_is_loaded(where: str) -> None:
    given = {"caption": HOSTILE} if where == "caption" else {"video": HOSTILE} if where == "video" else {}
    text = render_run(record(name=HOSTILE, **shown(**given)))
    tags = Tags(text).found
    assert {tag for tag, _ in tags}.isdisjoint({"script", "img", "iframe", "link", "object"})
    addresses = [value for _, attributes in tags for name, value in attributes.items() if name in ("src", "href")]
    assert addresses == []
    assert "onerror" not in {name for _, attributes in tags for name in attributes}
    assert "&lt;script&gt;" in text
    assert "ünïcode 🎬" in text


def test_only_pictures_that_are_data_are_shown() -> None:
    outside = Picture("http://example.com/x.jpg", 16, 9)
    assert "example.com/x.jpg" not in render_run(record(**shown(picture=outside)))
    text = render_run(record(**shown(picture=PIXEL)))
    assert [tag["src"] for name, tag in Tags(text).found if name == "img"] == [PIXEL.source]
    assert "<img" not in render_run(record(**shown(picture=PIXEL)), thumbnails=False)


def test_right_wrong_and_missing_emotions_are_those_of_acc_sw() -> None:
    """The toy lexicon: happy is joy, sad is sadness; a reference of the clip mentions joy alone."""
    found = shown_caption(1, "v", "A sad, happy man!", ["the man is happy"], toy.LEXICON)
    assert (found.right, found.wrong, found.missing) == (["happy"], ["sad"], [])
    found = shown_caption(1, "v", "a sad man", ["the man is happy", "joy"], toy.LEXICON)
    assert (found.right, found.wrong, found.missing) == ([], ["sad"], ["joy"])
    text = render_run(record(**shown("a sad man")))
    assert '<mark class="wrong" title="no reference has this emotion">sad</mark>' in text
    assert '<mark class="missing" title="joy: not in the caption">happy</mark>' in text
    assert "missing: joy" in text
    right = render_run(record(**shown("the happy man")))
    assert '<mark class="right" title="a reference has this emotion">happy</mark>' in right
    assert '<mark class="said" title="joy">happy</mark>' in right


def test_the_confusion_counts_what_a_slow_count_counts() -> None:
    lexicon = Lexicon({"anger": ["angry"], "joy": ["happy", "glad"], "sadness": ["sad", "glad"]}, name="three")
    references = {
        "a": ["a happy man", "a sad man", "a glad man"],  # glad counts for joy, its first category
        "b": ["an angry man", "a sad man"],  # a tie: anger is first in the alphabet
        "c": ["a man", "the man"],
    }
    captions = {"a": "sad and happy", "b": "an angry dog", "c": "a glad dog"}
    assert confusion(captions, references, lexicon) == {
        "anger": {"anger": 1},
        "joy": {"sadness": 1},
        NO_EMOTION: {"joy": 1},
    }
    words = ("angry", "happy", "glad", "sad", "dog")
    references = {str(n): [f"a {words[n % 5]} x", f"a {words[n % 3]} y", f"a {words[n % 4]} z"] for n in range(60)}
    captions = {str(n): f"a {words[(n * 7) % 5]} {words[(n * 3) % 4]}" for n in range(60)}
    expected: Counter[tuple[str, str]] = Counter()
    for video, texts in references.items():
        votes: Counter[str] = Counter()
        for text in texts:
            votes.update(
                c for c, own in lexicon.table.items() if any(first(w, lexicon) == c for w in tokens(text) if own)
            )
        true = min(votes, key=lambda c: (-votes[c], c)) if votes else NO_EMOTION
        said = [name for word in tokens(captions[video]) if (name := first(word, lexicon))]
        expected[true, said[0] if said else NO_EMOTION] += 1
    found = confusion(captions, references, lexicon)
    assert {(true, predicted): count for true, row in found.items() for predicted, count in row.items()} == expected


def first(word: str, lexicon: Lexicon) -> str | None:
    """The first category of a word, by the table alone."""
    return next((category for category in sorted(lexicon.table) if word in lexicon.table[category]), None)


def test_a_confusion_of_many_categories_keeps_its_sum_in_a_bounded_table() -> None:
    counts = {f"c{n:03}": {f"c{n:03}": n + 1, NO_EMOTION: 1} for n in range(100)} | {NO_EMOTION: {"c001": 5}}
    table = confusion_table(counts)
    assert table is not None
    assert len(table.columns) == run_page.MOST_CATEGORIES + 2
    assert table.columns[-2:] == [run_page.OTHERS, NO_EMOTION]
    assert sum(total for _, _, total in table.rows) == sum(sum(row.values()) for row in counts.values())
    assert all(sum(row) == total for _, row, total in table.rows)
    small = confusion_table({"joy": {"joy": 3, "fear": 1}})
    assert small is not None
    assert (small.columns, small.rows) == (["fear", "joy"], [("joy", [1, 3], 4)])
    assert confusion_table({}) is None


def test_parts_are_means_of_their_epochs_the_slowest_first_and_sum_to_the_epoch() -> None:
    times = [{"forward": 2.0, "backward": 3.0}, {"forward": 4.0, "backward": 3.0}]
    history = [LogEntry(n + 1, {}, seconds=10.0, part_seconds=seconds) for n, seconds in enumerate(times)]
    history.append(LogEntry(3, {}, phase="self-critical", seconds=4.0, part_seconds={"sampling": 3.0}))
    history.append(LogEntry(4, {}, seconds=10.0))
    ordinary, critical = parts(history)
    assert ordinary.rows == [("other", 4.0, 0.4), ("forward", 3.0, 0.3), ("backward", 3.0, 0.3)]
    assert critical.rows == [("sampling", 3.0, 0.75), ("other", 1.0, 0.25)]
    assert parts([LogEntry(1, {"total": 1.0})]) == []


@pytest.mark.slow
def test_the_parts_that_training_logs_are_inside_the_epoch(whole: Path) -> None:
    for line in (whole / "log.jsonl").read_text().splitlines():
        entry = json.loads(line)
        expected = {"data", "forward", "backward", "optimiser", "validation"}
        expected |= {"sampling", "reward"} if "phase" in entry else set()
        assert set(entry["part_seconds"]) == expected
        assert 0.5 * entry["seconds"] < sum(entry["part_seconds"].values()) <= entry["seconds"] + 0.01


@pytest.mark.parametrize(
    ("low", "high"),
    [
        *((0.0, 5e-324), (-1e30, 1e30), (1.0, 1.0 + 1e-15), (0.0, 1.0), (3.2, 3.2)),
        *((0.0, 0.0), (-5.0, 120.0), (1e-7, 3e-7), (99.1, 99.2), (-2.0, -2.0)),
    ],
)
def test_ticks_are_few_and_enclose_all_values(low: float, high: float) -> None:
    found = ticks(low, high)
    assert found[0] <= low
    assert found[-1] >= high
    assert 2 <= len(found) <= 7
    steps = {round((b - a) / (found[1] - found[0]), 6) for a, b in pairwise(found)}
    assert steps == {1.0}


def test_curves_lie_where_their_values_are() -> None:
    """Positions are turned back into values by the levels that the drawing shows."""
    history = [
        {"epoch": n, "loss": {"total": 5.0 - n, "emotion": 0.1 * n}, "validation": {"cfs": 10.0 * n, "bfs": 3.0}}
        for n in (1, 2, 3)
    ]
    drawn = {chart.title: chart for chart in charts(history, best_epoch=2)}
    assert "Mean reward of sampled captions" not in drawn
    chart = drawn["Held-out CFS and BFS"]
    (y0, low), (y1, high) = ((y, float(text)) for y, text in (chart.levels[0], chart.levels[-1]))
    cfs = next(curve for curve in chart.curves if curve.name == "CFS")
    points = [tuple(map(float, pair.split(","))) for pair in cfs.points.split()]
    values = [low + (y - y0) * (high - low) / (y1 - y0) for _, y in points]
    assert values == pytest.approx([10.0, 20.0, 30.0], abs=0.2)
    assert cfs.chosen == cfs.dots[1]
    assert chart.chosen == points[1][0]
    assert points[1][0] - points[0][0] == pytest.approx(points[2][0] - points[1][0])
    one = charts(history[:1], best_epoch=1)
    assert all("nan" not in curve.points for chart in one for curve in chart.curves)


@pytest.mark.slow
def test_runs_of_every_system_have_a_page(tmp_path: Path) -> None:
    for system in toy.MODELS:
        recipe = toy.recipe(system, epochs=1, val_share=0.34)
        Trainer(recipe, toy.captions(9), toy.LEXICON, toy.source(9), tmp_path / system, tensorboard=False).fit()
        text = (tmp_path / system / "report.html").read_text()
        assert f"<dd>{system}</dd>" in text
        assert 'id="clips"' in text
        shutil.rmtree(tmp_path / system)


@pytest.mark.slow
def test_a_browser_shows_the_page_and_runs_nothing_of_it(browser: Any, tmp_path: Path) -> None:
    from evcap_cli.files import write_whole

    page = tmp_path / "report.html"
    write_whole(page, render_run(record(name=HOSTILE, **shown(f"a sad {HOSTILE}", picture=PIXEL))))
    browser.get(page.as_uri())
    assert browser.title == f"{HOSTILE}: training"
    assert browser.find_element("tag name", "h1").text == HOSTILE
    lines = browser.find_elements("css selector", "#curves polyline.curve")
    assert {line.get_attribute("points").count(",") for line in lines} == {2}
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('#curves figure > svg')].map(s => {"
        " const b = s.getBoundingClientRect(), d = s.querySelector('polyline').getBoundingClientRect();"
        " return b.width > 100 && d.left >= b.left && d.right <= b.right && d.top >= b.top && d.bottom <= b.bottom })"
    )
    assert len(boxes) == 3
    assert all(boxes), "curves lie inside their drawing"
    caption = browser.find_element("css selector", ".caption").text
    assert caption.startswith("a sad")
    assert "<script>" in caption
    assert [mark.text for mark in browser.find_elements("css selector", ".caption mark.wrong")] == ["sad"]
    browser.find_element("css selector", "summary").click()
    assert len(browser.find_elements("css selector", "details li")) == 2
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in loaded if not name.startswith("data:")] == []
    errors = [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    assert errors == []
