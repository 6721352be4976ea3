"""The pool on real raylets with a stand-in engine; `test_pool_faults.py` kills its processes and nodes."""

import re
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import ray
from pools import Ran, pool_of
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


def test_a_request_or_a_write_that_fails_ends_no_replica(run: Run, tmp_path: Path):
    """A request that raises costs its row alone; a failed write is retried. The nodes' Prometheus ports show it."""
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

    texts = ["0.3", "raise", *["0.3"] * 60]
    ran = run(texts, scrape, job={"step": "measured"}, open_engine=failing_storage(tmp_path))
    ran.check("request and write fail")
    assert ran.dropped == {"p001": "ValueError: refused"}
    assert (tmp_path / "failed").exists()
    assert ran.faults["engine_restarts"] == 0
    assert 40 < found["rows_total"] <= 62
    assert found["dropped_total"] == 1
    assert "requests_running" in found


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


def test_a_hung_engine_is_found_and_replaced(run: Run):
    texts = ["0.3"] * 20
    texts[4] = "hang"
    ran = run(texts, hang_seconds=3)
    asked = [event["time"] for event in ran.events("asked") if event["row"] == "p004"]
    ran.check("engine makes no step", ran.events("started")[2]["time"] - asked[0])
    assert len(asked) == 2
    assert not ran.dropped


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
