"""What all sections of the recipe have in common."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Unknown fields are refused, and so are NaN and infinity. A section is never changed."""

    # Defaults are validated too: an integer 5 would give another fingerprint than the 5.0 read back from a file.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)
