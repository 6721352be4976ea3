"""A run that is killed again and again ends as an undisturbed one: ``make chaos``.

A tiny run of all steps, on three raylets of this machine, in a bucket of a local S3 server: Ray, Ray Data, Ray Train
and DeepSpeed are real, the engines are scripted. It runs once undisturbed. Then the same command is given until it ends
well, while at random moments of every step one of these is killed:

  driver    the process of the command, by SIGKILL
  job       the process group of the command, as `ray job stop` does: SIGTERM, and SIGKILL three seconds later
  worker    a worker of Ray Train
  replica   a replica with its engine
  raylet    a node; another one comes two seconds later
  store     the S3 server, which is away for one to four seconds

The last line is JSON: ``kills``; ``lost``, the rows that the undisturbed run has and this one has not, or the reverse;
``twice``, rows with an id that another one of their table has; ``equal``, whether all rows are the same, pairs among
them, and the weights within `TOLERANCE`. The exit status is 0 if nothing is lost, nothing is there twice and all is
equal.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml
from s3_server import BUCKET, server
from scripted_engine import WORDS
from tiny_model import write_tiny_model

HERE = Path(__file__).resolve().parent
PATHS = [str(HERE), str(HERE.parent), str(HERE.parents[1])]
"""Where the processes that are started here find their modules."""
TOLERANCE = 1e-4
"""Weights may differ by so much where a training went on with other groups of ranks."""
SILENCE_S = 300.0
"""A command that tells of nothing for so long hangs."""
RECIPE: dict[str, Any] = {
    "name": "chaos",
    "iterations": 1,
    "seed_data": {"ift": 24, "eft": 12, "held_out": 12, "verdict_samples": 2},
    "prompts": {
        "count": 24, "seed_demonstrations": 2, "new_demonstrations": 1, "requests_per_round": 12, "max_requests": 400,
        "max_rouge_l": 0.95, "sampling": {"max_tokens": 32},
    },
    "respond": {"candidates": 3, "sampling": {"max_tokens": 32}},
    "judge": {"rubric": "checklist", "verdicts": 2, "min_valid": 1, "sampling": {"max_tokens": 32}},
    "sft": {"learning_rate": 1.0e-3, "batch_size": 8, "micro_batch_tokens": 1024, "epochs": 1, "max_tokens": 512},
    "dpo": {"learning_rate": 1.0e-4, "batch_size": 4, "micro_batch_tokens": 1024, "epochs": 1, "max_tokens": 512},
    "alarms": {name: {"reaction": "warn"} for name in ("judge_at_chance", "loss_rise", "win_rate")},
    "training": {
        "workers": 2, "dtype": "float32", "checkpoint_every": 1, "max_failures": 5, "gradient_checkpointing": False,
    },
    "inference": {
        "tokens_in_flight": 256, "rows_per_block": 1, "min_replicas": 2, "max_replicas": 2, "max_restarts": 20,
        "stall_seconds": 120,
    },
    "tracking": {"trackers": []},
}  # fmt: skip
QUICK = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 5,
}
"""A lost node is noticed within seconds."""
KINDS = {
    "pooled": ("driver", "job", "replica", "raylet", "store"),
    "training": ("driver", "job", "worker", "raylet", "store"),
    "other": ("driver", "job", "store"),
}


@dataclass
class Kill:
    """One kill, and what it cost."""

    kind: str
    step: str
    time: float
    done: int
    """Units of the step that were done."""
    seconds: float | None = None
    """Until the run was further than it had been."""
    asked_again: int = 0
    """Requests to engines that had been sent before."""
    steps_again: int = 0
    """Optimizer steps since the checkpoint that the training went on from."""


@dataclass
class Planned:
    """A kill that is still to come in its step, or in a later one if that step ends before."""

    kind: str
    fraction: float
    """Of the step's time in the undisturbed run after which it comes."""


@dataclass
class Log:
    """The lines of a file that one or more processes write, as far as they are whole."""

    path: Path
    rows: list[dict[str, Any]] = field(default_factory=list)
    _read: int = 0

    def new(self) -> list[dict[str, Any]]:
        content = self.path.read_bytes()[self._read :] if self.path.exists() else b""
        lines = content[: content.rfind(b"\n") + 1]
        self._read += len(lines)
        found = [json.loads(line) for line in lines.splitlines()]
        self.rows += found
        return found


class Nodes:
    """Three raylets of one CPU each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 1, "include_dashboard": False, "_system_config": QUICK},
        )
        for _ in range(2):
            self._cluster.add_node(num_cpus=1)
        self.address = str(self._cluster.address)

    def lose(self, rng: random.Random) -> None:
        """One that is not the head's; another one comes."""
        self._cluster.remove_node(rng.choice(sorted(self._cluster.worker_nodes, key=id)), allow_graceful=False)
        time.sleep(2)
        self._cluster.add_node(num_cpus=1)

    def end(self) -> None:
        self._cluster.shutdown()


class Store:
    """The way to the S3 server, which can be away."""

    def __init__(self, port: int, target: int):
        self._command = [sys.executable, str(HERE / "forwarder.py"), str(port), str(target)]
        self._process = subprocess.Popen(self._command)

    def away(self, seconds: float) -> None:
        self.end()
        time.sleep(seconds)
        self._process = subprocess.Popen(self._command)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


@dataclass
class World:
    """Where commands run: a cluster, a store, and a folder for what is not the run's."""

    nodes: Nodes
    store: Store
    folder: Path
    environment: dict[str, str]

    def command(self, name: str) -> "subprocess.Popen[bytes]":
        """Give the command of the run `name`, in a process group of its own."""
        files = [self.folder / f"{name}-{what}.jsonl" for what in ("events", "requests")]
        arguments = [str(self.folder / "recipe.yaml"), run_dir(name), *map(str, files)]
        with (self.folder / f"{name}.log").open("ab") as said:
            return subprocess.Popen(
                [sys.executable, str(HERE / "driver.py"), *arguments],
                env=self.environment, stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip


def run_dir(name: str) -> str:
    return f"s3://{BUCKET}/{name}"


class Disturbed:
    """A run whose command is given until it ends well. `planned` has the kills of each step."""

    def __init__(self, name: str, world: World, seed: int, planned: dict[str, list[Planned]], usual: dict[str, float]):
        self.kills: list[Kill] = []
        self.commands = 0
        self._name, self._world, self._planned, self._usual = name, world, planned, usual
        self._rng = random.Random(seed)
        self._events = Log(world.folder / f"{name}-events.jsonl")
        self._requests = Log(world.folder / f"{name}-requests.jsonl")
        self._order = list(planned)
        self._now: tuple[str, float, int] | None = None
        """The step that the command is at, since when, and what is done of it; None while it starts."""
        self._asked: set[str] = set()
        """Requests to engines."""
        self._trained: set[tuple[str, int]] = set()
        """Optimizer steps, by the training and their numbers."""

    def run(self) -> None:
        while True:
            self.commands += 1
            self._now, heard = None, time.monotonic()
            process = self._world.command(self._name)
            try:
                while process.poll() is None:
                    time.sleep(0.02)
                    if self._hear():
                        heard = time.monotonic()
                    if time.monotonic() - heard > SILENCE_S:
                        raise SystemExit(f"the run hangs at {self._now}; see {self._world.folder}/{self._name}.log")
                    self._strike(process)
            finally:
                _kill_group(process)
            self._hear()
            if process.returncode == 0:
                self._over(time.time())
                return
            if self.commands > 3 * len(self.kills):
                raise SystemExit(f"the run does not come to its end; see {self._world.folder}/{self._name}.log")

    def durations(self) -> dict[str, float]:
        """Seconds of each step, from its first event to its last one, in the order in which they began."""
        times: dict[str, list[float]] = {}
        for event in self._events.rows:
            times.setdefault(event["label"], []).append(event["time"])
        return {label: max(found) - min(found) for label, found in times.items()}

    def _hear(self) -> bool:
        """Take note of what the command and its engines have told. Returns whether they told something."""
        events, requests = self._events.new(), self._requests.new()
        for event in events:
            label, what, done = event["label"], event["what"], event["done"]
            if self._now is None or self._now[0] != label:
                self._carry_over(label)
                self._now = (label, event["time"], 0)
            if what == "done":
                self._now = (label, self._now[1], done)
            self._further(label, what, done, event["time"])
            if what == "trained" and kind_of(label) == "training":
                if (label, done) in self._trained and self.kills:
                    self.kills[-1].steps_again += 1
                self._trained.add((label, done))
        for request in (found["request"] for found in requests):
            if request in self._asked and self.kills:
                self.kills[-1].asked_again += 1
            self._asked.add(request)
        return bool(events or requests)

    def _carry_over(self, label: str) -> None:
        """Kills that came too late for their steps come in this one."""
        if label not in self._order:
            return
        for earlier in self._order[: self._order.index(label)]:
            left, self._planned[earlier] = self._planned[earlier], []
            kinds = KINDS[kind_of(label)]
            self._planned[label] += [k if k.kind in kinds else Planned("driver", k.fraction) for k in left]

    def _further(self, label: str, what: str, done: int, at: float) -> None:
        """Note for the kills before when the run was further than at them."""
        place = self._order.index(label) if label in self._order else -1
        for kill in self.kills:
            before = self._order.index(kill.step)
            is_further = place > before or (place == before and what == "done" and done > kill.done)
            if kill.seconds is None and kill.time < at and is_further:
                kill.seconds = at - kill.time

    def _over(self, at: float) -> None:
        for kill in self.kills:
            kill.seconds = at - kill.time if kill.seconds is None else kill.seconds

    def _strike(self, process: "subprocess.Popen[bytes]") -> None:
        """Kill what is planned next for this step, if it is time for that."""
        if self._now is None or not self._planned.get(self._now[0]):
            return
        label, since, done = self._now
        planned = self._planned[label][0]
        since = max([since, *(kill.time + 1 for kill in self.kills)])
        if time.time() < since + planned.fraction * self._usual.get(label, 1.0):
            return
        at = time.time()
        if self._struck(planned.kind, process):
            self._planned[label].pop(0)
            self.kills.append(Kill(planned.kind, label, at, done))
            print(f"{len(self.kills):>3}  {planned.kind:<8} {label}, {done} done", file=sys.stderr, flush=True)

    def _struck(self, kind: str, process: "subprocess.Popen[bytes]") -> bool:
        """Whether there was something of this kind to kill."""
        if kind == "driver":
            process.kill()
        elif kind == "job":
            os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(3)
            _kill_group(process)
        elif kind == "raylet":
            self._world.nodes.lose(self._rng)
        elif kind == "store":
            self._world.store.away(self._rng.uniform(1, 4))
        else:
            title = {"worker": "RayTrainWorker", "replica": "MapWorker"}[kind]
            ours = psutil.Process().children(recursive=True)  # and not other clusters on this machine
            found = sorted(found.pid for found in ours if title in _title(found))
            if not found:
                return False
            os.kill(self._rng.choice(found), signal.SIGKILL)
        return True


def _title(process: psutil.Process) -> str:
    """The first words of its command line, if it is one of Ray's processes."""
    try:
        first = next(iter(process.cmdline()), "")
        return first if first.startswith("ray::") else ""
    except psutil.Error:
        return ""


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def kind_of(label: str) -> str:
    """Which of `KINDS` suit the step."""
    title = label.partition(" · ")[2]
    if title in ("SFT", "DPO"):
        return "training"
    return "pooled" if title in ("verdicts", "prompts", "evaluate", "respond and judge", "score answers") else "other"


def schedule(labels: list[str], kills: int, seed: int) -> dict[str, list[Planned]]:
    """`kills` of them, as many of each kind as may be, in all steps by turns."""
    rng = random.Random(seed)
    planned: dict[str, list[Planned]] = {label: [] for label in labels}
    used: Counter[str] = Counter()
    places = [labels[i % len(labels)] for i in range(kills)]
    if kills < len(labels):  # the ones that can show most
        rich = [label for label in labels if kind_of(label) != "other"]
        places = sorted(rng.sample(rich, min(kills, len(rich))), key=labels.index)
    for label in places:
        kinds = KINDS[kind_of(label)]
        before = {kill.kind for kill in planned[label]}
        kind = min(kinds, key=lambda kind: (kind in before, used[kind], rng.random()))
        used[kind] += 1
        planned[label].append(Planned(kind, rng.random()))
    return planned


def messages(rng: random.Random) -> Iterator[dict[str, Any]]:
    """Ranked replies that say their quality."""
    for i in range(48):
        replies = [f"quality {quality} {' '.join(rng.sample(WORDS, 6))}" for quality in (5, 2)]
        responses = [{"text": text, "rank": rank} for rank, text in enumerate(replies)]
        yield {"prompt": f"Say {' '.join(rng.sample(WORDS, 3))} and the number {i}.", "responses": responses}


def write_inputs(folder: Path) -> None:
    model, source = write_tiny_model(folder / "M0"), folder / "ranked.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in messages(random.Random(0))))
    seed_data = RECIPE["seed_data"] | {"source": str(source), "verdicts": str(model)}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE | {"model": str(model), "seed_data": seed_data}))


# What the runs have left


@dataclass
class Left:
    """The tables of a run by step and name, with a text for each row by its id, and the weights of its models."""

    rows: dict[str, dict[str, list[str]]]
    weights: dict[str, Any]


def left_by(name: str) -> Left:
    from safetensors.torch import load

    from selfreward_ray.plan import plan
    from selfreward_ray.store.folder import Folder
    from selfreward_ray.store.run import RunLayout
    from selfreward_ray.store.tables import read_columns

    layout = RunLayout(run_dir(name))
    rows: dict[str, dict[str, list[str]]] = {}
    for step in plan(layout.recipe(), layout):
        for table in step.folder.folders():
            found: dict[str, list[str]] = {}
            for row in read_columns(step.folder / table, None):
                found.setdefault(row["id"], []).append(json.dumps(row, sort_keys=True))
            if found:
                rows[f"{step.label}: {table}"] = found
    weights = {}
    for t in (1, 2):
        model = Folder(layout.model(t).uri)
        for path in model.files(".safetensors"):
            named = load(model.read_bytes(path.rpartition("/")[2]))
            weights |= {f"M{t} {tensor}": value for tensor, value in named.items()}
    return Left(rows, weights)


def compared(expected: Left, found: Left) -> dict[str, Any]:
    """Rows lost and there twice, whether all is equal, and what is not."""
    differing, lost, twice = [], 0, 0
    for table in sorted(expected.rows.keys() | found.rows.keys()):
        ours, theirs = found.rows.get(table, {}), expected.rows.get(table, {})
        lost += len(ours.keys() ^ theirs.keys())
        twice += sum(len(rows) - 1 for rows in ours.values())
        if ours != theirs:
            differing.append(table)
    names = expected.weights.keys() | found.weights.keys()
    both = expected.weights.keys() & found.weights.keys()
    apart = max((float((expected.weights[n] - found.weights[n]).abs().max()) for n in both), default=0.0)
    same = not differing and len(names) == len(both) > 0 and apart <= TOLERANCE
    return {
        "lost": lost, "twice": twice, "equal": same, "differing": differing, "tables": len(expected.rows),
        "rows": sum(map(len, expected.rows.values())), "largest_weight_difference": apart,
    }  # fmt: skip


def print_table(kills: list[Kill]) -> None:
    print(f"{'kill':<9}{'step':<26}{'done':>5}{'seconds':>9}{'requests again':>16}{'steps again':>13}")
    for kill in kills:
        seconds = 0.0 if kill.seconds is None else kill.seconds
        print(f"{kill.kind:<9}{kill.step:<26}{kill.done:>5}{seconds:>9.1f}{kill.asked_again:>16}{kill.steps_again:>13}")


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """A cluster and a bucket. The variables of the bucket, the cache and Ray are this process's too."""
    with ExitStack() as stack:
        # Before Ray is imported. Sockets in it have long names.
        os.environ["RAY_TMPDIR"] = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True)
        )
        from selfreward_ray.cluster.rehearsal.raylets import free_port

        target = stack.enter_context(server(folder / "s3.log"))
        port = free_port()
        store = Store(port, target)
        stack.callback(lambda: store.end())
        os.environ |= {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "SELFREWARD_CACHE": str(folder / "cache"),
            "PYTHONPATH": os.pathsep.join(PATHS),
        }
        nodes = Nodes()
        stack.callback(nodes.end)
        yield World(nodes, store, folder, os.environ | {"RAY_ADDRESS": nodes.address})


def main(kills: int, seed: int, folder: Path, say: Callable[[str], None] = print) -> dict[str, Any]:
    began = time.monotonic()
    write_inputs(folder)
    with world(folder) as place:
        undisturbed = Disturbed("undisturbed", place, seed, {}, {})
        undisturbed.run()
        usual = undisturbed.durations()
        say(f"undisturbed: {', '.join(f'{label} {seconds:.1f} s' for label, seconds in usual.items())}")
        disturbed = Disturbed("disturbed", place, seed, schedule(list(usual), kills, seed), usual)
        disturbed.run()
        found = compared(left_by("undisturbed"), left_by("disturbed"))
    print_table(disturbed.kills)
    by_kind = Counter(kill.kind for kill in disturbed.kills)
    return {
        "kills": len(disturbed.kills), "planned": kills, **found, "commands": disturbed.commands,
        "by_kind": dict(by_kind), "steps_hit": len({kill.step for kill in disturbed.kills}), "steps": len(usual),
        "seed": seed,
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=36, help="kills that are planned (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the kinds and moments of kills (%(default)s)")
    parser.add_argument("--keep", type=Path, help="folder for logs; by default they are removed")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started is ended
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as scratch:
        if given.keep:
            given.keep.mkdir(parents=True, exist_ok=True)
        result = main(given.kills, given.seed, given.keep or Path(scratch))
    print(json.dumps(result))
    is_good = (result["lost"], result["twice"], result["equal"]) == (0, 0, True)
    sys.exit(0 if is_good and result["kills"] == result["planned"] else 1)
