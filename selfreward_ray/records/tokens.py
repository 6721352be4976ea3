"""Examples as token ids, as they are trained on."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class TokenSequence:
    """A prompt and a target as token ids. The model computes the log-probabilities of the target's tokens."""

    id: str
    prompt_ids: tuple[int, ...]
    target_ids: tuple[int, ...]
    context: int = 0
    """Number of the first target tokens that the model only reads, such as a thought. They give no log-probs."""

    @property
    def scored_ids(self) -> tuple[int, ...]:
        """The target tokens whose log-probabilities are computed."""
        return self.target_ids[self.context :]


@dataclass(frozen=True)
class SftTokens:
    """An encoded `SftExample`, or a `Positive` with its generated tokens. `target_ids` ends with the end token."""

    id: str
    prompt_ids: tuple[int, ...]
    target_ids: tuple[int, ...]
    context: int = 0
    """As `TokenSequence.context`."""
    left_out: tuple[str, ...] = ()
    """For each thought of the row that is not in `target_ids`, the reason."""

    def sequences(self) -> tuple[TokenSequence, ...]:
        """The sequences that a forward pass needs."""
        return (TokenSequence(f"{self.id}/target", self.prompt_ids, self.target_ids, self.context),)


@dataclass(frozen=True)
class PairTokens:
    """An encoded `Pair`."""

    id: str
    prompt_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]
    label_smoothing: float = 0.0
    eft: SftTokens | None = None
    """An EFT example that is trained on together with the pair; None if ``dpo.eft_weight`` is 0."""
    chosen_context: int = 0
    """As `TokenSequence.context`, of the chosen reply."""
    rejected_context: int = 0
    left_out: tuple[str, ...] = ()
    """As `SftTokens.left_out`, of both replies."""

    @property
    def chosen(self) -> TokenSequence:
        return TokenSequence(f"{self.id}/chosen", self.prompt_ids, self.chosen_ids, self.chosen_context)

    @property
    def rejected(self) -> TokenSequence:
        return TokenSequence(f"{self.id}/rejected", self.prompt_ids, self.rejected_ids, self.rejected_context)

    def sequences(self) -> tuple[TokenSequence, ...]:
        """The sequences that a forward pass needs."""
        return (self.chosen, self.rejected, *(self.eft.sequences() if self.eft else ()))

    def alone(self) -> "PairTokens":
        """The pair without its EFT example."""
        return replace(self, eft=None)
