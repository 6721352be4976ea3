"""Checks that look at different things side by side, and what they find: all problems at once."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from selfreward_ray.credentials import masked
from selfreward_ray.errors import UserError

LIMIT_S = 8.0
"""Seconds after which a check that may wait for a network, or read much, is given up."""
LIMIT_HERE_S = 60.0
"""Seconds after which any other is: it computes for a moment, but others may have the cores of this machine."""

Fault = UserError | OSError
Sentence = str | Fault
"""What a check says: a text is a note, an error a problem."""


@dataclass(frozen=True)
class Check:
    """One thing to look at."""

    about: str
    """What it looks at, in one or two words."""
    find: Callable[[], Iterable[Sentence] | None]
    """Says what it finds, if anything. An error that it raises is a problem too, and its last one."""
    late: Sentence | None = None
    """What is said if it takes longer than `LIMIT_S`; None allows it `LIMIT_HERE_S`, and then says that it took too
    long."""


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    about: str
    text: str
    problem: bool
    """Whether it must be corrected before the run or step can begin."""


def examine(checks: Sequence[Check]) -> list[Finding]:
    """What the `checks` find, in their order, each problem once. Returns after their limits at the latest.

    A fault of a check itself is raised, with the problems that the others found as its notes.
    """
    begin = time.monotonic()
    looking = [_Looking(check) for check in checks]
    for one in looking:
        one.join(max(0.0, begin + one.limit_s - time.monotonic()))
    found: dict[tuple[str, bool], Finding] = {}
    for one in looking:
        for finding in one.findings():
            found.setdefault((finding.text, finding.problem), finding)
    broken = next((one.broken for one in looking if one.broken is not None), None)
    if broken is not None:
        for problem in (finding for finding in found.values() if finding.problem):
            broken.add_note(f"{problem.about}: {problem.text}")
        raise broken
    return list(found.values())


def faults(*calls: Callable[[], object]) -> Iterable[Fault]:
    """The errors of several `calls`, of which none keeps the others from being made."""
    for call in calls:
        try:
            call()
        except (UserError, OSError) as error:
            yield error


def is_looking() -> bool:
    """Whether a check that was given up is still at work, so that a library may wait for it when the process ends."""
    return any(isinstance(thread, _Looking) for thread in threading.enumerate())


class _Looking(threading.Thread):
    """A check at work. As a daemon it does not keep the process from ending: a dead network may hold it for minutes."""

    def __init__(self, check: Check) -> None:
        super().__init__(name=check.about, daemon=True)
        self._check = check
        self.limit_s = LIMIT_HERE_S if check.late is None else LIMIT_S
        self._said: list[Sentence] = []
        self.broken: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            for sentence in self._check.find() or ():
                self._said.append(sentence)
        except (UserError, OSError) as error:
            self._said.append(error)
        except BaseException as error:  # a thread's own would only be printed
            self.broken = error

    def findings(self) -> list[Finding]:
        """What was said so far."""
        late = self.is_alive()  # before its words are copied: it may end meanwhile
        said = list(self._said)
        if late:
            too_long = UserError(f"{self._check.about}: took longer than {self.limit_s:g} seconds")
            said.append(self._check.late or too_long)
        return [
            Finding(self._check.about, _text(getattr(sentence, "cause", sentence)), not isinstance(sentence, str))
            for sentence in said
        ]


def _text(sentence: Sentence) -> str:
    """The sentence, with a remedy for the errors of storage, which have neither a number nor a class of their own."""
    remedy = "; check its address, the network and your credentials" if type(sentence) is OSError else ""
    said = masked(str(sentence))
    return f"{' '.join(said.split())}{remedy}" if remedy else said
