"""An OpenAI-compatible endpoint that judges in the place of a model: its name, and the settings of its use.

An endpoint is named by its base URL and, after a ``#``, a model that it serves: ``https://api.openai.com/v1#gpt-4.1``.
"""

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from selfreward_ray.credentials import find_secret
from selfreward_ray.errors import UserError
from selfreward_ray.recipe.section import Section


class Endpoint(Section):
    """How an OpenAI-compatible endpoint is used. It may judge in the place of a model, and is named by its base URL and
    a model: ``https://api.openai.com/v1#gpt-4.1``. No field changes the verdicts, and all may change in a run."""

    api_key_env: str = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key. Without the variable no key is sent. The key itself is
    written nowhere."""
    concurrency: PositiveInt = 16
    """Maximum number of requests at a time."""
    requests_per_minute: PositiveInt | None = None
    """Maximum number of requests in any 60 seconds, retries included; null sets no limit."""
    tokens_per_minute: PositiveInt | None = None
    """Maximum number of tokens in any 60 seconds, prompts and completions; null sets no limit. A request counts with an
    estimate of its prompt and its maximum completion until it is answered."""
    max_calls: PositiveInt | None = None
    """Maximum number of answered requests of a step, those of interrupted attempts included; null sets no limit. The
    step stops when it needs more, and keeps all answers."""
    max_tokens: PositiveInt | None = None
    """Maximum number of tokens of a step, prompts and completions, as the endpoint counts them, those of interrupted
    attempts included; null sets no limit. The step stops before a request that could exceed it, by an estimate of its
    prompt and its maximum completion."""
    timeout_s: PositiveFloat = 300
    """Maximum time in seconds until a request is answered."""
    retries: NonNegativeInt = 6
    """How many times a request is repeated after a timeout, a broken connection, an answer that cannot be read, or an
    error that may pass (HTTP 408, 409, 425, 429 and 5xx). The waits double from about one second to about a minute, or
    are as long as the endpoint asks."""
    length_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """Field of a request that limits the tokens of its completion. OpenAI's reasoning models take only the second
    one."""

    @model_validator(mode="after")
    def _a_name_and_no_key(self) -> "Endpoint":
        # Not a validator of the field: its message would show the value, which may be a key.
        if not re.fullmatch("[A-Z_][A-Z0-9_]*", self.api_key_env):
            raise ValueError(
                "api_key_env must be the name of an environment variable in capitals, such as OPENAI_API_KEY; a key "
                "does not belong into a recipe"
            )
        return self


@dataclass(frozen=True)
class Address:
    """The address of a model at an endpoint. Its text form is normalized, so that it can identify the model."""

    base_url: str
    """Without a slash at the end: ``https://api.openai.com/v1``."""
    model: str

    def __str__(self) -> str:
        return f"{self.base_url}#{self.model}"


def is_endpoint(name: str) -> bool:
    """Whether the `name` of a model is the address of an endpoint, well-formed or not."""
    return name.lower().startswith(("http://", "https://"))


def address_of(name: str) -> Address:
    """The address that `name` spells. Raises `UserError` if it is malformed, or holds a user, a password or a query."""
    try:
        parts = urlsplit(name)
        _ = parts.port
    except ValueError as error:
        # What Python takes for the port may be a part of a password.
        said = "" if find_secret(name) else f" ({error})"
        raise UserError(f"an endpoint's address is no URL{said}; write https://HOST/v1#MODEL") from None
    if parts.username is not None or parts.password is not None or parts.query:
        # Without the address, which may hold a key.
        raise UserError(
            f"the address of the endpoint at {parts.hostname} has a user, a password or a query, which would stand in "
            "the run's files; give the key in the environment variable that endpoint.api_key_env names"
        )
    if not parts.hostname or not parts.fragment or re.search(r"[\s\x00-\x1f]", name):
        raise UserError(
            f"{name!r} is not the address of an endpoint's model; write the base URL, # and the model's name: "
            "https://HOST/v1#MODEL"
        )
    return Address(f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}", parts.fragment)
