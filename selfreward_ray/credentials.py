"""Secrets in texts: found by their names and their forms, refused before they reach a file, and masked where shown.

Two functions are the rule. What a user gives is refused with a remedy if `find_secret` or `secrets_in` finds a secret:
a recipe's values, URIs of storage, arguments of the command. `masked` is for texts of others, such as the messages of
libraries, which may repeat a URI or a token of the environment.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

Place = tuple[str | int, ...]

MASK = "…"
_SHORTEST = 8
"""Characters of a secret of the environment that is masked in texts; shorter ones may be words."""

_ALWAYS = frozenset({
    "secret", "secrets", "password", "passwords", "passwd", "passphrase", "credential", "credentials", "apikey",
    "secretkey", "accesskey", "privatekey", "authtoken", "accesstoken", "authorization",
})  # fmt: skip
"""Words that make a name a secret's, wherever they stand in it."""
_LAST = frozenset({"token", "key", "pwd", "pass", "sas"})
"""Words that make a name a secret's as its last one."""
_LAST_OF_SOME = ("token", "key", "auth", "cookie")
"""Ends of names that are a secret's where the value looks like one: ``key``, ``HFTOKEN``, ``BASIC_AUTH``."""
_ABOUT = frozenset({
    "algorithm", "arn", "class", "cmd", "command", "count", "dir", "directory", "enabled", "env", "field", "file",
    "folder", "format", "helper", "id", "ids", "length", "limit", "location", "manager", "mode", "name", "names",
    "path", "paths", "policy", "prefix", "provider", "region", "required", "size", "store", "suffix", "timeout", "ttl",
    "type", "uri", "url", "version",
})  # fmt: skip
"""Last words of names that say something about a secret, such as where it is: ``HF_TOKEN_PATH``, ``api_key_env``."""
_OF_TEXTS = frozenset({
    "audio", "begin", "blank", "bos", "boundary", "by", "cls", "control", "delimiter", "draft", "each", "end", "eos",
    "extra", "fim", "first", "image", "last", "mask", "max", "middle", "min", "multi", "new", "newline", "next", "pad",
    "per", "placeholder", "prefix", "reasoning", "sep", "separator", "single", "special", "start", "stop", "suffix",
    "text", "think", "thinking", "unk", "video",
})  # fmt: skip
"""Words before ``token`` where it is one of a tokenizer's."""
_OF_TABLES = frozenset({
    "attention", "cache", "column", "config", "dict", "feature", "field", "foreign", "group", "hash", "index", "join",
    "json", "kv", "label", "lookup", "map", "message", "metric", "order", "partition", "per", "primary", "prompt",
    "public", "query", "reply", "routing", "row", "shard", "sort", "state", "tag", "text",
})  # fmt: skip
"""Words before ``key`` where it is a look-up's."""
_OPTIONS = frozenset({"sig", "signature", "code", "key", "token", "auth", "pass", "pwd", "credential"})
"""Last words of a URI's options that hold a secret."""

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_PATH = re.compile(
    r"(~|\.\.?)?/.*\.\w{2,6}|(~|\.\.?)/\S+"
    r"|/(app|config|data|etc|home|media|mnt|opt|root|run|secrets|srv|tmp|usr|var|Users|workspace)/\S+"
)
"""A file, whose name is no secret: ``GOOGLE_APPLICATION_CREDENTIALS=/etc/key.json``."""
_NO_SECRET = re.compile(
    r"|[-+]?[\d.,_]+|true|false|yes|no|on|off|none|null|auto|default|[<\[({|].*[>\])}|]", re.IGNORECASE | re.DOTALL
)
"""Values that are none under a name that need not be a secret's: numbers, switches, a tokenizer's ``<|end|>``."""
_URI = re.compile(r"\b([a-z][a-z0-9+.-]{0,20})://([^\s'\"<>`]+)", re.IGNORECASE)
_WHOLE_URI = re.compile(r"([a-z][a-z0-9+.-]*)://(.+)", re.IGNORECASE | re.DOTALL)
_OPTION = re.compile(r"([^&=#;]+)=([^&#;]*)")
_QUOTED = r""""[^"]*"|'[^']*'"""
_ASSIGNED = re.compile(
    r"(?P<before>(?<![\w/?&.-])-{0,2}(?P<name>[A-Za-z][\w.-]{0,99})\s?=\s?)(?P<value>" + _QUOTED + r"|[^\s,;&)}\]]+)"
    r"|(?P<before_quoted>['\"](?P<quoted>[A-Za-z][\w.-]{0,99})['\"]\s?[:=]\s?)(?P<quoted_value>" + _QUOTED + ")"
)
"""``name=value``, and ``'name': 'value'`` as Python and JSON write it."""
_FORMS = (
    r"hf_[A-Za-z0-9]{30,}",
    r"sk-(?=[\w-]*\d)(?=[\w-]*[A-Z])[\w-]{20,}",
    r"gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,}|glpat-[\w-]{20,}",
    r"(?:AKIA|ASIA)[A-Z0-9]{16}",
    r"AIza[\w-]{35}",
    r"xox[abprs]-[\w-]{10,}",
    r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*",
)
_FORM = re.compile(rf"(?<![\w-])(?:{'|'.join(_FORMS)})(?![\w-])")
"""Tokens of the hub, OpenAI, GitHub, GitLab, AWS, Google and Slack, and JSON web tokens."""
_KEY_FILE = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*-----|$)", re.DOTALL)
_PARTS = re.compile(r"\b(AccountKey=|SharedAccessSignature=|(?:Bearer|Basic) (?=\S{16}))[^\s;'\",)]+", re.IGNORECASE)
_HEADERS = re.compile(
    r"\b((?:Proxy-)?Authorization: ?+(?:\w+ )?+|(?:X-)?[\w-]{0,40}(?:Api|Auth|Access)-(?:Key|Token): ?+)(?!…)[^\s'\",]+"
    r"|\b((?:Set-)?Cookie: ?+)(?!…)[^\r\n'\"]+",
    re.IGNORECASE,
)
"""Headers of HTTP in one text: ``X-Api-Key: …``."""
_USER_IS_SECRET = ("s3", "http", "https")
"""Schemes of URIs whose user alone may be a key. Azure's is a container, that of ``gs://`` is ``anonymous``."""
_NO_PORTS = ("s3", "gs", "gcs")

_NODES = "in the environment of the driver and of the nodes"
_STORAGE = {
    "s3": f"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY {_NODES}",
    **dict.fromkeys(("gs", "gcs"), f"set GOOGLE_APPLICATION_CREDENTIALS {_NODES}"),
    **dict.fromkeys(("abfs", "abfss"), f"set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET {_NODES}"),
    **dict.fromkeys(
        ("http", "https"),
        "set an endpoint's key in the environment variable that endpoint.api_key_env names; download a file and name "
        "it",
    ),
}
_NAMED = {
    "hf_token": f"set HF_TOKEN {_NODES}",
    "api_key": "set it in the environment variable that endpoint.api_key_env names",
}


@dataclass(frozen=True)
class Secret:
    """A secret in a text that a user gave."""

    shown: str
    """The text without it."""
    remedy: str

    def __str__(self) -> str:
        return f"{self.shown} holds a secret, which would stand in the run's files; {self.remedy}"


def find_secret(text: str) -> Secret | None:
    """The secret in a URI, a ``name=value`` or another text of a user, None if there is none."""
    uri = _WHOLE_URI.fullmatch(text) or _URI.search(text)
    if uri is not None and (shown := _without_secret(uri)) != uri[0]:
        before, after = text[: uri.start()], text[uri.end() :]
        return Secret(f"{before}{shown}{after}", _STORAGE.get(uri[1].lower(), f"set it {_NODES}"))
    shown, assigned = _masked(text), _ASSIGNED.match(text)
    return None if shown == text else Secret(shown, _remedy(_name(assigned) if assigned else ""))


def secrets_in(values: Mapping[str, object]) -> Iterator[tuple[Place, Secret]]:
    """The secrets in nested values, each with the names and numbers that lead to it."""
    looked: set[tuple[int, str]] = set()
    for name, value in values.items():
        yield from _secrets_under((str(name),), str(name), value, looked)


def is_secret(name: str, value: object) -> bool:
    """Whether a `value` is a secret by its `name`: ``hf_token``, ``DB_PASSWORD``. Numbers and switches are none."""
    words = _words(name)
    if not words or words[-1] in _ABOUT or value is None or isinstance(value, bool):
        return False
    if any(word in _ALWAYS or word.endswith(("password", "passwd", "secret")) for word in words):
        return str(value).lower() not in ("", "true", "false", "none", "null") and not _PATH.fullmatch(str(value))
    if not isinstance(value, str) or _NO_SECRET.fullmatch(value) or _PATH.fullmatch(value) or re.search(r"\s", value):
        return False
    *before, last = words
    if last in _LAST and before:
        return not ((last == "token" and before[-1] in _OF_TEXTS) or (last == "key" and before[-1] in _OF_TABLES))
    if last.endswith("auth") and ":" in value and "://" not in value:  # a user with a password
        return True
    return last.endswith(_LAST_OF_SOME) and "://" not in value and len(value) >= 16 and any(map(str.isdigit, value))


def masked(text: str, environment: Mapping[str, str] | None = None) -> str:
    """`text` with ``…`` in the place of secrets, also of those in the environment, by default this process's."""
    known = os.environ if environment is None else environment
    for secret in sorted(_known(known), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return _masked(text)


def _secrets_under(
    place: Place, name: str, value: object, looked: set[tuple[int, str]]
) -> Iterator[tuple[Place, Secret]]:
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        part = (id(value), "" if isinstance(value, Mapping) else name)
        if part in looked:  # YAML may name a part again, also inside itself
            return
        looked.add(part)
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _secrets_under((*place, str(key)), str(key), inner, looked)
    elif isinstance(value, list | tuple | set | frozenset):
        option = ""  # of a command, whose value is the next item: ["--api-key", "…"]
        for number, inner in enumerate(value):
            yield from _secrets_under((*place, number), option or name, inner, looked)
            option = inner if isinstance(inner, str) and inner.startswith("-") else ""
    elif is_secret(name, value):
        yield place, Secret(f"{name}={MASK}", _remedy(name))
    elif isinstance(value, str) and (secret := find_secret(value)):
        yield place, secret


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(name)]


def _remedy(name: str) -> str:
    if name.isupper():
        return f"set {name} {_NODES}"
    return _NAMED.get(name, f"set it {_NODES}")


def _masked(text: str) -> str:
    text = _KEY_FILE.sub(MASK, text)
    text = _URI.sub(_without_secret, text)
    text = _PARTS.sub(rf"\1{MASK}", text)
    text = _HEADERS.sub(rf"\1\2{MASK}", text)
    text = _ASSIGNED.sub(_without_value, text)
    return _FORM.sub(MASK, text)


def _without_value(found: re.Match[str]) -> str:
    before, value = found["before"] or found["before_quoted"], (found["value"] or found["quoted_value"]).strip("'\"")
    return f"{before}{MASK}" if value != MASK and is_secret(_name(found), value) else found[0]


def _name(assigned: re.Match[str]) -> str:
    return str(assigned["name"] or assigned["quoted"]).rpartition(".")[2]


def _without_secret(uri: re.Match[str]) -> str:
    """The URI without its user and password, and without the values of options that are secrets."""
    scheme, rest = uri[1], uri[2]
    place, mark, options = rest.partition("?")
    end = re.search("[/#]", place)
    authority = place[: end.start()] if end else place
    user, at, _ = authority.rpartition("@")
    if at:
        if ":" in user or scheme.lower() in _USER_IS_SECRET:
            place = f"{MASK}{place[len(user) :]}"
    elif _has_password(scheme.lower(), authority):  # with a slash, at which the place seems to begin
        place = f"{MASK}@{place.rpartition('@')[2]}" if "@" in place else MASK
    return f"{scheme}://{place}{mark}{_OPTION.sub(_without_option, options)}"


def _without_option(option: re.Match[str]) -> str:
    name, value = unquote(option[1]), unquote(option[2])
    words = _words(name)
    if value and value != MASK and ((words and words[-1] in _OPTIONS) or is_secret(name, value)):
        return f"{option[1]}={MASK}"
    shown = _URI.sub(_without_secret, value)
    return option[0] if shown == value else f"{option[1]}={shown}"


def _has_password(scheme: str, authority: str) -> bool:
    _, colon, port = authority.rpartition("]")[2].partition(":")
    return bool(colon) and port != "" and (scheme in _NO_PORTS or not port.isdigit())


def _known(environment: Mapping[str, str]) -> Iterator[str]:
    """The secrets of an environment: values of variables with such names, and passwords in URIs, as of proxies."""
    for name, value in environment.items():
        if len(value) >= _SHORTEST and is_secret(name, value):
            yield value
        elif found := re.match(r"[a-z0-9+.-]+://[^/?#]*?:([^/?#]+)@", value, re.IGNORECASE):
            yield from (password for password in (found[1], unquote(found[1])) if len(password) >= _SHORTEST)
