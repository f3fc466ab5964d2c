"""What came out, next to the print: differences where they mean something, plain words where they do not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from evcap_experiments.reproduction import table_results as results
from evcap_experiments.reproduction.table_pages import signed, to_html, to_markdown, to_text, write_tables
from evcap_experiments.reproduction.table_plan import PlannedRow, plan_table
from evcap_experiments.reproduction.table_results import TableResult, collect

from evcap_cli import plugins
from evcap_cli.data.lexicon import Lexicon
from evcap_cli.errors import DataError
from evcap_cli.scoring.metrics import METRICS
from tests.experiments.roots import finish, opened, parse, runs, write_root

Table = Callable[..., tuple[list[PlannedRow], Callable[..., TableResult]]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_root(tmp_path_factory.mktemp("root"))


@pytest.fixture
def table(root: Path, tmp_path: Path) -> Table:
    """Rows of a table and what reads their results."""

    def make(name: str, *, seeds: tuple[int, ...] = (0,), more: tuple[str, ...] = ()) -> object:
        rows = plan_table(name, opened(root), tmp_path, ["--data", str(root), *more], parse, seeds=seeds)  # type: ignore[arg-type]
        return rows, lambda failures=None: collect(name, rows, opened(root), failures)  # type: ignore[arg-type]

    return make  # type: ignore[return-value]


@pytest.fixture
def like_the_print(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the small test split and its lexicon were EmVidCap-L's."""
    monkeypatch.setattr(results, "TEST_VIDEOS", 2)
    monkeypatch.setattr(results, "TEST_CAPTIONS", 4)
    monkeypatch.setattr(Lexicon, "official", True)


@pytest.mark.usefixtures("like_the_print")
def test_on_the_same_data_each_row_shows_printed_ours_difference_and_interval(table: Table) -> None:
    rows, read = table("table3")
    finish(rows[3].runs[0], 50.0)
    found = read()
    assert found.foreign == ()
    last = found.to_dict()["rows"][3]
    assert last["state"] == "done"
    assert last["printed"]["acc_sw"] == 65.7
    assert last["difference"]["acc_sw"] == pytest.approx(50.0 - 65.7)
    assert last["ours"]["acc_sw"] == {"value": 50.0, "interval": (48.0, 52.0), "spread": None}
    assert last["ours"]["meteor"] is None
    assert last["difference"]["meteor"] is None
    text = to_text(found)
    lines = dict(re.findall(r"^  (\S.*?)\s{2,}(.*)$", text.split("A and B")[1].split("Printed:")[0], re.MULTILINE))
    assert lines["printed"].split()[:2] == ["65.7", "62.4"]
    assert lines["ours"].split()[:7] == ["50.0"] * 6 + ["-"]
    assert lines["difference"].split()[:2] == ["-15.7", "-12.4"]
    assert lines["95 % from"].split()[0] == "48.0"
    assert lines["95 % to"].split()[0] == "52.0"
    assert "| **A and B** | printed | 65.7 | 62.4 |" in to_markdown(found)
    assert "|  | difference | -15.7 | -12.4 |" in to_markdown(found)
    assert 'class="change down">-15.7<' in to_html(found)


def test_on_other_data_there_is_no_difference_and_the_reasons_are_named(table: Table, root: Path) -> None:
    rows, read = table("table3", more=("--appearance", "lite-appearance"))
    finish(rows[0].runs[0], 40.0)
    finish(rows[1].runs[0], 43.0)
    found = read()
    assert found.foreign == (
        "the test split here has 2 videos with 4 captions, EmVidCap-L's 382 with 6527",
        f"emotions are judged by the lexicon {opened(root).lexicon.name!r}, not by EmVidCap's own",
        "trained on clip with lite-appearance features, the print on clip",
    )
    assert all(row["difference"]["cider"] is None for row in found.to_dict()["rows"])
    assert not found.to_dict()["comparable"]
    for page in (to_text(found), to_markdown(found), to_html(found)):
        assert "no difference between them" in page
        assert "382 with 6527" in page
        assert "64.3" in page, "the print stands next to it"
    assert not re.search(r"^ +difference", to_text(found), re.MULTILINE)
    assert 'class="tick" style="left: ' not in to_html(found).split("<main>")[1]
    # what a module brings is a difference within one data set: 43 - 40, printed 65.4 - 64.3
    gain = to_text(found).split("Gain over neither module")[1]
    assert re.search(r"A only\n  printed +\+1\.1 .*\n  ours +\+3\.0 ", gain)
    assert "B only" not in gain.split("Printed:")[0], "it is still to come"


@pytest.mark.slow
@pytest.mark.usefixtures("like_the_print")
def test_several_seeds_show_their_mean_and_both_ends(table: Table) -> None:
    rows, read = table("table1", seeds=(0, 1, 2))
    for run, value in zip(rows[3].runs, (50.0, 53.0, 56.0), strict=True):
        finish(run, value)
    value = read().rows[3].ours("cider")
    assert value is not None
    assert (value.value, value.spread, value.interval) == (53.0, (50.0, 56.0), (48.0, 58.0))
    text = to_text(read())
    assert re.search(r"ours, 3 seeds +53\.0", text)
    assert re.search(r"lowest seed +50\.0", text)
    assert re.search(r"highest seed +56\.0", text)
    assert [run["seed"] for run in read().to_dict()["rows"][3]["runs"]] == [0, 1, 2]


def test_every_state_of_a_row_is_named_in_words(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(plugins.registry().systems, "sa-lstm")
    rows, read = table("table2", seeds=(0, 1))
    finish(rows[1].runs[0], 40.0)
    found = read({rows[2].runs[0].folder: "CUDA out of memory"})
    assert [result.state for result in found.rows] == ["not trained", "part", "failed"]
    for page in (to_text(found), to_markdown(found), to_html(found)):
        assert "not trained here" in page
    assert "SA-LSTM: not trained here: no system 'sa-lstm' is installed" in found.notes
    assert "the paper: failed: CUDA out of memory" in found.notes


def test_what_was_done_otherwise_than_in_the_paper_is_noted(table: Table, root: Path) -> None:
    rows, read = table("table1", more=("--epochs", "2", "--lr", "0.001"))
    finish(rows[3].runs[0], 40.0, videos=1, notes=["METEOR was not computed: no Java"])
    assert set(read().notes) >= {
        "recipe paper: epochs 2 instead of 30, learning_rate 0.001 instead of 0.0007",
        "word vectors start at random: no --glove was given",
        "the paper, seed 0: 1 of 2 test videos were scored",
        "METEOR was not computed: no Java",
    }


@pytest.mark.slow
def test_the_page_loads_nothing_and_names_are_safe_in_it(table: Table, tmp_path: Path) -> None:
    rows, read = table("table2")
    finish(rows[2].runs[0], 40.0, notes=["<script>alert(1)</script>"])
    page = to_html(read())
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"(src|href)=|@import|url\(", page)
    written = write_tables(tmp_path, read())
    assert [path.name for path in written] == ["table2.md", "table2.html", "table2.json"]
    before = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in write_tables(tmp_path, read())] == before
    assert json.loads(written[2].read_text())["metrics"] == list(METRICS)


def test_scores_that_cannot_be_read_are_named(table: Table) -> None:
    rows, read = table("table1")
    run = runs(rows)[0]
    finish(run, 40.0)
    (run.folder / "test.json").write_text('{"metrics": {}}')
    with pytest.raises(DataError, match=r"test\.json: videos: is missing"):
        read()


@pytest.mark.parametrize(("value", "shown"), [(0.04, "+0.0"), (-0.04, "+0.0"), (-0.06, "-0.1"), (1.25, "+1.2")])
def test_a_difference_has_one_sign(value: float, shown: str) -> None:
    assert signed(value) == shown
