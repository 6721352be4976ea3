"""What became of the prompts of an iteration: by their ids, without texts, some bytes of each."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from selfreward_ray.preferences import POLICIES
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import Pair
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.number_table import NumberTable
from selfreward_ray.store.tables import read_columns

Fact = tuple[str, ...]
"""One of the words below, then what is said: the last parts of the replies' ids, a reason."""

_PAIR, _POSITIVE, _FLAGGED, _DROPPED = "pair", "positive", "flagged", "dropped"


@dataclass(frozen=True)
class PromptOutcome:
    """What became of a prompt and of the replies to it, which are named by their ids."""

    pairs: list[tuple[str, str]] = field(default_factory=list)
    """(chosen, rejected) of each pair."""
    positive: set[str] = field(default_factory=set)
    """Replies that are trained on by SFT."""
    flagged: dict[str, str] = field(default_factory=dict)
    """Why replies may not be chosen."""
    dropped: str | None = None
    """Why the prompt gives no training row."""


class PromptOutcomes:
    """The outcomes of many prompts, in 32 bytes a fact: few facts differ, and a number stands for each of them."""

    def __init__(self, facts: Iterable[tuple[str, Fact]], *, made: bool = True) -> None:
        self.made = made
        """Whether there is a finished pair step."""
        numbers: dict[Fact, int] = {}
        self._of_prompt = NumberTable((prompt, numbers.setdefault(fact, len(numbers))) for prompt, fact in facts)
        self._facts = list(numbers)

    def __len__(self) -> int:
        return len(self._of_prompt)

    def of(self, prompt: str) -> PromptOutcome:
        facts = [self._facts[int(number)] for number in self._of_prompt.all(prompt)]
        return PromptOutcome(
            [(f"{prompt}/{chosen}", f"{prompt}/{rejected}") for kind, chosen, rejected in _only(_PAIR, facts)],
            {f"{prompt}/{reply}" for kind, reply in _only(_POSITIVE, facts)},
            {f"{prompt}/{reply}": reason for kind, reply, reason in _only(_FLAGGED, facts)},
            next((reason for kind, reason in _only(_DROPPED, facts)), None),
        )


def _only(kind: str, facts: list[Fact]) -> list[Fact]:
    return [fact for fact in facts if fact[0] == kind]


def read_outcomes(pairs: Folder, recipe: Recipe) -> PromptOutcomes:
    """The outcomes that the pair step `pairs` gave, if it is finished."""
    if read_manifest(pairs) is None:
        return PromptOutcomes((), made=False)
    return PromptOutcomes(_facts_of(pairs, recipe))


def read_dropped(step: Folder) -> PromptOutcomes:
    """The prompts that a step dropped."""
    return PromptOutcomes(_dropped_in(step))


def _facts_of(pairs: Folder, recipe: Recipe) -> Iterator[tuple[str, Fact]]:
    if POLICIES[recipe.pairs.policy].record is Pair:
        for row in read_columns(pairs / "rows", ["chosen.id", "rejected.id"]):
            prompt, chosen = _parts(row["chosen"]["id"])
            yield prompt, (_PAIR, chosen, _parts(row["rejected"]["id"])[1])
    else:
        for row in read_columns(pairs / "rows", ["id"]):
            prompt, reply = _parts(row["id"])
            yield prompt, (_POSITIVE, reply)
    for row in read_columns(pairs / "flagged", ["id", "reason"]):
        prompt, reply = _parts(row["id"])
        yield prompt, (_FLAGGED, reply, row["reason"])
    yield from _dropped_in(pairs)


def _dropped_in(step: Folder) -> Iterator[tuple[str, Fact]]:
    for row in read_columns(step / "dropped", ["id", "reason"]):
        yield row["id"], (_DROPPED, row["reason"])


def _parts(reply: str) -> tuple[str, str]:
    """A prompt's id, and what stands behind it in that of a reply."""
    prompt, _, last = reply.rpartition("/")
    return prompt, last
