"""Counts of replica deaths and retries, and their consequences."""

from dataclasses import replace

import pytest

from selfreward_ray.inference.health import MOST_LOSSES, PoolHealth, ReplicaStatus

FRESH = ReplicaStatus(frozenset(), frozenset(), None, restarted=False)


def status(suspects: str = "", given_up: str = "", stop_reason: str | None = None) -> ReplicaStatus:
    return ReplicaStatus(frozenset(suspects), frozenset(given_up), stop_reason, restarted=True)


def counts(restarts: int, retried: int, start_seconds: float = 0.0) -> dict[str, float]:
    return {
        "engine_restarts": restarts, "replicas_lost": 0, "rows_retried": retried, "engine_start_seconds": start_seconds
    }  # fmt: skip


def run_block(health: PoolHealth, rows: str, killers: str, done: list[str]) -> bool:
    """Do what a replica does with a block of one-letter rows. Returns whether it survived."""
    told = health.register("a")
    assert told.stop_reason is None
    concurrent = [row for row in rows if row not in told.suspects]
    health.rows_started("a", concurrent)
    if any(row in killers and row not in told.given_up for row in concurrent):
        return False
    for row in rows:
        if row in told.suspects:
            health.rows_started("a", [row])
            if row in killers:
                return False
            health.rows_finished("a", [row])
    health.rows_finished("a", list(rows))
    done += [row for row in rows if row not in told.given_up]
    return True


def test_a_first_process_has_no_suspects_and_is_no_restart():
    health = PoolHealth(max_restarts=5)
    assert health.register("a") == health.register("b") == FRESH
    assert health.summary() == counts(0, 0)


def test_a_row_is_a_suspect_after_two_deaths_and_given_up_after_three():
    """Row x runs at each death, y only at the first two, z only at the third."""
    health = PoolHealth(max_restarts=5)
    told = [health.register("a")]
    for rows in ("xy", "xy", "xz"):
        health.rows_started("a", list(rows))
        told.append(health.register("a"))
    assert told == [FRESH, status(), status(suspects="xy"), status(suspects="y", given_up="x")]
    assert health.register("b") == replace(told[-1], restarted=False)
    assert health.summary() == counts(3, 2 + 1)


@pytest.mark.parametrize("killers", ["a", "c", "e", "ad", "abcde"])
def test_only_the_rows_that_kill_are_given_up(killers: str):
    """After two deaths all five rows are suspects; then each killer runs alone and causes its third death."""
    health, done = PoolHealth(max_restarts=7), list[str]()
    lives = [run_block(health, "abcde", killers, done) for _ in range(2 + len(killers))]
    assert lives == [False] * len(lives)
    assert run_block(health, "abcde", killers, done)
    assert done == [row for row in "abcde" if row not in killers]
    assert health.register("b").given_up == frozenset(killers)
    assert health.summary()["engine_restarts"] == len(lives)


def test_a_finished_row_is_no_suspect_and_another_replicas_death_is_not_its_own():
    health = PoolHealth(max_restarts=5)
    for replica in ("a", "b"):
        health.register(replica)
        health.rows_started(replica, [f"{replica}1", f"{replica}2"])
    for _ in range(2):
        health.rows_finished("a", ["a1"])
        health.register("a")
        health.rows_started("a", ["a1", "a2"])
    assert health.register("c").suspects == {"a2"}
    assert health.summary() == counts(2, 2)  # a2, twice


@pytest.mark.parametrize("max_restarts", [0, 2])
def test_a_replicas_deaths_in_a_row_are_bounded(max_restarts: int):
    health = PoolHealth(max_restarts)
    told = [health.register("a") for _ in range(max_restarts + 2)][1:]
    silent = "its process was killed; was there too little memory?"
    reason = f"a replica died {max_restarts + 1} times and no row was finished in between; the last error: {silent}"
    assert [t.stop_reason for t in told] == [None] * max_restarts + [reason]
    assert health.failure() == (reason, silent, False)


def test_a_lost_node_with_many_replicas_is_one_death_of_each():
    health = PoolHealth(max_restarts=1)
    assert all(health.register(replica).stop_reason is None for replica in 2 * "abcdefgh")
    assert health.register("c").stop_reason is not None


def test_a_finished_row_lets_the_deaths_be_counted_anew_and_an_empty_block_does_not():
    health = PoolHealth(max_restarts=1)
    health.register("a")
    health.register("a")
    health.rows_finished("a", ["x"])
    assert health.register("a").stop_reason is None
    health.rows_finished("a", [])
    assert health.register("a").stop_reason is not None


def test_the_reason_has_the_last_error():
    health = PoolHealth(max_restarts=1)
    health.register("a")
    for error in ("no memory", "no GPU"):
        health.replica_failed("a", error)
        told = health.register("a")
    assert told.stop_reason == "a replica died 2 times and no row was finished in between; the last error: no GPU"
    assert health.failure() == (told.stop_reason, "no GPU", False)


def test_an_error_explains_the_death_of_its_own_replica_alone():
    health = PoolHealth(max_restarts=0)
    health.register("b")
    health.replica_failed("a", "no GPU")
    assert "its process was killed" in str(health.register("b").stop_reason)


def test_an_error_before_a_finished_row_is_no_reason_for_what_comes_after():
    health = PoolHealth(max_restarts=5)
    health.register("a")
    health.engine_ready()
    health.replica_failed("a", "no memory")
    health.register("a")
    health.rows_finished("a", [])
    assert health.failure() == (None, "no memory", True)
    health.rows_finished("a", ["x"])
    assert health.failure() == (None, None, True)


def test_every_new_process_learns_that_the_pool_stopped():
    health = PoolHealth(max_restarts=5)
    health.register("a")
    health.stop("there is no such model")
    assert health.failure() == ("there is no such model", None, False)
    told = status(stop_reason="there is no such model")
    assert health.register("a") == told
    assert health.register("b") == replace(told, restarted=False)


def test_later_deaths_do_not_change_the_stop_reason():
    health = PoolHealth(max_restarts=0)
    for replica in ("a", "b"):
        health.register(replica)
    ended = health.register("a").stop_reason
    assert health.register("b").stop_reason == ended is not None


def test_every_report_is_a_heartbeat():
    now = [0.0]
    health = PoolHealth(max_restarts=5, clock=lambda: now[0])
    now[0] = 2.0
    assert health.idle_seconds() == 2, "since the pool was opened"
    signs = [
        lambda: health.register("a"),
        lambda: health.fetch_progress("a", 1, 10),
        health.engine_ready,
        lambda: health.rows_started("a", ["x"]),
        lambda: health.rows_finished("a", ["x"]),
    ]
    for sign in signs:
        now[0] += 7
        sign()
        assert health.idle_seconds() == 0
        now[0] += 3
        assert health.idle_seconds() == 3


def test_an_unchanged_fetch_is_no_heartbeat():
    now = [0.0]
    health = PoolHealth(max_restarts=5, clock=lambda: now[0])
    health.register("a")
    health.fetch_progress("a", 1, 10)
    now[0] = 5
    health.fetch_progress("a", 1, 10)
    assert health.idle_seconds() == 5
    health.fetch_progress("a", 2, 10)
    assert health.idle_seconds() == 0


def test_the_slowest_fetch_is_shown_until_all_models_are_there():
    health = PoolHealth(max_restarts=5)
    shown = [health.activity()]
    for replica, here in [("a", 0), ("b", 5), ("a", 7), ("a", 10), ("b", 10)]:
        if replica not in health._running:
            health.register(replica)
        health.fetch_progress(replica, here, 10)
        shown.append(health.activity())
    assert shown == [
        None,
        *(f"fetching the model {share}" for share in ("0%", "0%", "50%", "50%")),
        "starting the engine",
    ]


def test_a_replica_that_died_while_it_fetched_is_not_waited_for():
    health = PoolHealth(max_restarts=5)
    health.register("a")
    health.fetch_progress("a", 1, 10)
    health.register("a")
    assert health.activity() == "starting the engine"


def test_the_start_of_the_first_engine_is_told_once():
    now = [100.0]
    health = PoolHealth(max_restarts=5, clock=lambda: now[0])
    for seconds in (41.24, 9.0):  # the second replica's engine is ready later
        now[0] += seconds
        health.engine_ready()
    assert health.summary() == counts(0, 0, 41.2)
    assert health.summary() == counts(0, 0)


class Nodes:
    """A pool on nodes of which some get lost, at a time that the test sets."""

    def __init__(self, max_restarts: int = 1) -> None:
        self.lost: set[str] = set()
        self.now = 0.0
        self.health = PoolHealth(max_restarts, lambda: self.lost, clock=lambda: self.now)

    def run(self, replica: str, node: str, rows: str = "") -> ReplicaStatus:
        """A process of `replica` starts on `node`, and then its `rows`."""
        told = self.health.register(replica, [node])
        self.health.rows_started(replica, list(rows))
        return told


def test_a_row_is_not_blamed_for_nodes_that_are_lost():
    """Spot instances are taken back one after the other, each with the row x; the fourth replica's death is its own."""
    pool = Nodes()
    for node in "1234":
        told = pool.run("a", node, "x")
        assert not told.suspects | told.given_up
        pool.lost.add(node)
    pool.lost.remove("4")
    assert pool.run("a", "5", "x") == replace(FRESH, restarted=True)
    assert pool.health.summary() == counts(1, 3) | {"replicas_lost": 3, "rows_retried": 4}
    assert pool.run("a", "6").suspects == {"x"}, "deaths of its own are still counted"


def test_nodes_that_are_lost_end_no_pool():
    pool = Nodes(max_restarts=0)
    for node in range(9):
        assert pool.run("a", str(node)).stop_reason is None
        pool.lost.add(str(node))
    assert pool.health.failure() == (None, "the node of a replica was lost", False)


def test_an_error_of_an_engine_whose_node_is_lost_explains_nothing():
    """Other stages of it may say so before its process ends."""
    pool = Nodes()
    pool.run("a", "1")
    pool.health.replica_failed("a", "the engine died: no answer from rank 3")
    pool.lost.add("1")
    assert pool.run("a", "2").node_lost
    assert pool.health.failure()[1] == "the node of a replica was lost"
    pool.run("a", "3")
    assert "its process was killed" in str(pool.health.failure()[1])


def test_a_replica_in_stages_is_lost_with_any_of_its_nodes():
    pool = Nodes()
    pool.health.register("a", ["1", "2"])
    pool.lost.add("2")
    assert pool.run("a", "1") == replace(FRESH, node_lost=True)


@pytest.mark.parametrize(("seconds", "blamed"), [(59.0, False), (61.0, True)])
def test_a_node_that_ends_its_processes_before_it_is_gone_is_found_out(seconds: float, blamed: bool):
    """And a node that is lost a while after a death did not cause it."""
    pool = Nodes()
    for node in "12":
        pool.run("a", node, "x")
    pool.run("b", "2")
    pool.now += seconds
    pool.lost.add("1")
    pool.run("b", "2", "y")
    told = pool.run("a", "3", "x")
    assert (told.suspects == {"x"}) == blamed
    found = pool.health.summary()
    assert (found["engine_restarts"], found["replicas_lost"]) == ((3, 0) if blamed else (2, 1))


def test_health_that_is_started_again_goes_on_with_what_it_is_told():
    """Ray starts the actor again if its process is killed: replicas that it does not know report to it."""
    health = PoolHealth(max_restarts=5)
    health.rows_started("a", ["x"])
    health.rows_finished("b", ["y"])
    assert health.register("a").restarted
    assert health.failure() == (None, "its process was killed; was there too little memory?", False)


def test_a_replica_that_takes_its_nodes_down_is_not_restarted_for_ever():
    gone: set[str] = set()
    health = PoolHealth(max_restarts=2, lost=lambda: gone)
    for number in range(MOST_LOSSES + 1):
        assert health.register("a", [f"n{number}"]).stop_reason is None
        gone.add(f"n{number}")
    stopped = health.register("a", ["next"]).stop_reason
    assert stopped is not None
    assert stopped.startswith(f"a replica lost its node {MOST_LOSSES + 1} times and no row was finished in between; ")


def test_finished_rows_forgive_lost_nodes():
    gone: set[str] = set()
    health = PoolHealth(max_restarts=2, lost=lambda: gone)
    for number in range(2 * MOST_LOSSES):
        assert health.register("a", [f"n{number}"]).stop_reason is None
        health.rows_finished("a", ["r"])
        gone.add(f"n{number}")
