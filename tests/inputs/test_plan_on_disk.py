"""The plan on disk is the list that fits into memory: the same videos, order, ids, shards and links."""

from __future__ import annotations

import os
import random
from pathlib import Path, PurePosixPath

import pytest

from evcap_cli.errors import UsageError
from evcap_cli.inputs import Source, gather, take_shard
from evcap_cli.output.output_plan import CaptionPlan, Outputs, check_collisions
from evcap_cli.output.writers import JsonLines
from evcap_cli.paths import is_video_name, walk
from evcap_cli.sources import PAGE, SameFiles, SourceTable, names_of, some_of, with_ids

NAMES = ("x", "y.z", "é", "e\u0301", "É", "ü ñ", "_", "X", "-1", "[a]", "\udcff", "\ue000", "🙂", "a\nb")
SUFFIXES = (".mp4", ".MKV", ".mp4", ".txt")
FOLDERS = ("", "a", "b", "a/x", "b/x", "b/.hidden", "a/é", "a/e\u0301", "🙂", "\udcff")


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def plant(seed: int) -> list[str]:
    """A tree with names that collide in all ways, links and loops; returns inputs that overlap."""
    chosen = random.Random(seed)
    for folder in FOLDERS:
        place = Path("v", folder)
        place.mkdir(parents=True, exist_ok=True)
        for _ in range(chosen.randrange(8)):
            (place / (chosen.choice(NAMES) + chosen.choice(SUFFIXES))).write_bytes(b"film")
    Path("v/loop").symlink_to(Path("v").absolute())
    Path("v/linked").symlink_to(Path("v/a").absolute())
    Path("v/a/dangling.mp4").symlink_to("nowhere.mp4")
    os.mkfifo("v/a/pipe.mp4")
    several = [*map(str, sorted(Path("v").rglob("*.mp4"))[: chosen.randrange(5)])]
    return [*chosen.sample(["v", "v/a", "./v/b", os.path.abspath("v/a"), "v/linked"], chosen.randrange(1, 5)), *several]  # noqa: PTH100


def in_memory(inputs: list[str]) -> list[Source]:
    """What ``gather`` was before there were plans on disk, for folders and files."""
    found: dict[str, Source] = {}
    for text in inputs:
        root = Path(text)
        if root.is_dir():
            files = [folder / name for folder, _, names in walk(root) for name in names if is_video_name(name)]
            files = [path for path in files if path.is_file() or not path.exists()]
            some = [Source(p, p.as_posix(), PurePosixPath(p.relative_to(root).as_posix())) for p in files]
        else:
            some = [Source(root, root.as_posix(), PurePosixPath(root.name))]
        for source in some:
            found.setdefault(os.path.abspath(source.path), source)  # noqa: PTH100
    return with_ids(sorted(found.values(), key=lambda source: source.given))


@pytest.mark.parametrize("seed", range(12))
def test_the_plan_is_the_list_in_memory(seed: int) -> None:
    inputs = [text for text in plant(seed) if "pipe" not in text]
    expected = in_memory(inputs)
    plan = gather(inputs)
    assert list(plan) == expected
    assert len(plan) == len(expected)
    assert list(names_of(plan)) == list(names_of(expected)) == [(source.given, source.id) for source in expected]
    assert len({source.id for source in plan}) == len(expected)
    assert [plan[number] for number in range(-1, len(plan))] == [expected[-1], *expected]
    for count in (1, 2, 3, len(expected) + 1):
        for number in range(1, count + 1):
            assert list(take_shard(plan, f"{number}/{count}")) == expected[number - 1 :: count]
    assert list(plan[2:][1:4]) == expected[3:6]
    listed = [source.given for source in expected if "\n" not in source.given]
    Path("list.txt").write_bytes(b"# a list\n" + b"".join(os.fsencode(line) + b"\n" for line in listed))
    assert [source.given for source in gather(["@list.txt"])] == listed


def test_a_plan_of_many_pages_and_ids_that_collide_in_turn() -> None:
    names = [f"{number % 7}/{number // 700}/{number % 350:03}" for number in range(3 * PAGE + 7)]
    sources = [Source(Path(f"r/{n}.mp4"), f"r/{n}.mp4", PurePosixPath(f"{n[2:]}.mp4")) for n in dict.fromkeys(names)]
    random.Random(0).shuffle(sources)
    table = SourceTable()
    table.add(sources)
    expected = with_ids(sorted(sources, key=lambda source: source.given))
    plan = table.plan()
    assert list(plan) == expected
    odd = range(1, len(expected), 3)
    assert list(some_of(plan, odd)) == list(some_of(expected, odd)) == expected[1::3]
    assert [some_of(plan, odd)[2].given, len(some_of(plan, odd))] == [expected[7].given, len(odd)]


def test_a_whole_name_that_is_the_stem_of_another_video_does_not_make_two_of_one_id() -> None:
    names = ["x.mkv", "x.mp4", "x.mp4.avi", "x.mp4.avi.mkv", "y.mp4"]
    for name in names:
        Path(name).write_bytes(b"film")
    plan = gather(names)
    assert [source.id for source in plan] == [*names[:4], "y"]
    assert list(plan) == in_memory(names)


def test_names_of_one_file_are_found_in_one_pass() -> None:
    for name in ("a.mp4", "c.mp4"):
        Path(name).write_bytes(b"film")
    for link, to in (("b.mp4", "a.mp4"), ("d.mp4", "a.mp4"), ("e.mov", "a.mp4"), ("f.mp4", "c.mp4")):
        Path(link).symlink_to(to)
    os.link("a.mp4", "g.mp4")
    paths = [Path(name) for name in ("a.mp4", "b.mp4", "c.mp4", "d.mp4", "e.mov", "f.mp4", "g.mp4", "gone.mp4")]
    same = SameFiles(paths)
    # another suffix makes another file, and what is not there is a file of its own
    assert list(same.firsts) == [0, 2, 4, 7]
    assert [same.first(number) for number in range(8)] == [0, 0, 2, 0, 4, 2, 0, 7]
    assert [same.others(first) for first in same.firsts] == [[1, 3, 6], [5], [], []]
    assert [same.last(first) for first in same.firsts] == [6, 5, 4, 7]
    assert SameFiles([]).firsts == range(0)


def test_collisions_are_found_among_outputs_and_inputs() -> None:
    for name in ("v/a/x.mp4", "v/b/x.mp4", "w/x.mp4"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"film")
    writer = JsonLines(".mp4")
    with pytest.raises(UsageError, match=r"would be written for both v/a/x\.mp4 and v/b/x\.mp4"):
        check_collisions(CaptionPlan(gather(["v/a", "v/b"]), Outputs(trees=((Path("out"), writer),))))
    with pytest.raises(UsageError, match=r"w/x\.mp4: is an input and would be overwritten"):
        check_collisions(CaptionPlan(gather(["w"]), Outputs(files=((Path("w/x.mp4"), writer),))))
    check_collisions(CaptionPlan(gather(["v"]), Outputs(trees=((Path("out"), writer),))))
