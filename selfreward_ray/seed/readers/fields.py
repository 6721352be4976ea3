"""The fields of rows: what their models share, and what is wrong with a row in words."""

import reprlib
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from selfreward_ray.seed.errors import SeedError


class Fields(BaseModel):
    """Fields of a row, or of an object in one. Nothing is converted; fields that no model names are passed over."""

    model_config = ConfigDict(strict=True)


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds a lone surrogate; write it in valid Unicode") from None
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; write it or remove the field")
    return text


Encodable = Annotated[str, AfterValidator(_encodable)]
"""A text that may be empty."""

Filled = Annotated[Encodable, AfterValidator(_filled)]
"""A text whose faults are faults of form: an id, a written verdict."""

Rank = Annotated[int, Field(ge=0, lt=2**31)]
"""0 is the best."""

F = TypeVar("F", bound=Fields)


def parse(model: type[F], fields: object, where: str, at: str = "") -> F:
    """`fields` as `model`. Raises `SeedError` that names `where`, and each field with `at`, its place in the row."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise SeedError(f"{where}: {'; '.join(_explain(detail, at) for detail in error.errors())}") from None


def _explain(detail: Any, at: str) -> str:
    name = ".".join([*filter(None, [at]), *map(str, detail["loc"])])
    match detail["type"]:
        case "missing":
            return f"field {name!r} is missing; add it"
        case "extra_forbidden":
            return f"unknown field {name!r}; correct its name or remove it"
    message = detail["msg"].removeprefix("Value error, ")
    where = f"field {name!r}" if name else "the row"
    return f"{where}: {message[0].lower()}{message[1:]} (got {reprlib.repr(detail['input'])})"
