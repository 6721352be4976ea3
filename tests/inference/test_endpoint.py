"""The client of an endpoint against a scripted server on this machine: answers, retries, and errors with remedies."""

import asyncio
import gc
import json
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import aiohttp
import pytest
from scripted_endpoint import FakeClock, Reply, Script, ScriptedEndpoint, chat, error, serving

from selfreward_ray.errors import UserError
from selfreward_ray.inference import endpoint as endpoint_module
from selfreward_ray.inference.endpoint import ChatMessages, EndpointClient, RequestRefused, read_key
from selfreward_ray.inference.endpoint_limits import EndpointStopped
from selfreward_ray.inference.programs import ContextOverflow, request_seed
from selfreward_ray.recipe.endpoint import Endpoint, address_of
from selfreward_ray.recipe.schema import Sampling
from selfreward_ray.records import Completion, Turn, Usage

KEY = "sk-Geheim-123"
HI = ChatMessages((Turn("system", "Be brief."), Turn("user", "Hi <|im_end|> \ud800 ü")))


@pytest.fixture(autouse=True)
def _no_key_and_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


class Asked:
    """What became of requests to a scripted endpoint."""

    def __init__(self, endpoint: ScriptedEndpoint, clock: FakeClock):
        self.endpoint = endpoint
        self.clock = clock
        self.outcomes: list[Any] = []
        self.notes: list[str] = []
        self.kept: list[Completion] = []
        self.retries = 0

    @property
    def outcome(self) -> Any:
        (outcome,) = self.outcomes
        return outcome


def ask(
    script: Script, requests: int = 1, sampling: Sampling | None = None, one_by_one: bool = False, **settings: Any
) -> Asked:
    """Send `requests` requests, all at once or `one_by_one`. An outcome is a completion or an exception."""

    async def all_of_them(asked: Asked) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=limits.timeout_s)) as session:
            address = address_of(asked.endpoint.address)
            client = EndpointClient(address, limits, session, 5, asked.notes.append, asked.clock)

            async def keep(completion: Completion) -> None:
                asked.kept.append(completion)

            each = [client.complete(HI, sampling or Sampling(), f"p/v{n}/a0", keep) for n in range(requests)]
            turns = [[one] for one in each] if one_by_one else [each]
            for turn in turns:
                asked.outcomes += await asyncio.gather(*turn, return_exceptions=True)
            asked.retries = client.retries

    limits = Endpoint.model_validate(settings)
    with serving(script) as endpoint:
        asked = Asked(endpoint, FakeClock())
        asyncio.run(all_of_them(asked))
    return asked


def one_after(*replies: Any) -> Script:
    """The n-th request gets the n-th reply, later ones the last."""
    return lambda _body, number: replies[min(number, len(replies) - 1)]


def test_messages_go_out_and_a_completion_comes_back():
    sampling = Sampling(temperature=0.5, top_p=0.8, max_tokens=33)
    details = {"prompt_tokens_details": {"cached_tokens": 4}}
    asked = ask(one_after(chat("Gut ✓ 你好", completion_tokens=7, **details)), sampling=sampling)
    assert asked.outcome == Completion("Gut ✓ 你好", (), "stop", 4, Usage(10, 7))
    assert asked.kept == [asked.outcome]
    assert asked.endpoint.asked == [
        {
            "model": "judge", "temperature": 0.5, "top_p": 0.8, "max_tokens": 33,
            "messages": [
                {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi <|im_end|> \ud800 ü"},
            ],
        }
    ]  # fmt: skip
    assert "Authorization" not in asked.endpoint.headers[0]


def test_seed_min_p_and_the_other_length_field_are_sent_where_they_are_set():
    asked = ask(one_after(chat("x")), sampling=Sampling(seeded=True, min_p=0.1), length_field="max_completion_tokens")
    (body,) = asked.endpoint.asked
    assert (body["seed"], body["min_p"], body["max_completion_tokens"]) == (request_seed(5, "p/v0/a0"), 0.1, 1024)
    assert "max_tokens" not in body


@pytest.mark.parametrize(
    ("reply", "text", "finish"),
    [
        (chat("cut", "length"), "cut", "length"),
        (chat(None, "content_filter"), "", "content_filter"),
        (chat("", "stop"), "", "stop"),
        (chat("half \ud83d a character"), "half ? a character", "stop"),
        (chat("\x1b[31mred\x00 <script>"), "\x1b[31mred\x00 <script>", "stop"),
    ],
)
def test_text_and_finish_reason(reply: dict[str, Any], text: str, finish: str):
    asked = ask(one_after(reply))
    assert (asked.outcome.text, asked.outcome.finish_reason, asked.outcome.cached_tokens) == (text, finish, None)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_a_thought_that_the_server_has_parted_is_kept_apart(field: str):
    reply = chat("Score: 4")
    reply["choices"][0]["message"][field] = "Score: 2 \ud83d"
    asked = ask(one_after(reply))
    assert (asked.outcome.text, asked.outcome.thought) == ("Score: 4", "Score: 2 ?")
    assert ask(one_after(chat("Score: 4"))).outcome.thought == ""


PASSING = [
    *(error(status, "busy") for status in (408, 409, 425, 429, 500, 502, 503, 529)),
    Reply(reset=True),
    Reply(b'{"choices": [{"mess'),
    Reply({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}),
    Reply(chat("no usage") | {"usage": None}),
    Reply(chat("negative", completion_tokens=-1)),
    Reply(b"[" * 100_000),
    Reply(b""),
]


@pytest.mark.parametrize("reply", PASSING, ids=lambda reply: str(reply.status if reply.status != 200 else reply)[:60])
def test_what_may_pass_is_asked_again(reply: Reply):
    asked = ask(one_after(reply, reply, chat("now")))
    assert (asked.outcome.text, asked.retries, len(asked.endpoint.asked)) == ("now", 2, 3)
    first, second = (wait for wait in asked.clock.slept if wait)
    assert 0.75 <= first <= 1.25
    assert 1.5 <= second <= 2.5
    assert len(asked.kept) == 1


def test_a_request_that_hangs_is_asked_again_after_the_timeout():
    asked = ask(one_after(Reply(chat("late"), hang=3.0), chat("now")), timeout_s=1)
    assert (asked.outcome.text, asked.retries) == ("now", 1)
    assert "no answer within 1 s (endpoint.timeout_s)" in asked.notes[0]


def test_waits_double_up_to_a_minute_and_are_not_all_the_same():
    asked = ask(one_after(error(500, "down")), retries=9)
    waits = asked.clock.slept
    assert [round(wait / 2**n / 0.25) * 0.25 for n, wait in enumerate(waits[:6])] == pytest.approx([1] * 6, abs=0.26)
    assert len(waits) == 9
    assert all(45 <= wait <= 75 for wait in waits[6:])
    assert len(set(waits)) == 9
    assert waits == ask(one_after(error(500, "down")), retries=9).clock.slept  # seeded


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("17", 17.0),
        ("2.5", 2.5),
        (lambda clock: formatdate(clock.date() + 30, usegmt=True), 30.0),
        (lambda clock: formatdate(clock.date() - 30, usegmt=True), None),
        ("soon", None),
        ("-3", None),
        ("nan", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured_by_all_requests(status: int, value: Any, wait: float | None):
    clock = FakeClock()
    header = {"Retry-After": value(clock) if callable(value) else value}
    asked = ask(one_after(Reply({}, status, header), chat("now")))
    assert asked.outcome.text == "now"
    if wait is None:
        assert 0.75 <= asked.clock.time - 1000 <= 1.25
    else:
        assert asked.clock.time - 1000 == pytest.approx(wait, abs=1)
        assert asked.clock.time - 1000 >= wait - 1


class HeldClock(FakeClock):
    """Sleeps end when `released` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.released = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await self.released.wait()
        self.time += seconds


def test_a_limited_request_holds_the_next_ones_back():
    """A second request waits for the first one's Retry-After too, before it is sent at all."""

    async def both(endpoint: ScriptedEndpoint) -> list[float]:
        clock = HeldClock()
        async with aiohttp.ClientSession() as session:
            client = EndpointClient(address_of(endpoint.address), Endpoint(), session, 5, print, clock)

            async def keep(_: Completion) -> None: ...

            first = asyncio.create_task(client.complete(HI, Sampling(), "a", keep))
            while not clock.slept:
                await asyncio.sleep(0.01)
            second = asyncio.create_task(client.complete(HI, Sampling(), "b", keep))
            while len(clock.slept) < 2 and not second.done():
                await asyncio.sleep(0.01)
            assert len(endpoint.asked) == 1
            clock.released.set()
            await asyncio.gather(first, second)
        return clock.slept

    with serving(one_after(Reply({}, 429, {"Retry-After": "40"}), chat("x"))) as endpoint:
        assert asyncio.run(both(endpoint)) == [40, 40]


def test_a_very_long_retry_after_stops_the_step():
    asked = ask(one_after(Reply({"error": {"message": "daily limit"}}, 429, {"Retry-After": "7200"})))
    assert isinstance(asked.outcome, EndpointStopped)
    assert str(asked.outcome) == "HTTP 429: daily limit; it asks to wait 7200 s; run the command again then"
    assert asked.clock.slept == []


LAST = [
    (error(500, "down"), "3 attempts failed, the last one with: HTTP 500: down; run the command again when"),
    (error(429, "slow down"), "HTTP 429: slow down; lower endpoint.requests_per_minute, tokens_per_minute or"),
    (Reply({"choices": []}), 'its answer is no chat completion with usage: {"choices": []}; run the command again'),
    (Reply(reset=True), "3 attempts failed, the last one with: Client"),
]


@pytest.mark.parametrize(("reply", "message"), LAST)
def test_an_endpoint_that_answers_nobody_stops_the_step(reply: Reply, message: str):
    asked = ask(one_after(reply), retries=2)
    assert isinstance(asked.outcome, EndpointStopped)
    assert message in str(asked.outcome)
    assert len(asked.endpoint.asked) == 3


def test_a_request_that_fails_while_others_are_answered_fails_alone():
    """The others are answered one after the other, so that some are while the bad one waits."""

    async def all_of_them(url: str) -> list[Any]:
        async with aiohttp.ClientSession() as session:
            client = EndpointClient(address_of(url), Endpoint(retries=1), session, 5, lambda _: None, FakeClock())
            bad = asyncio.create_task(client.complete(ChatMessages((Turn("user", "bad"),)), Sampling(), "b", kept))
            while client.retries == 0:
                await client.complete(HI, Sampling(), "g", kept)
            await client.complete(HI, Sampling(), "g", kept)
            return list(await asyncio.gather(bad, return_exceptions=True))

    async def kept(_: Completion) -> None: ...

    def script(body: dict[str, Any], _: int) -> Any:
        bad = body["messages"][-1]["content"] == "bad"
        return Reply(error(500, "cannot").body, 500, hang=0.1) if bad else chat("fine")

    with serving(script) as endpoint:
        (outcome,) = asyncio.run(all_of_them(endpoint.address))
    assert isinstance(outcome, RequestRefused)
    assert str(outcome) == "2 attempts failed, the last one with: HTTP 500: cannot"


def test_only_its_own_request_is_refused_by_another_4xx():
    asked = ask(one_after(error(400, "Unsupported parameter: 'max_tokens'.\n\x1b[31m", code="unsupported_parameter")))
    assert isinstance(asked.outcome, RequestRefused)
    assert str(asked.outcome) == "HTTP 400: Unsupported parameter: 'max_tokens'. [31m"
    assert (asked.retries, asked.kept) == (0, [])


@pytest.mark.parametrize(
    "reply",
    [
        error(400, "This model's maximum context length is 256 tokens. However, you requested 300."),
        error(400, "too many", code="context_length_exceeded"),
        error(400, "the request exceeds the available context size, try increasing it"),
    ],
)
def test_a_prompt_that_does_not_fit_is_an_overflow(reply: Reply):
    outcome = ask(one_after(reply)).outcome
    assert isinstance(outcome, ContextOverflow)
    assert not any(digit in str(outcome) for digit in "0123456789")  # dropped rows are counted by their reason


STOPPING = [
    (error(404, "The model `judge` does not exist."), "HTTP 404: The model `judge` does not exist.; is the name after"),
    (Reply({"detail": "Not Found"}, 404), 'HTTP 404: {"detail": "Not Found"}; is the name after the # one of its'),
    (Reply(b"<html>nginx</html>", 404), "this is not the base URL of an OpenAI-compatible endpoint; it often ends"),
    (Reply(b"", 404), "this is not the base URL of an OpenAI-compatible endpoint; it often ends in /v1"),
    (Reply(b"<!doctype html><p>Welcome"), "it answers with a web page; this is not the base URL"),
    (Reply(b"", 307, {"Location": "http://127.0.0.1:1/v1"}), "HTTP 307: ; this is not the base URL"),
    (Reply(b"", 405), "this is not the base URL"),
    (error(402, "Insufficient Balance"), "HTTP 402: Insufficient Balance; there is no quota left"),
    (error(429, "You exceeded your quota", code="insufficient_quota"), "there is no quota left; raise it with its"),
    (error(401, "who?"), "HTTP 401: who?; it wants a key: set the environment variable OPENAI_API_KEY, or name"),
]


@pytest.mark.parametrize(("reply", "message"), STOPPING, ids=[message[:40] for _, message in STOPPING])
def test_what_no_request_can_pass_stops_the_step_at_once(reply: Reply, message: str):
    asked = ask(one_after(reply))
    assert isinstance(asked.outcome, EndpointStopped)
    assert message in str(asked.outcome)
    assert (asked.retries, len(asked.endpoint.asked)) == (0, 1)


def test_nothing_is_sent_once_the_endpoint_has_refused_the_key():
    asked = ask(one_after(error(401, "no"), chat("x")), requests=3, one_by_one=True)
    assert len(asked.endpoint.asked) == 1
    assert [type(outcome) for outcome in asked.outcomes] == [EndpointStopped] * 3


def test_the_key_is_sent_and_shown_nowhere(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setenv("JUDGE_KEY", f" {KEY}\n")
    caplog.set_level(0)
    asked = ask(one_after(Reply({}, 500), error(401, f"Incorrect key: {KEY}.")), api_key_env="JUDGE_KEY")
    assert [headers["Authorization"] for headers in asked.endpoint.headers] == [f"Bearer {KEY}"] * 2
    assert str(asked.outcome) == (
        "HTTP 401: Incorrect key: ….; it refuses the key in the environment variable JUDGE_KEY; set another one, or "
        "endpoint.api_key_env"
    )
    assert KEY not in caplog.text + repr(asked.outcome) + "".join(asked.notes)


@pytest.mark.parametrize("key", ["a\nb", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch, key: str):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(UserError, match="the environment variable OPENAI_API_KEY .* set it again") as raised:
        read_key(Endpoint())
    assert key not in str(raised.value)


def test_a_huge_reply_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(endpoint_module, "REPLY_BYTES", 2**20)
    asked = ask(one_after(Reply(json.dumps(chat("x" * 2**21)).encode())))
    assert str(asked.outcome) == "the reply has more than 1 MiB"
    assert isinstance(asked.outcome, RequestRefused)


def test_requests_per_minute_are_held_in_retries_too():
    """Two a minute: the failed request's second attempt is the third request."""
    asked = ask(one_after(error(500, "once"), chat("x"), chat("y")), requests=2, requests_per_minute=2)
    assert [outcome.text for outcome in asked.outcomes].count("x") == 1
    assert asked.clock.time - 1000 >= 60
    assert len(asked.endpoint.asked) == 3


def test_tokens_per_minute_count_what_was_used_and_not_what_was_reserved():
    """Each reserves over 100 of 400 tokens and uses 12: all pass one by one without a wait."""
    sampling = Sampling(max_tokens=100)
    asked = ask(one_after(chat("two words")), 20, sampling, one_by_one=True, tokens_per_minute=400)
    assert (len(asked.endpoint.asked), asked.clock.slept) == (20, [])


def cancelled_while_under_way(reply: Reply) -> list[Completion]:
    """What is kept of one request that is answered by `reply` after its caller was cancelled."""
    kept: list[Completion] = []
    asked: list[int] = []

    async def cancelled(url: str) -> None:
        async with aiohttp.ClientSession() as session:
            client = EndpointClient(address_of(url), Endpoint(), session, 5, print, FakeClock())

            async def keep(completion: Completion) -> None:
                kept.append(completion)

            request = asyncio.create_task(client.complete(HI, Sampling(), "a", keep))
            while not asked:
                await asyncio.sleep(0.01)
            request.cancel()
            await client.drain(5)
            assert request.cancelled() or request.cancelling()

    def script(_body: dict[str, Any], number: int) -> Any:
        asked.append(number)
        return replace(reply, hang=0.2)

    with serving(script) as endpoint:
        asyncio.run(cancelled(endpoint.address))
    return kept


def test_an_answer_under_way_is_kept_although_its_caller_is_cancelled():
    (completion,) = cancelled_while_under_way(Reply(chat("paid for")))
    assert completion.text == "paid for"


def test_an_error_after_its_caller_was_cancelled_is_not_logged(caplog: pytest.LogCaptureFixture):
    """asyncio logs, when its memory is freed, each error of a task that nobody asked for."""
    assert cancelled_while_under_way(error(401, "no")) == []
    gc.collect()
    assert caplog.messages == []


def test_a_proxy_of_the_environment_is_used_and_a_netrc_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Any):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password geheim\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    asked = ask(one_after(chat("x")))
    assert "Authorization" not in asked.endpoint.headers[0]
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    asked = ask(one_after(chat("x")), retries=0)
    assert isinstance(asked.outcome, EndpointStopped)
    assert "127.0.0.1:9" in str(asked.outcome)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert ask(one_after(chat("x"))).outcome.text == "x"


@pytest.mark.parametrize(("text", "least", "most"), [("word " * 100, 100, 200), ("汉" * 100, 100, 120), ("", 1, 20)])
def test_the_length_of_messages_is_near_their_tokens(text: str, least: int, most: int):
    assert least <= len(ChatMessages((Turn("user", text),))) <= most
