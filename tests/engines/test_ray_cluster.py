"""A Ray cluster of three nodes on this machine: nodes and workers come and go, the outputs stay the same bytes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

import evcap_cli as evcap
from evcap_cli.engines import dispatcher
from evcap_cli.engines.dispatcher import Dispatcher
from evcap_cli.engines.options import EngineOptions
from evcap_cli.engines.ray_crew import RayCrew, _connect
from evcap_cli.errors import UsageError, WorkersGone
from tests.engines.small_training import made, train
from tests.engines.works import Naming, assert_same_outputs, source
from tests.features.films import make_film

pytest.importorskip("ray", reason="Ray is not installed: pip install 'evcap[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
STORE_BYTES = 80 << 20


class ThreeNodes:
    """A head without workers' room to lose, and nodes that can be removed and added."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": STORE_BYTES})
        self.nodes: list[Any] = []
        self.cluster.connect()

    def add(self) -> None:
        self.nodes.append(self.cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES))

    def remove(self) -> None:
        self.cluster.remove_node(self.nodes.pop(), allow_graceful=False)


@pytest.fixture(scope="module")
def nodes() -> Iterator[ThreeNodes]:
    import ray

    path = os.pathsep.join((str(ROOT), str(ROOT / "plugins")))
    changed = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}
    before = {name: os.environ.get(name) for name in changed}
    handler = signal.getsignal(signal.SIGTERM)
    os.environ.update(changed)
    found = ThreeNodes()
    try:
        yield found
    finally:
        ray.shutdown()
        found.cluster.shutdown()
        signal.signal(signal.SIGTERM, handler)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def processes(name: str) -> set[int]:
    """Those of this user whose command line has ``name`` in it."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                if name in (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"):
                    found.add(int(entry.name))
    return found


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def children_of(parents: set[int]) -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError, ValueError, IndexError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) in parents:
                    found.add(int(entry.name))
    return found


def test_captions_have_the_same_bytes_while_workers_and_nodes_come_and_go(nodes: ThreeNodes, tmp_path: Path) -> None:
    films = [make_film(tmp_path / f"{number:02}.mp4", frames=10 + number, seed=number) for number in range(12)]
    (tmp_path / "text.mp4").write_text("not a video")
    options: Any = {"device": "cpu", "cache": False, "workers": 1}
    outputs = [["one.jsonl", "one.srt"], ["many.jsonl", "many.srt"]]
    given = [str(film) for film in films] + [str(tmp_path / "text.mp4")]
    evcap.caption_videos(given, [tmp_path / name for name in outputs[0]], **options)
    while len(nodes.nodes) < 2:
        nodes.add()
    seen: list[str] = []
    decoders: set[int] = set()

    def disturb(record: evcap.Record) -> None:
        seen.append(record.path)
        workers = processes("ray::RayWorker")
        decoders.update(children_of(workers))
        if len(seen) == 2:
            os.kill(sorted(workers)[0], signal.SIGKILL)
        if len(seen) == 4:
            nodes.remove()
            nodes.add()

    engine = evcap.EngineOptions(engine="ray", wait_seconds=60)
    summary = evcap.caption_videos(
        given, [tmp_path / name for name in outputs[1]], engine=engine, on_record=disturb, **options
    )
    assert (summary.done, summary.failed) == (12, 1)
    assert sorted(seen) == sorted(given)
    for one, many in zip(*outputs, strict=True):
        assert_same_outputs(tmp_path / one, tmp_path / many)
    assert wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in decoders), 20)
    assert wait_for(lambda: not processes("ray::RayWorker"), 20)


def test_training_on_features_of_the_cluster_goes_on_to_the_weights_of_one_process(
    nodes: ThreeNodes, training_root: Path, trained_alone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "cluster"
    shutil.copytree(trained_alone.with_suffix(".cache"), run.with_suffix(".cache"))
    for entry in sorted(run.with_suffix(".cache").rglob("*.safetensors"))[::2]:
        entry.unlink()  # as if the run had been stopped on its way
    assert train(training_root, run, "--engine", "ray", "--workers", 1) == 0
    assert "features of 5 of 6 videos are in the cache" in capsys.readouterr().err
    assert made(run) == made(trained_alone)
    assert wait_for(lambda: not processes("ray::RayWorker"), 20)


def engine_of(work: Naming, *, timeout: float = 100.0, wait_seconds: float = 60.0, **options: Any) -> Dispatcher[str]:
    crew: RayCrew[str] = RayCrew(work, EngineOptions(engine="ray", **options))
    return Dispatcher(work, crew, timeout=timeout, wait_seconds=wait_seconds)


def test_a_video_that_ends_or_stops_every_worker_fails_alone(
    nodes: ThreeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setattr(dispatcher, "PATIENCE", 1.0)
    given = ["a", "kill", "b", "hang", "c"]
    with closing(engine_of(Naming(), timeout=3.0, workers_per_node=1)) as engine:
        engine.configure()
        found = {one.given: result for one, result in engine.run([source(name) for name in given])}
    assert found.pop("kill").startswith("crash: 2 workers died on this video (the last one died")
    assert found.pop("hang").startswith("timeout: 2 workers made no progress on this video")
    assert found == {"a": "A", "b": "B", "c": "C"}
    # `ray logs` and the dashboard have what each worker said
    logs = Path(ray._private.worker._global_node.get_session_dir_path()) / "logs"
    said = "".join(file.read_text(errors="replace") for file in logs.glob("worker-*.err"))
    assert {f"warning: seen {name}" for name in "abc"} <= {line[20:] for line in said.splitlines()}


def test_no_room_for_workers_is_an_error_that_says_what_there_is(nodes: ThreeNodes) -> None:
    engine = engine_of(Naming(), wait_seconds=2.0, gpus_per_worker=1.0)
    with closing(engine), pytest.raises(WorkersGone, match=r"no worker for 2 seconds \(\d nodes? with \d CPUs and 0"):
        engine.configure()


def test_workers_end_when_their_driver_is_killed(nodes: ThreeNodes, tmp_path: Path) -> None:
    import ray

    code = (
        "import sys\n"
        "from evcap_cli.engines.dispatcher import Dispatcher\n"
        "from evcap_cli.engines.options import EngineOptions\n"
        "from evcap_cli.engines.ray_crew import RayCrew\n"
        "from pathlib import Path\n"
        "from tests.engines.works import Naming, source\n"
        "work = Naming(journal=Path(sys.argv[2]), seconds=0.5)\n"
        "crew = RayCrew(work, EngineOptions(engine='ray', ray_address=sys.argv[1]))\n"
        "engine = Dispatcher(work, crew, timeout=100, wait_seconds=60)\n"
        "engine.configure()\n"
        "for _ in engine.run([source(str(number)) for number in range(1000)]): pass\n"
    )
    address = ray.get_runtime_context().gcs_address
    driver = subprocess.Popen([sys.executable, "-c", code, address, str(tmp_path)], cwd=ROOT)
    try:
        assert wait_for(lambda: any(tmp_path.iterdir()), 90), "no worker began"
    finally:
        driver.kill()
        driver.wait()
    workers = [int(file.name) for file in tmp_path.iterdir()]
    assert wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), 60)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:1", r"no Ray cluster at 127\.0\.0\.1:1 \(Connection refused\); start one with `ray start --head`"),
        ("127.0.0.1:six", r"no Ray cluster at 127\.0\.0\.1:six"),
        ("ray://127.0.0.1:10001", r"--ray-address ray://127\.0\.0\.1:10001 is not HOST:PORT; name the head itself"),
    ],
)
def test_an_address_without_a_cluster_is_wrong_usage(address: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        _connect(address)
