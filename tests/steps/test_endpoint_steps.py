"""Steps whose judge is an endpoint: a scripted server on this machine. What is paid for is not asked again."""

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from scripted_endpoint import Reply, ScriptedEndpoint, chat, error, serving

from selfreward_ray.check.check import check_run
from selfreward_ray.errors import UserError
from selfreward_ray.inference import block, endpoint_limits, endpoint_pool
from selfreward_ray.inference.pool import PoolStopped
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import Comparison, Dropped, JudgedPrompt, Prompt, RankedReply, RankedSet
from selfreward_ray.steps.asked_model import proposer_of
from selfreward_ray.steps.compare import compare
from selfreward_ray.steps.evaluate import evaluate
from selfreward_ray.steps.judge import judge
from selfreward_ray.steps.pooled import run_pooled
from selfreward_ray.steps.respond import respond
from selfreward_ray.steps.sample import sample
from selfreward_ray.steps.verdicts import verdicts
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import Manifest
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import read_rows

KEY = "sk-Geheim-123"
ROWS = 6
CALLS = 2 * ROWS  # two verdicts each


@pytest.fixture(autouse=True)
def _no_key_no_proxy_no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    async def at_once(*_: Any) -> None: ...

    monkeypatch.setattr(endpoint_limits.Clock, "sleep", at_once)


def recipe(constrained: bool = False, **endpoint: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "model": "m0",
            "judge": {
                "rubric": "checklist", "verdicts": 2, "min_valid": 2, "retries": 0, "constrained": constrained,
                "sampling": {"max_tokens": 40},
            },
            "inference": {"rows_per_block": 2},
            "endpoint": endpoint,
        }
    )  # fmt: skip


@pytest.fixture
def replies(tmp_path: Path) -> str:
    rows = [{"prompt": f"Question {number}?", "reply": f"Reply {number}."} for number in range(ROWS)]
    (tmp_path / "replies.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(tmp_path / "replies.jsonl")


def judged(endpoint: ScriptedEndpoint, replies: str, out: Path, **settings: Any) -> Manifest:
    (manifest,) = run_pooled(judge(recipe(**settings), model=endpoint.address, replies=replies, out=str(out)))
    return manifest


def number_of(body: dict[str, Any]) -> int:
    """Which reply a request is about."""
    return int(body["messages"][0]["content"].split("Reply ")[1][0])


def verdict(body: dict[str, Any], _: int = 0) -> dict[str, Any]:
    """The reply's number is its score, with a text for each."""
    return chat(f"Thought.\nScore: {number_of(body) % 5}")


def scores(out: Path) -> dict[str, list[float | None]]:
    rows = read_rows(Folder(str(out)), JudgedPrompt)
    return {row.candidates[0].text: [v.score for v in row.candidates[0].verdicts] for row in rows}


ALL = {f"Reply {number}.": [float(number % 5)] * 2 for number in range(ROWS)}


def test_an_endpoint_judges_and_its_tokens_are_counted(tmp_path: Path, replies: str):
    with serving(verdict) as endpoint:
        manifest = judged(endpoint, replies, tmp_path / "out")
    assert scores(tmp_path / "out") == ALL
    assert len(endpoint.asked) == CALLS
    assert manifest.tokens == 3 * CALLS
    assert manifest.metrics == {
        "prompt_tokens": 10 * CALLS, "cached_tokens": None, "generated_tokens": 3 * CALLS, "prefix_hit_rate": None,
        "verdicts": CALLS, "invalid_verdicts": 0, "verdicts_asked_again": 0,
        "endpoint_retries": 0, "answers_reused": 0, "model": endpoint.address,
        "scores": {str(score): 2 * sum(number % 5 == score for number in range(ROWS)) for score in range(5)},
        "reading": {"format": "replies", "unused_columns": [], "bad_rows": 0},
    }  # fmt: skip
    assert not (tmp_path / "out" / endpoint_pool.ANSWERS).exists()
    with serving(verdict) as again:
        again.address = endpoint.address
        assert judged(again, replies, tmp_path / "out") == manifest
    assert again.asked == []


def test_cached_tokens_are_counted_where_the_endpoint_reports_them(tmp_path: Path, replies: str):
    with serving(lambda *_: chat("Score: 1", prompt_tokens_details={"cached_tokens": 4})) as endpoint:
        metrics = judged(endpoint, replies, tmp_path / "out").metrics
    assert (metrics["cached_tokens"], metrics["prefix_hit_rate"]) == (4 * CALLS, 0.4)


def test_an_endpoint_compares(tmp_path: Path, replies: str):
    """It always prefers the first: every pair depends on the order."""
    with serving(lambda *_: chat("Better: first")) as endpoint:
        step = compare(recipe(), model=endpoint.address, left=replies, right=replies, out=str(tmp_path / "out"))
        (manifest,) = run_pooled(step)
    assert {row.preferred for row in read_rows(Folder(str(tmp_path / "out")), Comparison)} == {"first"}
    assert manifest.metrics["outcomes"]["first_in_both"] == ROWS
    assert len(endpoint.asked) == 2 * CALLS


def test_an_endpoint_judges_ranked_replies(tmp_path: Path):
    seed = Step("seed", str(tmp_path / "seed"), {}, {})
    seed.is_done()
    seed.write(
        [RankedSet("s", "Why?", (RankedReply("s/r0", "Reply 1.", 0), RankedReply("s/r1", "Reply 2.", 1)))],
        RankedSet, "eft",
    )  # fmt: skip
    seed.finish(offered=1, kept=1)
    with serving(verdict) as endpoint:
        step = verdicts(recipe(), model=endpoint.address, seed_data=str(tmp_path / "seed"), out=str(tmp_path / "out"))
        (manifest,) = run_pooled(step)
    assert (manifest.rows, manifest.metrics["verdicts"]) == ({"rows": 1}, 6)


def test_no_more_requests_at_a_time_than_the_recipe_allows(tmp_path: Path, replies: str):
    with serving(lambda body, _: Reply(verdict(body), hang=0.2)) as endpoint:
        judged(endpoint, replies, tmp_path / "out", concurrency=3)
    assert endpoint.most_at_a_time == 3


def test_a_refused_request_costs_its_row_alone(tmp_path: Path, replies: str):
    def script(body: dict[str, Any], _: int) -> Any:
        return error(400, "not about that") if number_of(body) == 3 else verdict(body)

    with serving(script) as endpoint:
        manifest = judged(endpoint, replies, tmp_path / "out")
    assert manifest.dropped == {"RequestRefused: HTTP 400: not about that": 1}
    assert scores(tmp_path / "out") == {text: score for text, score in ALL.items() if text != "Reply 3."}


def test_a_reply_that_does_not_fit_is_not_asked_about(tmp_path: Path, replies: str):
    def script(body: dict[str, Any], _: int) -> Any:
        long = number_of(body) == 3
        return error(400, "This model's maximum context length is 10 tokens") if long else verdict(body)

    with serving(script) as endpoint:
        judged(endpoint, replies, tmp_path / "out")
    assert scores(tmp_path / "out") == ALL | {"Reply 3.": [None, None]}
    row = next(r for r in read_rows(Folder(str(tmp_path / "out")), JudgedPrompt) if r.candidates[0].text == "Reply 3.")
    assert row.candidates[0].verdicts[0].text.startswith("not asked: the prompt and the tokens to generate exceed")


@pytest.mark.parametrize("answered", [1, 5, CALLS - 1])
def test_no_answer_is_paid_for_twice_after_the_endpoint_fails(tmp_path: Path, replies: str, answered: int):
    """It answers some requests, in the middle of blocks, and then refuses the key; then it answers again."""
    out = tmp_path / "out"
    paid: Counter[str] = Counter()

    def script(body: dict[str, Any], number: int) -> Any:
        if number >= answered:
            return error(401, "expired")
        paid[body["messages"][0]["content"]] += 1
        return verdict(body)

    with serving(script) as endpoint:
        with pytest.raises(PoolStopped, match=r"HTTP 401: expired; it wants a key.*\. [0-5] of 6 rows are finished; "):
            judged(endpoint, replies, out, concurrency=1)
        endpoint.script = lambda body, _: paid.update([body["messages"][0]["content"]]) or verdict(body)
        manifest = judged(endpoint, replies, out, concurrency=4)
    assert set(paid.values()) == {2}
    assert sum(paid.values()) == CALLS
    assert scores(out) == ALL
    assert manifest.metrics["answers_reused"] == answered % 4  # of unfinished blocks: a block has four requests
    assert not (out / endpoint_pool.ANSWERS).exists()


def test_equal_requests_for_several_verdicts_are_several_draws(tmp_path: Path, replies: str):
    """Each request gets another text. Both verdicts on a reply are kept through an interruption."""

    def script(_body: dict[str, Any], number: int) -> Any:
        return chat(f"draw {number}\nScore: 1") if number < 6 else error(401, "expired")

    with serving(script) as endpoint:
        with pytest.raises(PoolStopped):
            judged(endpoint, replies, tmp_path / "out")
        endpoint.script = lambda _body, number: chat(f"draw {number}\nScore: 1")
        judged(endpoint, replies, tmp_path / "out")
    rows = read_rows(Folder(str(tmp_path / "out")), JudgedPrompt)
    texts = [v.text for row in rows for v in row.candidates[0].verdicts]
    assert len(set(texts)) == CALLS


KILLED = """
import sys
from test_endpoint_steps import recipe, judge, run_pooled
run_pooled(judge(recipe(concurrency=1), model=sys.argv[1], replies=sys.argv[2], out=sys.argv[3]))
"""


def test_no_answer_is_paid_for_twice_after_a_kill(tmp_path: Path, replies: str):
    """SIGKILL while the 8th request is under way: seven answers are there, three of them of a half-finished block."""
    out = tmp_path / "out"
    paid: Counter[int] = Counter()
    killed: list[subprocess.Popen[bytes]] = []

    def script(body: dict[str, Any], number: int) -> Any:
        if number == 7:
            os.kill(killed[0].pid, signal.SIGKILL)
            return Reply(reset=True)
        paid[number_of(body)] += 1
        return verdict(body)

    with serving(script) as endpoint:
        arguments = [sys.executable, "-c", KILLED, endpoint.address, replies, str(out)]
        path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
        killed.append(subprocess.Popen(arguments, env=os.environ | {"PYTHONPATH": path}))
        assert killed[0].wait(timeout=120) == -signal.SIGKILL
        assert len(list((out / endpoint_pool.ANSWERS).iterdir())) == 7
        endpoint.script = lambda body, _: paid.update([number_of(body)]) or verdict(body)
        manifest = judged(endpoint, replies, out)
    assert paid == dict.fromkeys(range(ROWS), 2)
    assert scores(out) == ALL
    assert manifest.metrics["answers_reused"] == 3


def test_storage_that_fails_stops_the_step_and_drops_no_row(
    tmp_path: Path, replies: str, monkeypatch: pytest.MonkeyPatch
):
    write = Folder.write_bytes

    def full(self: Folder, name: str, data: bytes) -> None:
        if self.uri.endswith(endpoint_pool.ANSWERS):
            raise OSError("no space left")
        write(self, name, data)

    monkeypatch.setattr(block, "RETRY_DELAYS_S", (0.0,))
    with serving(verdict) as endpoint:
        with monkeypatch.context() as patch:
            patch.setattr(Folder, "write_bytes", full)
            with pytest.raises(PoolStopped, match=r"its answers cannot be stored in .*/out/answers: no space left"):
                judged(endpoint, replies, tmp_path / "out")
        assert not (tmp_path / "out" / "dropped").exists()
        judged(endpoint, replies, tmp_path / "out")
    assert scores(tmp_path / "out") == ALL


def test_an_interruption_keeps_the_answers_under_way(tmp_path: Path, replies: str, monkeypatch: pytest.MonkeyPatch):
    """Ctrl-C after the first block: requests that are sent by then are answered, kept, and not sent again."""

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with serving(lambda body, number: Reply(verdict(body), hang=0.02 if number < 4 else 1.0)) as endpoint:
        with monkeypatch.context() as patch:
            patch.setattr("selfreward_ray.steps.pooled.Progress.update", interrupted_after_first(interrupted))
            with pytest.raises(KeyboardInterrupt):
                judged(endpoint, replies, tmp_path / "out", concurrency=4)
        sent = len(endpoint.asked)
        assert 4 < sent < CALLS
        judged(endpoint, replies, tmp_path / "out")
    assert len(endpoint.asked) == CALLS
    assert scores(tmp_path / "out") == ALL


def interrupted_after_first(then: Any) -> Any:
    """Replaces `Progress.update`: calls `then` when rows are done."""

    def update(_self: Any, done: int, tokens: int = 0) -> None:
        if done:
            then()

    return update


@pytest.mark.parametrize(
    ("budget", "answered", "message"),
    [
        ({"max_calls": 5}, 5, "5 calls with 65 tokens were answered, and the next one could exceed endpoint.max_calls"),
        ({"max_tokens": 200}, None, "could exceed endpoint.max_tokens = 200; raise it"),
    ],
)  # fmt: skip
def test_a_spent_budget_stops_the_step_and_a_larger_one_continues_it(
    tmp_path: Path, replies: str, budget: dict[str, int], answered: int | None, message: str
):
    out = tmp_path / "out"
    with serving(verdict) as endpoint:
        with pytest.raises(PoolStopped) as raised:
            judged(endpoint, replies, out, **budget)
        first = len(endpoint.asked)
        assert 0 < first < CALLS
        assert answered in (first, None)
        assert message in str(raised.value)
        assert str(raised.value).startswith(f"endpoint {endpoint.address}: the budget is spent: {first} calls")
        assert "of 6 rows are finished; these, and answers to requests of the others, are kept" in str(raised.value)
        # The same budget is spent already: earlier attempts count.
        with pytest.raises(PoolStopped, match=f"{first} calls with {13 * first} tokens"):
            judged(endpoint, replies, out, **budget)
        assert len(endpoint.asked) == first
        judged(endpoint, replies, out, **{name: 100 * limit for name, limit in budget.items()})
    assert len(endpoint.asked) == CALLS
    assert scores(out) == ALL


def test_a_budget_of_tokens_is_not_exceeded(tmp_path: Path, replies: str):
    """Of 16 requests that may run at a time, only so many run as fit at their maximum length."""
    usage = {"prompt_tokens": 60, "completion_tokens": 40}
    with (
        serving(lambda *_: Reply(chat("Score: 1", **usage), hang=0.2)) as endpoint,
        pytest.raises(PoolStopped, match="the budget is spent"),
    ):
        judged(endpoint, replies, tmp_path / "out", max_tokens=700, concurrency=16)
    assert 5 <= len(endpoint.asked) <= 7
    assert 1 < endpoint.most_at_a_time <= 7


def test_the_key_is_in_no_file_log_or_error(
    tmp_path: Path, replies: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: Any
):
    monkeypatch.setenv("JUDGE_KEY", KEY)
    caplog.set_level(0)

    def script(body: dict[str, Any], number: int) -> Any:
        match number:
            case 0:
                return error(500, f"internal: {KEY}")
            case 6:
                return error(403, f"forbidden: {KEY}")
            case _:
                return error(400, f"odd: {KEY}") if number_of(body) == 1 else verdict(body)

    with serving(script) as endpoint:
        with pytest.raises(PoolStopped, match="forbidden: …; it refuses the key in .* JUDGE_KEY") as raised:
            judged(endpoint, replies, tmp_path / "out", api_key_env="JUDGE_KEY", concurrency=1)
        judged(endpoint, replies, tmp_path / "out", api_key_env="JUDGE_KEY")
    assert {headers["Authorization"] for headers in endpoint.headers} == {f"Bearer {KEY}"}
    dropped = read_rows(Folder(str(tmp_path / "out")), Dropped, "dropped")
    assert [row.reason for row in dropped] == ["RequestRefused: HTTP 400: odd: …"]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
    printed = capfd.readouterr()
    assert KEY not in caplog.text + printed.out + printed.err + str(raised.value) + repr(raised.value)


ENDPOINT = "http://127.0.0.1:9/v1#judge"


def step_folder(folder: Path, name: str, table: str, rows: list[Any]) -> str:
    made = Step(name, str(folder), {}, {})
    made.is_done()
    made.write(rows, type(rows[0]), table)
    made.finish(offered=len(rows), kept=len(rows))
    return str(folder)


@pytest.mark.parametrize("step", ["respond", "sample", "evaluate"])
def test_a_step_that_needs_token_ids_refuses_an_endpoint(tmp_path: Path, step: str):
    out, prompts = str(tmp_path / "out"), step_folder(tmp_path / "p", "propose", "rows", [Prompt("p", "Why?")])
    if step == "evaluate":
        ranked = RankedSet("s", "Why?", (RankedReply("s/r0", "So.", 0), RankedReply("s/r1", "No.", 1)))
        seeds = step_folder(tmp_path / "s", "seed", "held_out", [ranked])
        made = evaluate(recipe(), model=ENDPOINT, seed_data=seeds, out=out)
    else:
        made = {"respond": respond, "sample": sample}[step](recipe(), model=ENDPOINT, prompts=prompts, out=out)
    with pytest.raises(UserError, match=r"/v1#judge is an endpoint, which can only judge .* name a model here"):
        run_pooled(made)
    assert not (tmp_path / "out").exists()


def test_an_endpoint_does_not_propose():
    asked = Recipe.model_validate({"model": "m0", "prompts": {"proposer": ENDPOINT}})
    with pytest.raises(UserError, match="is an endpoint, which can only judge"):
        proposer_of(asked)


def test_constrained_verdicts_are_refused_before_anything_starts(tmp_path: Path, replies: str):
    message = "judge.constrained: the endpoint http://127.0.0.1:9/v1#judge takes no constraints; set"
    with pytest.raises(UserError, match=message):
        run_pooled(judge(recipe(constrained=True), model=ENDPOINT, replies=replies, out=str(tmp_path / "out")))
    values = {"model": "m0", "judge": {"constrained": True}, "seed_data": {"source": "demo", "verdicts": ENDPOINT}}
    found = [finding.text for finding in check_run(Recipe.model_validate(values), None) if finding.problem]
    assert any(re.search(message, text) for text in found)
    found = [finding.text for finding in check_run(Recipe.model_validate(values | {"judge": {}}), None)]
    assert not any("judge.constrained" in text for text in found)


def test_thinking_is_the_endpoints_own_affair(tmp_path: Path, replies: str):
    asked = Recipe.model_validate({"model": "m0", "judge": {"thinking": False}})
    with pytest.raises(UserError, match="judge.thinking: the endpoint .* set judge.thinking=null"):
        run_pooled(judge(asked, model=ENDPOINT, replies=replies, out=str(tmp_path / "out")))
