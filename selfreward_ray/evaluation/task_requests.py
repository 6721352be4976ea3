"""What lm-eval asks of a model, as requests of token ids. Without lm-eval, whose `Instance` is only read here."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from selfreward_ray.errors import UserError
from selfreward_ray.records import TaskRequest

DEFAULT_MAX_TOKENS = 256
"""Generated tokens where a task names no number, as in lm-eval."""
_MAX_TOKENS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_WITHOUT_EFFECT = {"do_sample", "num_beams"}

Encode = Callable[[str], list[int]]


class Asked(Protocol):
    """An lm-eval `Instance`: its kind, its arguments, and the task that it belongs to."""

    request_type: str
    task_name: str | None

    @property
    def args(self) -> tuple[Any, ...]: ...


def numbered(asked: Iterable[Asked]) -> Iterator[tuple[str, Asked]]:
    """Each of `asked` with its id: the kind, a hash of the arguments, and how often the same was asked before.

    So an answer is found again whatever the order, and a repeated request is answered anew.
    """
    seen: Counter[str] = Counter()
    for one in asked:
        text = json.dumps([one.request_type, *one.args], sort_keys=True)
        key = f"{one.request_type}/{hashlib.sha256(text.encode()).hexdigest()[:24]}"
        yield f"{key}/{seen[key]}", one
        seen[key] += 1


def task_request(request_id: str, asked: Asked, encode: Encode, prefix: int) -> TaskRequest:
    """`asked` as a request of token ids. `prefix` is the token that stands before a text without a context.

    Raises `UserError` for settings of a generation that the pool does not have.
    """
    match asked.request_type, asked.args:
        case "loglikelihood", (str(context), str(continuation)):
            prompt, target = encode_pair(context, continuation, encode, prefix)
            return TaskRequest(request_id, "loglikelihood", tuple(prompt), tuple(target))
        case "loglikelihood_rolling", (str(text),):
            prompt, target = encode_pair("", text, encode, prefix)
            return TaskRequest(request_id, "loglikelihood_rolling", tuple(prompt), tuple(target))
        case "generate_until", (str(context), dict(settings)):
            generation = _generation(settings, asked.task_name)
            return TaskRequest(request_id, "generate_until", tuple(encode(context)) or (prefix,), **generation)
    raise UserError(
        f"--tasks: {asked.task_name} asks for {asked.request_type}, which the pool cannot answer; leave it out"
    )


def encode_pair(context: str, continuation: str, encode: Encode, prefix: int) -> tuple[list[int], list[int]]:
    """The token ids of a context, at least one, and of its continuation, encoded together as lm-eval does.

    White space at the end of the context belongs to the continuation, because tokens begin with white space. Without a
    context the continuation stands after `prefix`, unless it begins with it.
    """
    trimmed = context.rstrip()
    continuation = context[len(trimmed) :] + continuation
    if trimmed:
        prompt = encode(trimmed)
        return prompt, encode(trimmed + continuation)[len(prompt) :]
    target = encode(continuation)
    return ([prefix], target[1:]) if target[:1] == [prefix] else ([prefix], target)


def _generation(settings: Mapping[str, Any], task: str | None) -> dict[str, Any]:
    """The fields of a `TaskRequest` for lm-eval's ``generation_kwargs``."""
    unknown = settings.keys() - {"until", "temperature", "top_p", *_MAX_TOKENS, *_WITHOUT_EFFECT}
    if settings.get("num_beams", 1) != 1:
        unknown |= {"num_beams"}
    if unknown:
        raise UserError(
            f"--tasks: the generation settings of {task} include {', '.join(sorted(unknown))}, which the pool does not "
            "have; take them out in a task of your own (--tasks-dir)"
        )
    until = settings.get("until") or []
    given = [settings[name] for name in _MAX_TOKENS if settings.get(name) is not None]
    greedy = settings.get("do_sample") is False
    return {
        "until": tuple(text for text in ([until] if isinstance(until, str) else until) if text),
        "max_tokens": int(given[0]) if given else DEFAULT_MAX_TOKENS,
        "temperature": 0.0 if greedy else float(settings.get("temperature") or 0.0),
        "top_p": float(settings.get("top_p", 1.0)),
    }
