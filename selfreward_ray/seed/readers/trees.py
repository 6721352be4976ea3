"""Open Assistant's conversation trees, nested or as flat messages (Köpf et al. 2023, arXiv 2304.07327).

A message answers its parent. Each prompt with ranked replies is a set, whose history is the path to it from the root.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.records import Dropped, RankedSet
from selfreward_ray.seed.readers.drafts import NOT_FIRST, Draft, Message, Rank, Reply, Role, message, settle
from selfreward_ray.store.user_files import Fields, Filled, Row, parse

NOT_READY = "tree is not ready for export"
SAME_ID = "another message has the same id"
NO_PARENT = "its parent is missing"
CIRCLE = "its parents form a circle"
OUT_OF_TURN = "user and assistant do not take turns"
HANGS = "an earlier message of its conversation cannot be placed"

_ROLES: dict[str, Role] = {"prompter": "user", "assistant": "assistant"}


class _MessageFields(Fields):
    message_id: Filled
    text: str
    role: Literal["prompter", "assistant"]
    rank: Rank | None = None
    lang: str | None = None
    deleted: bool | None = None
    synthetic: bool | None = None
    review_result: bool | None = None


class _NestedFields(_MessageFields):
    replies: list[Any] | None = None


class _FlatFields(_MessageFields):
    message_tree_id: Filled
    parent_id: Filled | None = None
    tree_state: str | None = None


class _TreeFields(Fields):
    message_tree_id: Filled
    prompt: Any
    tree_state: str | None = None


@dataclass(frozen=True, slots=True)
class _Node:
    id: str
    parent: str | None
    rank: int | None
    message: Message


def nested_trees(rows: Iterable[Row], options: SeedData) -> Iterator[RankedSet | Dropped]:
    """Sets of rows that hold a tree each."""
    known: set[str] = set()
    for row in rows:
        tree = parse(_TreeFields, row.fields, row.where)
        yield from _tree_sets(tree.message_tree_id, _ready(tree), _flattened(tree.prompt, row, options), known, options)


def flat_messages(rows: Iterable[Row], options: SeedData) -> Iterator[RankedSet | Dropped]:
    """Sets of rows that hold a message each, in any order: they are all held in memory until the last is read."""
    trees: dict[str, list[_Node]] = defaultdict(list)
    unready: set[str] = set()
    for row in rows:
        found = parse(_FlatFields, row.fields, row.where)
        trees[found.message_tree_id].append(_node(found, found.parent_id, options))
        if not _ready(found):
            unready.add(found.message_tree_id)
    known: set[str] = set()
    for tree_id, nodes in trees.items():
        yield from _tree_sets(tree_id, tree_id not in unready, nodes, known, options)


def _ready(tree: _TreeFields | _FlatFields) -> bool:
    return tree.tree_state in (None, "ready_for_export")


def _flattened(prompt: Any, row: Row, options: SeedData) -> list[_Node]:
    # Depth first and in the order of the file, without recursion: conversations may be long.
    nodes = []
    waiting: list[tuple[Any, str, str | None]] = [(prompt, "prompt", None)]
    while waiting:
        fields, at, parent = waiting.pop()
        found = parse(_NestedFields, fields, row.where, at)
        nodes.append(_node(found, parent, options))
        below = [(reply, f"{at}.replies.{i}", found.message_id) for i, reply in enumerate(found.replies or [])]
        waiting.extend(reversed(below))
    return nodes


def _node(found: _MessageFields, parent: str | None, options: SeedData) -> _Node:
    turn = message(_ROLES[found.role], found.text, options.max_characters, _mark(found, options))
    return _Node(found.message_id, parent, found.rank, turn)


def _mark(found: _MessageFields, options: SeedData) -> str | None:
    if found.deleted and not options.deleted:
        return "is deleted"
    if found.synthetic and not options.synthetic:
        return "is synthetic"
    if options.language and found.lang and found.lang != options.language:
        return "is in another language"
    return "failed its review" if found.review_result is False else None


def _tree_sets(
    tree_id: str, ready: bool, nodes: Sequence[_Node], known: set[str], options: SeedData
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
            replies[node.parent].append(Reply(node.id, node.message, node.rank))
    for node in placed.values():
        if node.id not in replies:
            continue
        if options.turns == "first" and node.parent is not None:
            yield Dropped(node.id, "seed", NOT_FIRST)
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
