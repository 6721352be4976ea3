"""Client of an OpenAI-compatible endpoint: messages in, completions out, with retries and rate limits.

Responses of an endpoint are untrusted: its messages are cut and cleaned, and the key is removed from them.
"""

import asyncio
import json
import os
import random
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from selfreward_ray.errors import UserError
from selfreward_ray.inference.endpoint_limits import Clock, EndpointStopped, RateLimit
from selfreward_ray.inference.programs import ContextOverflow, request_seed
from selfreward_ray.recipe.endpoint import Address, Endpoint
from selfreward_ray.recipe.schema import Sampling
from selfreward_ray.records import Completion, Turn, Usage

REPLY_BYTES = 16 * 2**20
"""Longer replies are not read: the row is dropped."""
LONGEST_BACKOFF_S = 60.0
LONGEST_RETRY_AFTER_S = 600.0
"""If the endpoint asks for a longer wait, the step stops."""
_PASSING = {408, 409, 425, 429}
_KEY_REFUSED = {401, 403}
_CONTEXT = re.compile(r"context[ _](length|size|window)", re.IGNORECASE)


class RequestRefused(ValueError):
    """The endpoint does not answer this request, although it answers others."""


class _Failed(Exception):
    """An attempt without an answer, which may be repeated."""

    def __init__(self, reason: str, after: float | None = None, limited: bool = False):
        super().__init__(reason)
        self.after = after
        """Seconds until the endpoint wants the next request."""
        self.limited = limited
        """Whether the endpoint refuses requests because there are too many."""


@dataclass(frozen=True)
class ChatMessages:
    """The messages of a request. Its length is an estimate of its tokens; only the endpoint can count them."""

    turns: tuple[Turn, ...]

    def __len__(self) -> int:
        # English text has about four bytes a token, Chinese text three.
        return sum(len(turn.text.encode(errors="replace")) // 3 + 8 for turn in self.turns)


def read_key(settings: Endpoint) -> str | None:
    """The key in the environment; None if there is none. Raises `UserError` if it cannot be part of a request."""
    key = os.environ.get(settings.api_key_env, "").strip()
    if not key.isascii() or not key.isprintable():
        raise UserError(
            f"the environment variable {settings.api_key_env} (endpoint.api_key_env) has characters that no key has; "
            "set it again"
        )
    return key or None


class EndpointClient:
    """Asks the model at `address`. Use it in one event loop, and close `session` afterwards.

    `note` receives in a few words what the client waits for. `seed` is the run's seed.
    """

    def __init__(
        self,
        address: Address,
        settings: Endpoint,
        session: aiohttp.ClientSession,
        seed: int,
        note: Callable[[str], None],
        clock: Clock,
    ):
        self.retries = 0
        self._address = address
        self._settings = settings
        self._session = session
        self._seed = seed
        self._note = note
        self._clock = clock
        self._url = f"{address.base_url}/chat/completions"
        self._proxy = _proxy_for(address.base_url)
        self._key = read_key(settings)
        self._rate = RateLimit(settings.requests_per_minute, settings.tokens_per_minute, clock)
        self._jitter = random.Random(seed)
        self._answered = 0
        self._stopped: EndpointStopped | None = None
        self._under_way: set[asyncio.Task[Completion]] = set()

    async def complete(
        self,
        messages: ChatMessages,
        sampling: Sampling,
        request_id: str,
        keep: Callable[[Completion], Awaitable[None]],
    ) -> Completion:
        """One completion, which is passed to `keep` even if the caller is cancelled in the meantime.

        Raises `EndpointStopped` if the endpoint answers nobody, `RequestRefused` if it does not answer this request,
        and `ContextOverflow`.
        """
        body = json.dumps(self._body(messages, sampling, request_id)).encode()
        tokens = len(messages) + sampling.max_tokens
        failures, answered = 0, self._answered
        while True:
            admitted = await self._rate.admit(tokens)
            if self._stopped:
                raise self._stopped
            try:
                completion = await self._attempt(body, keep)
            except _Failed as failure:
                failures += 1
                if failures > self._settings.retries:
                    self._give_up(failure, failures, others_answered=self._answered > answered)
                answered = self._answered
                await self._back_off(failure, failures)
            else:
                if completion.usage is not None:
                    admitted.tokens = completion.usage.prompt_tokens + completion.usage.generated_tokens
                self._answered += 1
                return completion

    async def drain(self, seconds: float) -> None:
        """Send nothing more, and wait for answers to requests that are sent, at most `seconds`."""
        self._stopped = self._stopped or EndpointStopped("the step has ended")
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=seconds)

    def _body(self, messages: ChatMessages, sampling: Sampling, request_id: str) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._address.model,
            "messages": [{"role": turn.role, "content": turn.text} for turn in messages.turns],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            self._settings.length_field: sampling.max_tokens,
        }
        if sampling.min_p:  # no field of OpenAI's own
            body["min_p"] = sampling.min_p
        if sampling.seeded:
            body["seed"] = request_seed(self._seed, request_id)
        return body

    async def _attempt(self, body: bytes, keep: Callable[[Completion], Awaitable[None]]) -> Completion:
        """Send the request once. It is not cancelled with the caller: what is paid for is kept."""

        async def sent() -> Completion:
            completion = await self._post(body)
            await keep(completion)
            return completion

        task = asyncio.create_task(sent())
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Completion]) -> None:
        """A caller that was cancelled asks for no outcome, and asyncio would log an error that nobody asked for."""
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()

    async def _post(self, body: bytes) -> Completion:
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        try:
            async with self._session.post(
                self._url, data=body, headers=headers, allow_redirects=False, proxy=self._proxy
            ) as response:
                content = await _read(response)
        except TimeoutError:
            raise _Failed(f"no answer within {self._settings.timeout_s:g} s (endpoint.timeout_s)") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _Failed(self._clean(f"{type(error).__name__}: {error}")) from None
        if response.status == 200:
            return self._read_completion(content)
        raise self._refusal(response.status, response.headers, content)

    def _read_completion(self, content: bytes) -> Completion:
        if content.lstrip()[:1] == b"<":
            raise self._wrong_address("it answers with a web page")
        value = _json(content)
        match value:
            case {
                "choices": [{"message": {"content": str() | None as text} as message, "finish_reason": reason}, *_],
                "usage": {"prompt_tokens": int(prompt), "completion_tokens": int(generated)} as usage,
            } if prompt >= 0 and generated >= 0:
                return Completion(
                    text=_whole(text),
                    token_ids=(),
                    finish_reason=str(reason),
                    cached_tokens=_cached(usage),
                    usage=Usage(prompt, generated),
                    # Servers that part the thought from the reply name it in one of two ways.
                    thought=_whole(message.get("reasoning_content") or message.get("reasoning")),
                )
        raise _Failed(f"its answer is no chat completion with usage: {self._clean(content)}")

    def _refusal(self, status: int, headers: Mapping[str, str], content: bytes) -> Exception:
        """What to raise for an answer other than 200."""
        message, code = _error_of(content)
        said = f"HTTP {status}: {self._clean(message)}"
        if status in _KEY_REFUSED:
            return self._stop(said, self._key_remedy())
        if code == "insufficient_quota" or status == 402:
            return self._stop(said, "there is no quota left; raise it with its provider")
        if status == 404 and message and not message.lstrip().startswith("<"):
            return self._stop(
                said, "is the name after the # one of its models, and is the URL before it the one that ends in /v1?"
            )
        if status in (404, 405) or status // 100 == 3:
            return self._wrong_address(said)
        if status in _PASSING or status >= 500:
            return self._passing(said, status, headers)
        if code == "context_length_exceeded" or _CONTEXT.search(message):
            return ContextOverflow("the prompt and the tokens to generate exceed the context of the endpoint's model")
        return RequestRefused(said)

    def _passing(self, said: str, status: int, headers: Mapping[str, str]) -> Exception:
        after = _retry_after(headers.get("Retry-After"), self._clock)
        if after is not None and after > LONGEST_RETRY_AFTER_S:
            return self._stop(said, f"it asks to wait {after:.0f} s; run the command again then")
        return _Failed(said, after, limited=status == 429)

    def _key_remedy(self) -> str:
        name = self._settings.api_key_env
        if self._key:
            return f"it refuses the key in the environment variable {name}; set another one, or endpoint.api_key_env"
        return f"it wants a key: set the environment variable {name}, or name another one in endpoint.api_key_env"

    def _wrong_address(self, said: str) -> EndpointStopped:
        return self._stop(said, "this is not the base URL of an OpenAI-compatible endpoint; it often ends in /v1")

    def _stop(self, said: str, remedy: str) -> EndpointStopped:
        self._stopped = EndpointStopped(f"{said}; {remedy}")
        return self._stopped

    def _give_up(self, failure: _Failed, attempts: int, others_answered: bool) -> NoReturn:
        """Raise the error of a request that failed `attempts` times.

        If other requests were answered while this one waited for its last attempt, the fault is this request's.
        """
        said = f"{attempts} attempts failed, the last one with: {failure}"
        if failure.limited:
            raise self._stop(said, "lower endpoint.requests_per_minute, tokens_per_minute or concurrency")
        if others_answered:
            raise RequestRefused(said)
        raise self._stop(said, "run the command again when the endpoint is available")

    async def _back_off(self, failure: _Failed, failures: int) -> None:
        self.retries += 1
        delay = min(2.0 ** (failures - 1), LONGEST_BACKOFF_S) * self._jitter.uniform(0.75, 1.25)
        if failure.after is not None:
            delay = max(delay, failure.after)
        if failure.limited or failure.after is not None:
            self._rate.pause(delay)
        self._note(f"the endpoint failed, next attempt in {delay:.0f} s: {failure}")
        await self._clock.sleep(delay)

    def _clean(self, said: str | bytes) -> str:
        """At most 300 printable characters of `said`, without the key."""
        text = said if isinstance(said, str) else said[:4096].decode(errors="replace")
        if self._key:
            text = text.replace(self._key, "…")
        words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return words if len(words) <= 300 else words[:300] + "…"


async def _read(response: aiohttp.ClientResponse) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > REPLY_BYTES:
            raise RequestRefused(f"the reply has more than {REPLY_BYTES >> 20} MiB")
        chunks.append(chunk)
    return b"".join(chunks)


def _json(content: bytes) -> Any:
    """The value, or None if it is no JSON."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _whole(text: Any) -> str:
    """`text` without half characters, which JSON may hold and no file can; empty if it is none."""
    return text.encode(errors="replace").decode() if isinstance(text, str) else ""


def _cached(usage: dict[str, Any]) -> int | None:
    """Prompt tokens that the endpoint had in its cache; None if it does not say."""
    match usage:
        case {"prompt_tokens_details": {"cached_tokens": int(cached)}}:
            return cached
    return None


def _error_of(content: bytes) -> tuple[str, str]:
    """The message and the code of an error reply. Without OpenAI's form, the message is the reply's text."""
    match _json(content):
        case {"error": {"message": str(message)} as error}:
            return message, str(error.get("code") or error.get("type") or "")
        case {"error": str(message)} | {"message": str(message)}:
            return message, ""
    return content[:4096].decode(errors="replace"), ""


def _retry_after(value: str | None, clock: Clock) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or as a date; None if it is missing or malformed."""
    if value is None:
        return None
    if re.fullmatch(r"\s*\d{1,9}(\.\d+)?\s*", value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - clock.date())
    except (ValueError, OverflowError):
        return None


def _proxy_for(url: str) -> str | None:
    """The proxy of the environment. aiohttp's own `trust_env` would also send passwords of ~/.netrc."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
