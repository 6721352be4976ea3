"""From rows to ranked sets, in the same way for every format that says what a row means."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from selfreward_ray.records import Dropped, RankedSet, ToolUse, Turn
from selfreward_ray.seed.readers.beside import after_messages
from selfreward_ray.seed.readers.columns import check_columns
from selfreward_ray.seed.readers.declaration import Format
from selfreward_ray.seed.readers.drafts import NOT_FIRST, Draft, Reply, checked, has_lone_surrogate, message, settle
from selfreward_ray.seed.readers.exchanges import Exchange, Spoken, Values
from selfreward_ray.seed.readers.media import MEDIA, is_place_of_media
from selfreward_ray.seed.readers.merging import merged
from selfreward_ray.seed.readers.messages import opening
from selfreward_ray.seed.readers.reading import BadRow, LeftOut, Reading
from selfreward_ray.seed.readers.scores import Scale, has_one_score
from selfreward_ray.seed.readers.tools import NO_CALL
from selfreward_ray.seed.readers.transcripts import untangled
from selfreward_ray.store.user_files import Row
from selfreward_ray.thought import part_thought

OUT_OF_TURN = "user and assistant do not take turns"
NO_REPLY = "no message is the assistant's"
TWO_SYSTEMS = "it has two system messages"
UNANSWERED = "nobody answered its last message"
ZERO_WEIGHT = "reply has weight 0"
SAME_TEXT = "its replies are the same"
SAME_ID = "an earlier row has the same id (seed_data.ignore=[id] calls rows by their places)"
ENDLESS_THOUGHT = "the thought before a reply has no end"


@dataclass(frozen=True)
class Asked:
    """What a row asks. `id` is the row's own, if it has one; `where` names its file and line."""

    id: str | None
    where: str
    history: tuple[Turn, ...]
    prompt: str


@dataclass
class _Group:
    """Rows that ask the same."""

    id: str
    where: str
    exchanges: list[Exchange] = field(default_factory=list)


def ranked_sets(rows: Iterable[Row], form: Format, reading: Reading) -> Iterator[RankedSet | Dropped]:
    """Sets of rows of one format. A row without ``id`` is called by its place among the rows (``seed/000017``).

    Replies are called by their place in the set (``…/r0``), sets by that in a row which holds several (``…/t0``).
    A row that gives no set is `Dropped` under its file and line. Sets of several rows come last, in the order of their
    first ones, and behind them those with one score alone. Of two rows with the same id the second one is bad. Raises
    `RowError` where too many are bad.
    """
    scale = Scale(reading)
    lone: list[_Group] = []  # they wait for the last row, because all scores make the scale
    for group in _groups(rows, form, reading, scale):
        if isinstance(group, Dropped):
            yield group
            continue
        for exchange in group.exchanges:
            if has_one_score(exchange):
                lone.append(_Group(group.id, group.where, [exchange]))
            else:
                yield from _sets(group.id, group.where, [scale.ranked(exchange)], reading)
    for group in lone:
        yield from _sets(group.id, group.where, list(map(scale.ranked, group.exchanges)), reading)
    scale.report()
    reading.check_share()


def _groups(rows: Iterable[Row], form: Format, reading: Reading, scale: Scale) -> Iterator[_Group | Dropped]:
    """Each row alone, or, after the last row, those that ask the same, merged. `scale` notes all scores."""
    seen: dict[str, str] = {}
    groups: dict[tuple[Spoken, ...], _Group] = {}
    for number, row in enumerate(rows):
        found = read_row(row, form, reading)
        if isinstance(found, Dropped):
            yield found
            continue
        values, exchanges = found
        scale.note([reply for exchange in exchanges for reply in exchange.replies])
        group = groups.get(exchanges[0].before) if form.merged else None
        if group is None:
            name = own_id(values) or f"seed/{number:06d}"
            if seen.setdefault(name, row.where) != row.where:
                yield reading.bad(SAME_ID, f"{name!r} in {seen[name]}")
                continue
            group = _Group(name, row.where)
        if form.merged:
            groups.setdefault(exchanges[0].before, group).exchanges += exchanges
        else:
            yield _Group(group.id, row.where, exchanges)
    for group in groups.values():
        assert form.merged is not None
        try:
            yield _Group(group.id, group.where, [merged(group.exchanges, form.merged)])
        except LeftOut as reason:
            yield Dropped(group.where, "seed", str(reason))


def asked_rows(rows: Iterable[Row], form: Format, reading: Reading) -> Iterator[Asked | Dropped]:
    """What rows of one format ask: of a chat whose last message is the user's that one, otherwise its first question,
    or with ``turns=any`` each. Raises `RowError` where too many rows are bad."""
    for row in rows:
        found = read_row(row, form, reading)
        if isinstance(found, Dropped):
            yield found
            continue
        values, exchanges = found
        open_ended = [one for one in exchanges if one.part and not one.replies]
        answered = exchanges if reading.wanted.turns == "any" else exchanges[:1]
        for exchange in open_ended or answered:
            *earlier, asked = (message(one.role, one.text, reading.wanted.max_characters) for one in exchange.before)
            if asked.fault is not None:
                yield Dropped(row.where, "seed", f"prompt {asked.fault}")
            elif faults := [one.fault for one in earlier if one.fault is not None]:
                yield Dropped(row.where, "seed", f"a message before the prompt {faults[0]}")
            else:
                yield Asked(own_id(values), row.where, tuple(one.turn for one in earlier), asked.turn.text)
    reading.check_share()


def own_id(values: Values) -> str | None:
    """The row's own id, a text or a whole number. What else stands there names nothing."""
    given = values.get("id")
    if type(given) is int:
        return str(given)
    if not isinstance(given, str) or not given.strip():
        return None
    return None if has_lone_surrogate(given) else given


def read_row(row: Row, form: Format, reading: Reading) -> tuple[Values, list[Exchange]] | Dropped:
    """The columns of a row and what they say, in plain messages that take turns; or the row as `Dropped`."""
    assert form.exchanges is not None
    try:
        values = reading.begin(row)
        check_columns(values, form, reading)
        before = opening(values, (*form.told_by, *form.used), reading)
        exchanges = form.exchanges(values, reading)
        if reading.asks_only:
            exchanges = list(map(_without_texts, exchanges))
        found = [_parted(untangled(_after(before, exchange)), form) for exchange in exchanges]
        if reading.wanted.format is None:  # otherwise the recipe says which columns are meant
            found = [after_messages(exchange, values, form, reading) for exchange in found]
        if any(one.role == "user" and is_place_of_media(one.text) for exchange in found for one in exchange.before):
            raise LeftOut(MEDIA)
        if not all(_in_turns(exchange) for exchange in found):
            raise BadRow(OUT_OF_TURN)
        if form.merged == "pairs" and any(len({r.text.strip() for r in one.replies}) == 1 for one in found):
            raise LeftOut(SAME_TEXT)  # perhaps only without their thoughts and end tokens
        if not reading.asks_only and not any(exchange.replies for exchange in found):
            raise BadRow(NO_REPLY)
    except (BadRow, LeftOut) as reason:
        return reading.dropped(reason)
    return values, found


def _without_texts(exchange: Exchange) -> Exchange:
    """The exchange with empty replies, which tell a question of a chat that was answered from an open one."""
    return replace(exchange, replies=tuple(replace(one, text="", thought="") for one in exchange.replies))


def _after(before: Sequence[Spoken], exchange: Exchange) -> Exchange:
    """The exchange after what the row's other columns say; an empty system message is none."""
    own = exchange.before
    if own and own[0].role == "system" and not own[0].text.strip():
        own = own[1:]
    if own and before and own[0].role == before[0].role == "system":
        if own[0].text != before[0].text:
            raise BadRow(TWO_SYSTEMS)
        own = own[1:]
    system = own[:1] if own and own[0].role == "system" else ()
    return replace(exchange, before=(*system, *before, *own[len(system) :]))


def _parted(exchange: Exchange, form: Format) -> Exchange:
    """The exchange with thoughts apart from its replies, and without those of earlier messages."""
    before = [
        replace(one, text=part_thought(one.text).reply if one.role == "assistant" else one.text, thought="")
        for one in exchange.before
    ]
    if form.whole_replies:
        return replace(exchange, before=tuple(before))
    replies = []
    for reply in exchange.replies:
        parted = part_thought(reply.text)
        if not parted.finished:
            raise BadRow(ENDLESS_THOUGHT)
        replies.append(replace(reply, text=parted.reply, thought=reply.thought or parted.thought))
    return replace(exchange, before=tuple(before), replies=tuple(replies))


def _in_turns(exchange: Exchange) -> bool:
    """Whether user and assistant take turns, and after a call its results. Raises `LeftOut` for a result that follows
    no call: it may be written in a text."""
    before = exchange.before[1:] if exchange.before and exchange.before[0].role == "system" else exchange.before
    last: Spoken | None = None
    for one in before:
        called = last is not None and last.uses_tools
        if one.role == "tool":
            if not called:
                raise LeftOut(NO_CALL)
            fits = True
        elif one.role == "assistant":
            fits = last is not None and last.role in ("user", "tool")
        else:
            fits = one.role == "user" and (last is None or (last.role == "assistant" and not called))
        if not fits:
            return False
        last = one
    return last is not None and last.role != "assistant"


def _sets(set_id: str, where: str, exchanges: Sequence[Exchange], reading: Reading) -> Iterator[RankedSet | Dropped]:
    """What a row, or several that ask the same, give; what is dropped as a whole stands under its file and line."""
    for exchange in exchanges:
        for found in _set(set_id, exchange, reading):
            whole = isinstance(found, Dropped) and found.id == set_id
            yield replace(found, id=where) if whole else found


def _set(set_id: str, exchange: Exchange, reading: Reading) -> Iterator[RankedSet | Dropped]:
    only_first = reading.wanted.turns == "first"
    name = f"{set_id}/{exchange.part}" if exchange.part else set_id
    if only_first and sum(one.role == "user" for one in exchange.before) > 1:
        yield Dropped(name, "seed", NOT_FIRST)
    elif not exchange.replies:
        yield Dropped(name, "seed", UNANSWERED)
    elif not any(reply.trained for reply in exchange.replies):
        yield Dropped(name, "seed", ZERO_WEIGHT)
    else:
        alone = only_first and exchange.part.startswith("t") and not exchange.uses_tools
        name = set_id if alone else name
        yield from settle(_draft(name, None if name == set_id else set_id, exchange, reading.wanted.max_characters))


def _draft(name: str, conversation: str | None, exchange: Exchange, max_characters: int) -> Draft:
    place = max(i for i, one in enumerate(exchange.before) if one.role == "user")
    messages = tuple(checked(one.turn, max_characters) for one in exchange.before)
    since = messages[place + 1 :]
    replies = tuple(
        Reply(
            f"{name}/r{i}",
            checked(Turn("assistant", r.text, r.calls), max_characters, r.fault),
            r.rank,
            r.score,
            r.verdict,
            r.thought,
        )
        for i, r in enumerate(exchange.replies)
    )
    use = None
    if exchange.uses_tools:
        use = ToolUse(exchange.tools, tuple(one.turn for one in since), exchange.replies[0].calls)
    return Draft(name, messages[place], replies, messages[:place], conversation, since=since, tool_use=use)
