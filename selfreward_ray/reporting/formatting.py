"""Format numbers and times, and make control characters in text visible."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from selfreward_ray.records import Dropped

MISSING = "–"

# C0 and C1 controls except tab and newline, lone surrogates, and bidirectional controls. They would act on the reader's
# terminal or page.
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


def number(value: float | None, digits: int = 0) -> str:
    """The value with `digits` decimals and thousands separators; – for None."""
    return MISSING if value is None else f"{value:,.{digits}f}"


def percent(share: float | None) -> str:
    """A fraction from 0 to 1 in percent, with one decimal and without the percent sign; – for None."""
    return number(None if share is None else 100 * share, 1)


def share_with_interval(share: float | None, interval: Sequence[float] | None) -> str:
    """A fraction in percent with its interval: ``61.2 (58.0–64.4)``; without one, the fraction alone."""
    return percent(share) if interval is None else f"{percent(share)} ({'–'.join(map(percent, interval))})"


def amount(count: int, unit: str) -> str:
    """A count with its unit, which is given in the singular: ``1 row``, ``1,234 rows``."""
    return f"{number(count)} {unit}{'' if count == 1 else 's'}"


def size(count: float) -> str:
    """A number of bytes: ``0 bytes``, ``13.5 kB``, ``1.6 TB``."""
    units = ["bytes", "kB", "MB", "GB", "TB"]
    place = 0
    while count >= 1000 and place < len(units) - 1:
        count, place = count / 1000, place + 1
    return f"{number(count, 1 if place else 0)} {units[place]}"


def duration(seconds: float) -> str:
    """Seconds as minutes or hours: ``0:41``, ``12:05``, ``3:02:11``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def commonest(dropped: Iterable[Dropped] | Counter[str]) -> str:
    """The three most common reasons with their counts: ``12 reply is empty; 3 prompt is synthetic``."""
    reasons = dropped if isinstance(dropped, Counter) else Counter(d.reason for d in dropped)
    return counted(dict(reasons.most_common(3)))


def counted(reasons: Mapping[str, int]) -> str:
    """Reasons with their counts: ``12 reply is empty; 3 prompt is synthetic``."""
    return "; ".join(f"{count} {reason}" for reason, count in reasons.items())


def thoughts_left_out(reasons: Mapping[str, int]) -> list[str]:
    """Sentences about thoughts that a training leaves out, one for each of the `reasons` with its count."""
    return [
        f"{amount(count, 'thought')} {'is' if count == 1 else 'are'} not trained: {reason}"
        for reason, count in reasons.items()
    ]


def shortened(text: str, characters: int = 4000) -> str:
    """The beginning of a long text, with the number of characters that are left out."""
    rest = len(text) - characters
    return text if rest <= 0 else f"{text[:characters]} … ({number(rest)} more characters)"


def visible(text: str) -> str:
    """`text` with control characters replaced by visible ones, for example ``␛`` for escape."""
    return _HIDDEN.sub(_picture, text.replace("\r\n", "\n"))


def _picture(match: re.Match[str]) -> str:
    code = ord(match[0])
    return "␡" if code == 0x7F else chr(0x2400 + code) if code < 0x20 else "\ufffd"
