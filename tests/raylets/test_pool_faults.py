"""What may happen to a pool, on real raylets, with an engine that has no model: no row is lost, none is there twice."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import ray
from pools import Ran, pool_of, until
from ray.cluster_utils import Cluster
from stand_in import StandIn

from selfreward_ray.inference import block
from selfreward_ray.inference.block import Job
from selfreward_ray.inference.pool import PoolStopped
from selfreward_ray.inference.rounds import start_queue
from selfreward_ray.records import Prompt
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.tables import finished_ids, write_block

pytestmark = [pytest.mark.engines, pytest.mark.usefixtures("cluster")]
Run = Callable[..., Ran]


def test_a_pool_grows_while_rows_wait(run: Run):
    ran = run(["0.5"] * 300, min_replicas=1, max_replicas=2)
    assert len({event["node"] for event in ran.events("started")}) == 2
    assert len(ran.kept) == 300


def test_two_tables_are_run_one_after_the_other_by_the_same_engines(tmp_path: Path):
    """Each of them starts once."""
    with pool_of(tmp_path, ["0.3"] * 20, f"stand-in://{tmp_path}", {}, {}) as (pool, first):
        second = first._replace(job=replace(first.job, step="again", out=str(tmp_path / "again")))
        outs = [out for out, block in pool.run([first, second]) for _ in range(block.rows)]
        assert Counter(outs) == {first.job.out: 20, second.job.out: 20}
    assert finished_ids(Folder(second.job.out)) == finished_ids(Folder(first.job.out))
    assert len(Ran(tmp_path, 20, {}).events("started")) == 2


def test_a_round_is_handed_in_however_many_replicas_wait_for_it():
    """1,161 of them, of which Ray by itself would admit 1,000 and then nobody else."""
    queue = start_queue(replicas=9, in_flight=129)
    waiting = [queue.take.remote(number, f"replica {number % 9}") for number in range(9 * 129)]
    job = Job("propose", print, Prompt, Prompt, "out", 1)
    ray.get(queue.put.remote([(job, pa.table({"id": ["p0"]}))]), timeout=60)
    ((taken,), _) = ray.wait(waiting, timeout=60)
    assert ray.get(taken)[0].step == "propose"
    ray.kill(queue)


def test_a_killed_actor_is_started_again(run: Run, tmp_path: Path):
    killed: list[float] = []

    def kill(done: int) -> None:
        if done >= 6 and not killed:
            os.kill(Ran(tmp_path, 0, {}).events("started")[0]["pid"], signal.SIGKILL)
            killed.append(time.time())

    ran = run(["0.3"] * 30, kill)
    ran.check("actor killed", ran.events("started")[2]["time"] - killed[0])
    assert ran.faults["engine_restarts"] == 1
    assert not ran.dropped


def test_rows_of_a_killed_node_are_done_on_another(run: Run, cluster: Cluster, tmp_path: Path):
    """Without a node in its place: what it had is done by who is left."""
    lost: list[float] = []

    def kill(done: int) -> None:
        if done >= 6 and not lost:
            ids = [event["node"] for event in Ran(tmp_path, 0, {}).events("started")]
            node = next((n for n in cluster.worker_nodes if n.node_id in ids), None)
            if node is None:
                return  # the one on the head was first
            lost.append(time.time())
            cluster.remove_node(node, allow_graceful=False)

    try:
        ran = run(["0.3"] * 30, kill)
    finally:
        cluster.add_node(num_cpus=1)
    again = ran.events("started")[-1]
    ran.check("node killed", again["time"] - lost[0])
    assert again["time"] > lost[0]
    assert not ran.dropped


def test_rows_of_a_killed_node_are_done_by_who_is_left_where_no_node_comes(run: Run, cluster: Cluster, tmp_path: Path):
    """Two replicas fill two nodes, and one of these is taken away while it has rows."""
    added = cluster.add_node(num_cpus=1, resources={"accelerator_type:T4": 1})
    stays = cluster.add_node(num_cpus=1, resources={"accelerator_type:T4": 1})
    lost: list[str] = []

    def kill(done: int) -> None:
        started = {event["node"] for event in Ran(tmp_path, 0, {}).events("started")}
        if done >= 6 and len(started) == 2 and not lost:
            lost.append(added.node_id)
            cluster.remove_node(added, allow_graceful=False)

    try:
        ran = run(["0.5"] * 300, kill, accelerator_type="T4", stall_seconds=30)
    finally:
        cluster.remove_node(stays)
    ran.check("node killed, none in its place")
    assert not ran.dropped
    assert [event["node"] for event in ran.events("started")[2:]] == [stays.node_id]  # in the other one's place


def test_a_row_that_kills_replicas_is_given_up_alone(run: Run):
    texts = ["0.3"] * 24
    texts[5] = "kill"
    ran = run(texts, max_restarts=5)
    ran.check("row kills its replica")
    assert ran.dropped == {"p005": "its replica died 3 times while it ran"}
    assert ran.faults["engine_restarts"] == 3


def test_a_hung_engine_is_found_and_replaced(run: Run):
    texts = ["0.3"] * 20
    texts[4] = "hang"
    ran = run(texts, hang_seconds=3)
    asked = [event["time"] for event in ran.events("asked") if event["row"] == "p004"]
    ran.check("engine makes no step", ran.events("started")[2]["time"] - asked[0])
    assert len(asked) == 2
    assert not ran.dropped


def test_a_request_that_raises_costs_its_row_alone(run: Run):
    ran = run(["0.1", "raise", *["0.1"] * 8])
    ran.check("request raises")
    assert ran.dropped == {"p001": "ValueError: refused"}


def test_storage_that_fails_once_costs_nothing(run: Run, tmp_path: Path):
    ran = run(["0.1"] * 12, open_engine=failing_storage(tmp_path))
    ran.check("storage fails once")
    assert (tmp_path / "failed").exists()
    assert not ran.dropped


def failing_storage(folder: Path) -> Callable[..., object]:
    """Opens an engine in a process whose first write of a block fails."""

    def fails_once(*arguments: object) -> None:
        if not (folder / "failed").exists():
            (folder / "failed").touch()
            raise OSError("connection reset")
        write_block(*arguments)

    def opened(*arguments: object) -> object:
        block.write_block = fails_once
        return StandIn(*arguments)

    return opened


def test_replicas_say_how_they_are_to_the_clusters_metrics(run: Run):
    """While they run, at the nodes' own ports: what the Ray dashboard's Prometheus reads."""
    found: dict[str, float] = {}

    def scrape(done: int) -> None:
        if done == 60:
            time.sleep(3)  # the nodes' agents are told each second
            for node in ray.nodes():
                if node["Alive"]:
                    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
                    page = urllib.request.urlopen(address, timeout=10).read().decode()
                    for name, value in re.findall(r'(?m)^ray_selfreward_(\w+)\{.*step="measured".*\} (\S+)$', page):
                        found[name] = found.get(name, 0) + float(value)

    run(["0.3", "raise", *["0.3"] * 60], scrape, job={"step": "measured"})
    assert 40 < found["rows_total"] <= 62
    assert found["dropped_total"] == 1
    assert "requests_running" in found


def test_a_pool_whose_engines_do_not_start_ends_with_their_error(run: Run, tmp_path: Path):
    (tmp_path / "refuse").touch()
    with pytest.raises(PoolStopped, match="died 3 times .* the engine did not start: no memory for the KV cache"):
        run(["0.1"] * 4, max_restarts=2)


def test_a_pool_without_a_place_ends_within_its_time(run: Run):
    """All places are taken; a pool that could never have one is refused before, by `check_capacity`."""
    others = ray.util.placement_group([{"CPU": 1}] * 3)
    assert others.wait(60)
    try:
        with pytest.raises(PoolStopped, match="no progress for 5 s .* no engine started"):
            run(["0.1"] * 4, min_replicas=1, max_replicas=1, stall_seconds=5)
    finally:
        ray.util.remove_placement_group(others)


def test_after_a_killed_driver_only_unfinished_rows_are_asked_again(run: Run, cluster: Cluster, tmp_path: Path):
    """The driver is a process of its own, killed with -9 in mid-run; finished rows are on storage."""
    texts = ["0.4"] * 40
    driver = subprocess.Popen([sys.executable, __file__, str(tmp_path), str(len(texts))])
    out = Folder(str(tmp_path / "out"))
    try:
        until(lambda: len(finished_ids(out)) >= 10)
    finally:
        driver.kill()
        driver.wait()
    killed = time.time()
    # Ray ends the actors of a driver that is gone.
    until(lambda: time.time() - Ran(tmp_path, 0, {}).events("asked")[-1]["time"] > 3)
    finished = finished_ids(out)
    ran = run(texts)
    ran.check("driver killed")
    asked = Counter(event["row"] for event in ran.events("asked") if event["time"] > killed + 3)
    assert len(finished) >= 10
    assert asked == Counter(f"p{i:03d}" for i in range(len(texts)) if f"p{i:03d}" not in finished)


if __name__ == "__main__":
    from selfreward_ray.cluster.session import joined

    folder = Path(sys.argv[1])
    with joined(), pool_of(folder, ["0.4"] * int(sys.argv[2]), f"stand-in://{folder}", {}, {}) as (pool, work):
        for _ in pool.run([work]):
            pass
