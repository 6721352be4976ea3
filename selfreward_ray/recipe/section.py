"""What all sections of the recipe have in common."""

from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """Unknown fields are refused, and so are NaN, infinity and truth values for numbers. A section is never changed."""

    # Defaults are validated too: an integer 5 would give another fingerprint than the 5.0 read back from a file.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # YAML reads `no` as false, which Python counts as 0.
        taken = _parts(cls.model_fields[str(info.field_name)].annotation)
        if isinstance(value, bool) and bool not in taken and taken & {int, float}:
            raise PydanticCustomError("float_type" if float in taken else "int_type", "not a number")
        return value


@dataclass(frozen=True)
class Used:
    """What a step uses of a section of the recipe, or of another model with defaults."""

    values: Any
    """By the fields' names; of a single field its value."""
    differing: Any
    """The values that are not the defaults; ``{}`` if all are."""


def used(section: BaseModel, **which: Any) -> Used:
    """All fields of `section`, or those that pydantic's ``include`` and ``exclude`` name in `which`."""
    return Used(section.model_dump(**which), section.model_dump(**which, exclude_defaults=True))


def used_fields(section: BaseModel, **which: Any) -> dict[str, Used]:
    """As `used`, each field on its own."""
    whole = used(section, **which)
    return {name: Used(value, whole.differing.get(name, {})) for name, value in whole.values.items()}


def _parts(annotation: Any) -> set[Any]:
    """The types in an annotation; of a literal those of its values."""
    found = {annotation, *((type(annotation),) if isinstance(annotation, int | str) else ())}
    for part in get_args(annotation):
        found |= _parts(part)
    return found
