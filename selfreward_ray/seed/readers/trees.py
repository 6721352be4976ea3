"""Open Assistant's conversation trees, nested or as flat messages (Köpf et al. 2023, arXiv 2304.07327).

A message answers its parent. Each prompt with ranked replies is a set, whose history is the path to it from the root.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.records import Dropped, RankedSet
from selfreward_ray.seed.readers.columns import check_columns
from selfreward_ray.seed.readers.declaration import Format
from selfreward_ray.seed.readers.drafts import (
    NOT_FIRST,
    Draft,
    Message,
    Reply,
    Role,
    has_lone_surrogate,
    message,
    settle,
)
from selfreward_ray.seed.readers.exchanges import Values
from selfreward_ray.seed.readers.languages import in_another_language
from selfreward_ray.seed.readers.messages import role_of
from selfreward_ray.seed.readers.reading import BadRow, LeftOut, Reading
from selfreward_ray.seed.readers.transcripts import is_formatted
from selfreward_ray.seed.readers.values import is_empty, objects, text, whole_number
from selfreward_ray.store.user_files import Row
from selfreward_ray.thought import part_thought

NOT_READY = "tree is not ready for export"
SAME_ID = "another message has the same id"
NO_PARENT = "its parent is missing"
CIRCLE = "its parents form a circle"
OUT_OF_TURN = "user and assistant do not take turns"
HANGS = "an earlier message of its conversation cannot be placed"

_TREE = ("message_tree_id", "prompt", "tree_state", "origin")
_MESSAGE = (
    "message_id", "parent_id", "message_tree_id", "tree_state", "text", "role", "lang", "rank", "deleted", "synthetic",
    "review_result", "replies", "user_id", "created_date", "review_count", "model_name", "detoxify", "emojis", "labels",
    "events",
)  # fmt: skip


_NOT_SOUND = ("initial_prompt_review", "aborted_low_grade", "halted_by_moderator")
"""States of a tree whose prompt was not, or not successfully, reviewed."""


@dataclass(frozen=True, slots=True)
class _Node:
    id: str
    parent: str | None
    rank: int | None
    message: Message
    thought: str


def nested_trees(rows: Iterable[Row], reading: Reading) -> Iterator[RankedSet | Dropped]:
    """Sets of rows that hold a tree each."""
    known: set[str] = set()
    for row in rows:
        try:
            tree = reading.begin(row)
            check_columns(tree, _OF_TREES, reading)
            tree_id, ready = _id(tree, "message_tree_id"), _is_ready(tree, reading)
            nodes = _flattened(tree.get("prompt"), reading)
        except (BadRow, LeftOut) as reason:
            yield reading.dropped(reason)
            continue
        yield from _tree_sets(tree_id, ready, nodes, known, reading)
    reading.check_share()


def flat_messages(rows: Iterable[Row], reading: Reading) -> Iterator[RankedSet | Dropped]:
    """Sets of rows that hold a message each, in any order: they are all held in memory until the last is read."""
    trees: dict[str, list[_Node]] = defaultdict(list)
    unready: set[str] = set()
    for row in rows:
        try:
            fields = reading.begin(row)
            check_columns(fields, _OF_MESSAGES, reading)
            tree_id, parent = _id(fields, "message_tree_id"), fields.get("parent_id")
            node = _node(fields, None if is_empty(parent) else _id(fields, "parent_id"), reading)
        except (BadRow, LeftOut) as reason:
            yield reading.dropped(reason)
            continue
        trees[tree_id].append(node)
        if not _is_ready(fields, reading):
            unready.add(tree_id)
    reading.check_share()
    known: set[str] = set()
    for tree_id, nodes in trees.items():
        yield from _tree_sets(tree_id, tree_id not in unready, nodes, known, reading)


def _is_ready(tree: Values, reading: Reading) -> bool:
    """Whether people are done with a tree; a prompt is sound before, once it is reviewed."""
    state = tree.get("tree_state")
    return state in (None, "ready_for_export") or (reading.asks_only and state not in _NOT_SOUND)


def _flattened(prompt: object, reading: Reading) -> list[_Node]:
    # Depth first and in the order of the file, without recursion: conversations may be long.
    nodes = []
    waiting: list[tuple[object, str | None]] = [(prompt, None)]
    while waiting:
        fields, parent = waiting.pop()
        if not isinstance(fields, dict):
            raise BadRow("field 'prompt' is not a message with its replies")
        _note(fields, _MESSAGE, reading)
        nodes.append(_node(fields, parent, reading))
        replies = [] if is_empty(fields.get("replies")) else objects(fields, "replies")
        waiting.extend((reply, nodes[-1].id) for reply in reversed(replies))
    return nodes


def _node(fields: Values, parent: str | None, reading: Reading) -> _Node:
    name, said = _id(fields, "message_id"), text(fields, "text")
    role = role_of(text(fields, "role"), reading)
    if role == "system":
        raise BadRow(OUT_OF_TURN)
    mark, thought = _mark(fields, role, reading.wanted), ""
    if role == "assistant":
        parted = part_thought(said)
        said, thought = parted.reply, parted.thought
        mark = mark or (None if parted.finished else "has a thought without an end")
    turn = message(role, said, reading.wanted.max_characters, mark)
    return _Node(name, parent, whole_number(fields.get("rank"), "rank"), turn, thought)


def _id(fields: Values, name: str) -> str:
    given = text(fields, name)
    if not given.strip() or has_lone_surrogate(given):
        raise BadRow(f"field {name!r} is no id")
    return given


def _mark(fields: Values, role: Role, options: SeedData) -> str | None:
    if _says(fields, "deleted", "true") and not options.deleted:
        return "is deleted"
    if _says(fields, "synthetic", "true") and not options.synthetic:
        return "is synthetic"
    if in_another_language(fields.get("lang"), options.language):
        return "is in another language"
    if _says(fields, "review_result", "false"):
        return "failed its review"
    return "has the marks of a chat template" if is_formatted(fields["text"], role) else None


def _says(fields: Values, name: str, value: str) -> bool:
    """Whether a mark, which is a text in a CSV file, has this value."""
    return str(fields.get(name)).lower() == value


def _note(fields: Values, known: Sequence[str], reading: Reading) -> None:
    for name, value in fields.items():
        if name not in known and not name.startswith("_") and not is_empty(value):
            reading.unused(name)


def _tree_sets(
    tree_id: str, ready: bool, nodes: Sequence[_Node], known: set[str], reading: Reading
) -> Iterator[RankedSet | Dropped]:
    """Sets of one tree; `known` are the ids of earlier trees' messages, to which this tree's are added."""
    if not ready:
        yield Dropped(tree_id, "seed", NOT_READY)
        return
    faults = _misplaced(nodes, known)
    known.update(node.id for node in nodes)
    placed: dict[str, _Node] = {}
    replies: dict[str, list[Reply]] = defaultdict(list)
    for node, fault in zip(nodes, faults, strict=True):
        if fault is not None:
            yield Dropped(node.id, "seed", fault)
            continue
        placed[node.id] = node
        if node.parent is not None and node.message.turn.role == "assistant":
            replies[node.parent].append(Reply(node.id, node.message, node.rank, thought=node.thought))
    for node in placed.values():
        opens = reading.asks_only and node.parent is None
        if node.id not in replies and not opens:
            continue
        if reading.wanted.turns == "first" and node.parent is not None:
            yield Dropped(node.id, "seed", NOT_FIRST)
        elif reading.asks_only:
            yield _asked(node, placed)
        else:
            yield from settle(
                Draft(
                    id=node.id,
                    prompt=node.message,
                    replies=tuple(replies[node.id]),
                    history=_history(node, placed),
                    conversation=tree_id,
                    ties=False,
                )
            )


def _asked(node: _Node, placed: dict[str, _Node]) -> RankedSet | Dropped:
    """A prompt whatever became of its replies, as a set without any."""
    history = _history(node, placed)
    for one, what in [(node.message, "prompt"), *((earlier, "a message before the prompt") for earlier in history)]:
        if one.fault is not None:
            return Dropped(node.id, "seed", f"{what} {one.fault}")
    return RankedSet(node.id, node.message.turn.text, (), tuple(one.turn for one in history))


def _misplaced(nodes: Sequence[_Node], known: set[str]) -> list[str | None]:
    """Why a message has no place in the tree, None where it has one; in the order of `nodes`."""
    count = Counter(node.id for node in nodes)
    children: dict[str | None, list[int]] = defaultdict(list)
    faults: dict[int, str | None] = {}
    for i, node in enumerate(nodes):
        children[node.parent].append(i)
        if count[node.id] > 1 or node.id in known:
            faults[i] = SAME_ID
        elif node.parent is None:
            faults[i] = None if node.message.turn.role == "user" else OUT_OF_TURN
        elif node.parent not in count:
            faults[i] = NO_PARENT
    waiting = list(faults)
    while waiting:
        above = waiting.pop()
        for i in children[nodes[above].id]:
            if i not in faults:
                same_role = nodes[i].message.turn.role == nodes[above].message.turn.role
                faults[i] = HANGS if faults[above] else OUT_OF_TURN if same_role else None
                waiting.append(i)
    # What no root, and nothing without a place, leads to hangs on itself.
    return [faults.get(i, CIRCLE) for i in range(len(nodes))]


def _history(node: _Node, placed: dict[str, _Node]) -> tuple[Message, ...]:
    path = []
    while node.parent is not None:
        node = placed[node.parent]
        path.append(node.message)
    return tuple(reversed(path))


TREES = _OF_TREES, _OF_MESSAGES = (
    Format("oasst-tree", ("message_tree_id", "prompt"), trees=nested_trees, used=_TREE),
    Format("oasst-message", ("message_id", "message_tree_id"), trees=flat_messages, used=_MESSAGE),
)
