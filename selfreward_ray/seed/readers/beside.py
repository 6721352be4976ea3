"""Messages in a row that also has a prompt and a reply: they must hold both, and may hold the turns before them."""

from dataclasses import replace

from selfreward_ray.seed.readers.declaration import Format
from selfreward_ray.seed.readers.exchanges import Exchange, Spoken, Values
from selfreward_ray.seed.readers.messages import ASKING, CHATS, conversation
from selfreward_ray.seed.readers.reading import BadRow, Reading
from selfreward_ray.seed.readers.values import is_empty

OTHER_MESSAGES = (
    "its messages say something else than its prompt and reply; name the format, or leave a column out (ignore)"
)


def after_messages(exchange: Exchange, values: Values, form: Format, reading: Reading) -> Exchange:
    """The exchange with the messages before its prompt, where `form` reads the prompt from another column.

    Raises `BadRow` where the messages do not hold its prompt, or have another reply to it.
    """
    asks = any(not is_empty(values.get(name)) for name in ASKING)
    own = () if asks else (*form.used, *form.irrelevant)
    name = next((one for one in CHATS if one not in (*form.told_by, *own) and not is_empty(values.get(one))), None)
    if name is None or form.whole_replies:
        return exchange
    spoken = conversation(values[name], name, reading)
    theirs, ours = [_plain(one) for one in spoken], [_plain(one) for one in exchange.before]
    replies = {("assistant", one.text.strip()) for one in exchange.replies if not reading.asks_only}
    for end in range(len(ours), len(theirs) + 1):
        answered = end < len(theirs) and bool(replies)
        if theirs[end - len(ours) : end] == ours and not (answered and theirs[end] not in replies):
            return replace(exchange, before=tuple(spoken[:end]))
    asked = theirs[:-1] if theirs[-1] in replies else theirs
    if asked and ours[-len(asked) :] == asked:
        return exchange
    raise BadRow(OTHER_MESSAGES)


def check_beside(spoken: list[Spoken], values: Values) -> None:
    """Raise `BadRow` where a row of messages has a prompt or a reply beside them that is none of them."""
    for name in ("prompt", "response", "completion"):
        value = values.get(name)
        if not isinstance(value, str) or not value.strip():
            continue
        if not any(one.text.strip() and (value.strip() in one.text or one.text.strip() in value) for one in spoken):
            raise BadRow(OTHER_MESSAGES)


def _plain(one: Spoken) -> tuple[str, str]:
    return one.role, one.text.strip()
