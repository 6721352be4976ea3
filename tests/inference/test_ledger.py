"""What is counted of a pool's deaths, and what follows from it."""

from dataclasses import replace

import pytest

from selfreward_ray.inference.ledger import Ledger, Standing

FRESH = Standing(frozenset(), frozenset(), None, restarted=False)


def standing(suspects: str = "", given_up: str = "", ended: str | None = None) -> Standing:
    return Standing(frozenset(suspects), frozenset(given_up), ended, restarted=True)


def run_block(ledger: Ledger, rows: str, killers: str, done: list[str]) -> bool:
    """What a replica does with a block of one-letter rows; whether it lived through it."""
    told = ledger.join("a")
    assert told.ended is None
    together = [row for row in rows if row not in told.suspects]
    ledger.began("a", together)
    if any(row in killers and row not in told.given_up for row in together):
        return False
    for row in rows:
        if row in told.suspects:
            ledger.began("a", [row])
            if row in killers:
                return False
            ledger.finished("a", [row])
    ledger.finished("a", list(rows))
    done += [row for row in rows if row not in told.given_up]
    return True


def test_a_first_process_is_told_nothing_and_counts_for_nothing():
    ledger = Ledger(max_restarts=5)
    assert ledger.join("a") == ledger.join("b") == FRESH
    assert ledger.summary() == {"engine_restarts": 0, "rows_retried": 0}


def test_a_row_is_a_suspect_after_two_deaths_and_given_up_after_three():
    """Row x is open each time; y only the first two times, z only the third time."""
    ledger = Ledger(max_restarts=5)
    told = [ledger.join("a")]
    for rows in ("xy", "xy", "xz"):
        ledger.began("a", list(rows))
        told.append(ledger.join("a"))
    assert told == [FRESH, standing(), standing(suspects="xy"), standing(suspects="y", given_up="x")]
    assert ledger.join("b") == replace(told[-1], restarted=False)
    assert ledger.summary() == {"engine_restarts": 3, "rows_retried": 2 + 1}


@pytest.mark.parametrize("killers", ["a", "c", "e", "ad", "abcde"])
def test_only_the_rows_that_kill_are_given_up(killers: str):
    """Two deaths make suspects of all five rows; then each killer, run alone, dies its third death by itself."""
    ledger, done = Ledger(max_restarts=7), list[str]()
    lives = [run_block(ledger, "abcde", killers, done) for _ in range(2 + len(killers))]
    assert lives == [False] * len(lives)
    assert run_block(ledger, "abcde", killers, done)
    assert done == [row for row in "abcde" if row not in killers]
    assert ledger.join("b").given_up == frozenset(killers)
    assert ledger.summary()["engine_restarts"] == len(lives)


def test_a_finished_row_is_no_suspect_and_another_replicas_death_is_not_its_own():
    ledger = Ledger(max_restarts=5)
    for replica in ("a", "b"):
        ledger.join(replica)
        ledger.began(replica, [f"{replica}1", f"{replica}2"])
    for _ in range(2):
        ledger.finished("a", ["a1"])
        ledger.join("a")
        ledger.began("a", ["a1", "a2"])
    assert ledger.join("c").suspects == {"a2"}
    assert ledger.summary() == {"engine_restarts": 2, "rows_retried": 2}  # a2, twice


@pytest.mark.parametrize("max_restarts", [0, 2])
def test_a_replicas_deaths_in_a_row_are_bounded(max_restarts: int):
    ledger = Ledger(max_restarts)
    told = [ledger.join("a") for _ in range(max_restarts + 2)][1:]
    silent = "its process was ended from outside; was there too little memory?"
    reason = f"a replica died {max_restarts + 1} times and no row was finished in between; the last error: {silent}"
    assert [t.ended for t in told] == [None] * max_restarts + [reason]
    assert ledger.why() == (reason, silent, False)


def test_a_lost_node_with_many_replicas_is_one_death_of_each():
    ledger = Ledger(max_restarts=1)
    assert all(ledger.join(replica).ended is None for replica in 2 * "abcdefgh")
    assert ledger.join("c").ended is not None


def test_a_finished_row_lets_the_deaths_be_counted_anew_and_an_empty_block_does_not():
    ledger = Ledger(max_restarts=1)
    ledger.join("a")
    ledger.join("a")
    ledger.finished("a", ["x"])
    assert ledger.join("a").ended is None
    ledger.finished("a", [])
    assert ledger.join("a").ended is not None


def test_the_reason_has_the_last_error():
    ledger = Ledger(max_restarts=1)
    ledger.join("a")
    for error in ("no memory", "no GPU"):
        ledger.failed("a", error)
        told = ledger.join("a")
    assert told.ended == "a replica died 2 times and no row was finished in between; the last error: no GPU"
    assert ledger.why() == (told.ended, "no GPU", False)


def test_an_error_explains_the_death_of_its_own_replica_alone():
    ledger = Ledger(max_restarts=0)
    ledger.join("b")
    ledger.failed("a", "no GPU")
    assert "was ended from outside" in str(ledger.join("b").ended)


def test_an_error_before_a_finished_row_is_no_reason_for_what_comes_after():
    ledger = Ledger(max_restarts=5)
    ledger.join("a")
    ledger.came_up()
    ledger.failed("a", "no memory")
    ledger.join("a")
    ledger.finished("a", [])
    assert ledger.why() == (None, "no memory", True)
    ledger.finished("a", ["x"])
    assert ledger.why() == (None, None, True)


def test_an_end_is_told_to_every_process_that_begins():
    ledger = Ledger(max_restarts=5)
    ledger.join("a")
    ledger.end("there is no such model")
    assert ledger.why() == ("there is no such model", None, False)
    told = standing(ended="there is no such model")
    assert ledger.join("a") == told
    assert ledger.join("b") == replace(told, restarted=False)


def test_deaths_after_the_end_do_not_change_its_reason():
    ledger = Ledger(max_restarts=0)
    for replica in ("a", "b"):
        ledger.join(replica)
    ended = ledger.join("a").ended
    assert ledger.join("b").ended == ended is not None


def test_whatever_a_replica_tells_is_a_sign_of_life():
    now = [0.0]
    ledger = Ledger(max_restarts=5, clock=lambda: now[0])
    assert ledger.idle_seconds() is None
    signs = [
        lambda: ledger.join("a"),
        lambda: ledger.fetched("a", 1, 10),
        ledger.came_up,
        lambda: ledger.began("a", ["x"]),
        lambda: ledger.finished("a", ["x"]),
    ]
    for sign in signs:
        now[0] += 7
        sign()
        assert ledger.idle_seconds() == 0
        now[0] += 3
        assert ledger.idle_seconds() == 3


def test_a_fetch_that_tells_the_same_again_is_none():
    now = [0.0]
    ledger = Ledger(max_restarts=5, clock=lambda: now[0])
    ledger.join("a")
    ledger.fetched("a", 1, 10)
    now[0] = 5
    ledger.fetched("a", 1, 10)
    assert ledger.idle_seconds() == 5
    ledger.fetched("a", 2, 10)
    assert ledger.idle_seconds() == 0


def test_the_slowest_fetch_is_shown_until_all_models_are_there():
    ledger = Ledger(max_restarts=5)
    shown = [ledger.doing()]
    for replica, here in [("a", 0), ("b", 5), ("a", 7), ("a", 10), ("b", 10)]:
        if replica not in ledger._open:
            ledger.join(replica)
        ledger.fetched(replica, here, 10)
        shown.append(ledger.doing())
    assert shown == [
        None,
        *(f"fetching the model {share}" for share in ("0%", "0%", "50%", "50%")),
        "starting the engine",
    ]


def test_a_replica_that_died_while_it_fetched_is_not_waited_for():
    ledger = Ledger(max_restarts=5)
    ledger.join("a")
    ledger.fetched("a", 1, 10)
    ledger.join("a")
    assert ledger.doing() == "starting the engine"
