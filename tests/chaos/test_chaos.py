"""A run that is killed at random moments ends as if it had not been: a short form of `make chaos`, and its parts."""

import json
import os
import subprocess
import sys
import urllib.request
from collections import Counter
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from chaos import HERE, KINDS, PATHS, RECIPE, Disturbed, Kill, Left, Log, Store, compared, kind_of, schedule
from scripted_engine import said

from selfreward_ray.judging.rubric import load_rubric
from selfreward_ray.prompts.few_shot import demonstration_prompt, read_proposal
from selfreward_ray.prompts.filters import FILTERS
from selfreward_ray.recipe.text import parse_recipe

LABELS = [
    "M1 · seed data", "M2 · prompts", "M1 · verdicts", "M1 · EFT", "M1 · SFT", "M1 · evaluate",
    "M2 · respond and judge", "M2 · pairs", "M2 · DPO", "M2 · evaluate", "M1 · score answers", "M2 · against M1",
    "report",
]  # fmt: skip
NO_WEIGHTS: dict[str, object] = {}


@pytest.mark.parametrize("seed", range(5))
def test_kills_of_every_kind_are_spread_over_all_steps(seed: int):
    planned = schedule(LABELS, 36, seed)
    assert sum(map(len, planned.values())) == 36
    assert min(map(len, planned.values())) >= 2
    kinds = Counter(kill.kind for kills in planned.values() for kill in kills)
    assert kinds.keys() == {kind for kinds in KINDS.values() for kind in kinds}
    assert min(kinds.values()) >= 2
    for label, kills in planned.items():
        assert {kill.kind for kill in kills} <= set(KINDS[kind_of(label)])
        assert all(0 <= kill.fraction < 1 for kill in kills)
    assert planned == schedule(LABELS, 36, seed)


def test_what_is_lost_twice_or_other_is_counted():
    whole = Left({"a": {"1": ["x"], "2": ["y"]}, "b": {"1": ["z"]}}, NO_WEIGHTS)
    same = Left({"a": {"2": ["y"], "1": ["x"]}, "b": {"1": ["z"]}}, NO_WEIGHTS)
    found = compared(whole, same)
    assert (found["lost"], found["twice"], found["differing"]) == (0, 0, [])
    assert not found["equal"], "there are no weights"
    other = Left({"a": {"1": ["x", "x"], "3": ["y"]}, "c": {"1": ["z"]}}, NO_WEIGHTS)
    found = compared(whole, other)
    assert (found["lost"], found["twice"], found["differing"]) == (4, 1, ["a", "b", "c"])


@pytest.mark.parametrize(("by", "equal"), [(0.0, True), (5e-5, True), (2e-4, False)])
def test_weights_are_equal_within_the_tolerance(by: float, equal: bool):
    import torch

    rows = {"a": {"1": ["x"]}}
    one, other = (Left(rows, {"M1 w": torch.full((2,), value)}) for value in (1.0, 1.0 + by))
    assert compared(one, other)["equal"] == equal
    assert not compared(one, Left(rows, {"M2 w": torch.ones(2)}))["equal"]


def test_a_line_is_read_when_it_is_whole(tmp_path: Path):
    log = Log(tmp_path / "log")
    assert log.new() == []
    log.path.write_text('{"a": 1}\n{"a"')
    assert log.new() == [{"a": 1}]
    with log.path.open("a") as file:
        file.write(": 2}\n")
    assert log.new() == [{"a": 2}]
    assert log.rows == [{"a": 1}, {"a": 2}]


def test_what_the_engines_say_can_be_used():
    """Every proposal passes the filters of a text, verdicts are read, and the same request has the same answer."""
    recipe = parse_recipe(RECIPE | {"model": "m", "seed_data": RECIPE["seed_data"] | {"source": "ranked.jsonl"}})
    proposals = [read_proposal(said(demonstration_prompt(["Say so."]), f"M2/q{i:06d}")) for i in range(100)]
    assert len(set(proposals)) == 100
    assert [text for text in proposals for check in FILTERS.values() if check(text)] == []
    reply = said("Explain so.", "M2/q000000/r0")
    verdict = said(f"<instruction>Explain so.</instruction>\n<reply>{reply}</reply>", "M2/q000000/r0/v1")
    assert load_rubric(recipe.judge.rubric).read_score(verdict) == float(reply.split()[1])
    assert said("Explain so.", "M2/q000000/r0") == reply != said("Explain so.", "M2/q000000/r1")


class Answers(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")


def test_the_store_is_away_for_a_while_and_has_lost_nothing():
    from selfreward_ray.cluster.rehearsal.raylets import free_port

    server, port = HTTPServer(("127.0.0.1", 0), Answers), free_port()
    Thread(target=server.serve_forever, daemon=True).start()
    store = Store(port, server.server_address[1])

    def asked() -> bytes:
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
                    return bytes(answer.read())
            except OSError:
                subprocess.run(["sleep", "0.1"], check=True)
        raise AssertionError("no answer")

    try:
        assert asked() == b"ok"
        store.away(0.1)
        assert asked() == b"ok"
    finally:
        store.end()
        server.shutdown()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/")


def test_what_a_kill_cost_is_told_from_what_was_done_before(tmp_path: Path):
    """Two optimizer steps of three are done, and one of them again; of three requests one is sent again."""
    world = type("World", (), {"folder": tmp_path})
    run = Disturbed("it", world, 0, {label: [] for label in LABELS}, {})  # type: ignore[arg-type]
    events, requests = tmp_path / "it-events.jsonl", tmp_path / "it-requests.jsonl"

    def tell(at: float, what: str, done: int = 0) -> None:
        with events.open("a") as log:
            log.write(json.dumps({"time": at, "label": "M1 · SFT", "what": what, "done": done}) + "\n")

    def ask(*names: str) -> None:
        with requests.open("a") as log:
            log.writelines(json.dumps({"request": name}) + "\n" for name in names)

    for at, what, done in ((1, "begin", 0), (2, "trained", 1), (2, "trained", 2), (2, "done", 2)):
        tell(at, what, done)
    ask("a", "b")
    assert run._hear()
    run.kills.append(Kill("worker", "M1 · SFT", 3.0, 2))
    for at, what, done in ((4, "end", 0), (5, "begin", 0), (6, "done", 1), (7, "trained", 2), (7, "done", 2)):
        tell(at, what, done)
    ask("b", "c")
    run._hear()
    assert run.kills[0].seconds is None
    tell(9, "trained", 3)
    tell(9, "done", 3)
    run._hear()
    assert (run.kills[0].seconds, run.kills[0].steps_again, run.kills[0].asked_again) == (6, 1, 1)
    assert not run._hear()


def test_kills_that_come_too_late_come_in_the_next_step(tmp_path: Path):
    world = type("World", (), {"folder": tmp_path})
    planned = schedule(LABELS, 36, 0)
    run = Disturbed("it", world, 0, planned, {})  # type: ignore[arg-type]
    (tmp_path / "it-events.jsonl").write_text(
        json.dumps({"time": 1, "label": LABELS[-1], "what": "begin", "done": 0}) + "\n"
    )
    run._hear()
    assert {label: len(kills) for label, kills in planned.items() if kills} == {LABELS[-1]: 36}
    assert {kill.kind for kill in planned[LABELS[-1]]} <= set(KINDS["other"])


@pytest.mark.engines
@pytest.mark.cluster  # minutes: each of its two runs has two trainings
def test_a_run_with_a_few_kills_ends_as_an_undisturbed_one(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, HERE / "chaos.py", "--kills", "3", "--keep", tmp_path],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(PATHS)},
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["kills"], result["lost"], result["twice"], result["equal"]) == (3, 0, 0, True)
