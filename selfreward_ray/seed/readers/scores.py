"""From scores to ranks: by the order of the replies, and by the source's scale where a set has no two scores."""

from collections.abc import Sequence
from dataclasses import replace

from selfreward_ray.seed.readers.exchanges import Exchange, Given
from selfreward_ray.seed.readers.reading import Reading


def has_one_score(exchange: Exchange) -> bool:
    """Whether its replies are ranked by scores, and no two of these differ."""
    return _is_by_score(exchange) and len({one.score for one in exchange.replies} - {None}) == 1


def _is_by_score(exchange: Exchange) -> bool:
    """Whether scores alone say how good its replies are."""
    replies = exchange.replies
    return any(one.score is not None for one in replies) and all(one.rank is None for one in replies)


class Scale:
    """The range of all scores of a source. Its middle decides whether a lone score is a good one."""

    def __init__(self, reading: Reading):
        self._reading = reading
        self._least = self._greatest = 0.0
        self._known = False
        self._low = 0

    def note(self, replies: Sequence[Given]) -> None:
        """Extend the range by the scores of `replies`."""
        for score in (reply.score for reply in replies if reply.score is not None):
            self._least = min(self._least, score) if self._known else score
            self._greatest = max(self._greatest, score) if self._known else score
            self._known = True

    def ranked(self, exchange: Exchange) -> Exchange:
        """`exchange` with the ranks of its scores: equal scores have equal ranks, and a reply without one has none.

        Where no two scores differ nothing was compared. Such replies have rank 0 if their score is good enough, and
        rank 1 otherwise, as replies that nobody liked.
        """
        if not _is_by_score(exchange):
            return exchange
        order = sorted({one.score for one in exchange.replies if one.score is not None}, reverse=True)
        first = 0
        if len(order) == 1 and order[0] < self._minimum:
            self._low += 1
            first = 1
        replies = (
            replace(one, rank=None if one.score is None else first + order.index(one.score)) for one in exchange.replies
        )
        return replace(exchange, replies=tuple(replies))

    def report(self) -> None:
        """Add a sentence about lone scores below the minimum to the notes of the reading, at its end."""
        if self._low:
            why = "seed_data.minimum_score"
            if self._reading.wanted.minimum_score is None:
                why = f"the middle of {self._least:g} to {self._greatest:g} (seed_data.minimum_score sets another)"
            self._reading.say(
                f"{self._low} sets have no two scores to compare, and theirs is below {self._minimum:g}, {why}: their "
                "replies have rank 1, and IFT does not take them"
            )

    @property
    def _minimum(self) -> float:
        set_by_recipe = self._reading.wanted.minimum_score
        return (self._least + self._greatest) / 2 if set_by_recipe is None else set_by_recipe
