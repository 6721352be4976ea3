"""What may happen to a pool, on real raylets, with an engine that has no model: no row is lost, none is there twice."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import stand_in
from pools import Ran, pool_of, until
from ray.cluster_utils import Cluster

from selfreward_ray.inference.block import Job
from selfreward_ray.inference.rounds import open_rounds
from selfreward_ray.recipe.text import parse_recipe
from selfreward_ray.records import Prompt
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.tables import finished_ids

pytestmark = [pytest.mark.engines, pytest.mark.cluster, pytest.mark.usefixtures("cluster")]
Run = Callable[..., Ran]


def test_a_pool_grows_while_rows_wait(run: Run):
    ran = run(["0.5"] * 300, min_replicas=1, max_replicas=2)
    assert len({event["node"] for event in ran.events("started")}) == 2
    assert len(ran.kept) == 300


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
    assert (ran.faults["engine_restarts"], ran.faults["replicas_lost"]) == (0, 1)


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


def test_a_rounds_blocks_of_a_killed_node_are_done_by_who_is_left(cluster: Cluster, tmp_path: Path):
    """No node comes in its place, and no replica ends for it: all others wait for the next round."""
    added = cluster.add_node(num_cpus=1, resources={"accelerator_type:A100": 1})
    stays = cluster.add_node(num_cpus=1, resources={"accelerator_type:A100": 1})
    small = {"tokens_in_flight": 60, "rows_per_block": 1, "min_replicas": 2, "max_replicas": 2, "stall_seconds": 60}
    settings = parse_recipe({"model": "none", "inference": small | {"accelerator_type": "A100"}}).inference
    job = Job("echo", stand_in.echo, Prompt, Prompt, str(tmp_path / "out"), 8)
    rows = [Prompt(f"p{i:03d}", "0.3") for i in range(220)]
    ran, done, lost = Ran(tmp_path, len(rows), {}), 0, False
    try:
        with open_rounds(
            f"stand-in://{tmp_path}", settings, 0, round_rows=200, row_tokens=8, max_rounds=2, note=print,
            open_engine=stand_in.StandIn,
        ) as rounds:  # fmt: skip
            for asked in (rows[:20], rows[20:]):
                for block in rounds.ask(job, asked):
                    done += block.rows
                    if done > 30 and not lost and len({event["node"] for event in ran.events("started")}) == 2:
                        lost = True
                        cluster.remove_node(added, allow_graceful=False)
    finally:
        cluster.remove_node(stays)
        if not lost:
            cluster.remove_node(added)
    ran.check("node killed in a round")
    assert lost
    assert done == len(rows)
    assert not ran.dropped


def test_a_row_that_kills_replicas_is_given_up_alone(run: Run):
    texts = ["0.3"] * 24
    texts[5] = "kill"
    ran = run(texts, max_restarts=5)
    ran.check("row kills its replica")
    assert ran.dropped == {"p005": "its replica died 3 times while it ran"}
    assert ran.faults["engine_restarts"] == 3


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
