"""Formats of a prompt with one reply: instructions, questions and answers, completions."""

from collections.abc import Callable, Sequence

from selfreward_ray.seed.readers.declaration import Format
from selfreward_ray.seed.readers.exchanges import Exchange, Given, Spoken, Values, exchanges_of
from selfreward_ray.seed.readers.messages import asked, conversation
from selfreward_ray.seed.readers.reading import BadRow, LeftOut, Reading
from selfreward_ray.seed.readers.tools import TOOL_COLUMNS, TOOLS, calls_in, declared_tools
from selfreward_ray.seed.readers.transcripts import transcript
from selfreward_ray.seed.readers.values import objects, text

OTHER_TEXT = "its text is not a conversation in the marks of a known template"


def reply_of(values: Values, name: str, reading: Reading) -> Spoken:
    """The reply in the column `name`: a text, or messages that are the assistant's alone."""
    if not isinstance(values.get(name), list | dict):
        return Spoken("assistant", text(values, name))
    spoken = conversation(values[name], name, reading)
    if [one.role for one in spoken] != ["assistant"]:
        raise BadRow(f"field {name!r} is not one message of the assistant")
    return spoken[0]


def _answered(prompt: str, reply: str, further: Sequence[str] = ()) -> Callable[[Values, Reading], Sequence[Exchange]]:
    """Rows with a prompt and a reply in the columns of these names; `further` ones are appended to the prompt."""

    def exchanges(values: Values, reading: Reading) -> list[Exchange]:
        before = tuple(asked(values, reading, (prompt,), further))
        if reading.asks_only:
            return [Exchange(before, ())]
        last = reply_of(values, reply, reading)
        return [Exchange(before, (Given(last.text, rank=0, thought=last.thought),))]

    return exchanges


def _instruction(values: Values, reading: Reading) -> list[Exchange]:
    """Alpaca's rows, and those of Self-Instruct with several instances of an instruction."""
    instances = [values]
    if values.get("instances") and values.get("output") is None:
        given = {name: value for name, value in values.items() if name != "input"}
        instances = [{**given, **instance} for instance in objects(values, "instances")]
    several = len(instances) > 1
    return [
        Exchange(
            tuple(asked(instance, reading, ("instruction",))),
            () if reading.asks_only else (Given(text(instance, "output"), rank=0),),
            f"i{number}" if several else "",
        )
        for number, instance in enumerate(instances)
    ]


def _calls(values: Values, reading: Reading) -> list[Exchange]:
    """A question that is answered by calls of the declared tools, with no text."""
    tools = declared_tools(values)
    if reading.asks_only:
        raise LeftOut(TOOLS)
    given = values["answers"]
    reply = Given("", rank=0, calls=calls_in(given) if given else ())
    return [Exchange((Spoken("user", text(values, "query")),), (reply,), tools=tools)]


def _text(values: Values, _: Reading) -> list[Exchange]:
    """Rows that are one text: a whole conversation in the marks of a template."""
    spoken = transcript(text(values, "text"))
    if spoken is None:
        raise BadRow(OTHER_TEXT)
    if spoken[-1] == Spoken("assistant", ""):
        spoken = spoken[:-1]
    return exchanges_of(spoken)


def _prompt(name: str) -> Callable[[Values, Reading], Sequence[Exchange]]:
    return lambda values, reading: [Exchange(tuple(asked(values, reading, (name,))), ())]


INSTRUCTIONS = (
    Format("prompt-completion", ("prompt", "completion"), _answered("prompt", "completion"), used=("input",)),
    Format("prompt-response", ("prompt", "response"), _answered("prompt", "response"), used=("input",)),
    Format(
        "orca", ("question", "response"), _answered("question", "response", ("context",)), used=("input", "context"),
    ),
    Format(
        "question-answer", ("question", "answer"), _answered("question", "answer", ("context",)),
        used=("input", "context"),
    ),
    Format("xlam", ("query", "answers", "tools"), _calls, used=TOOL_COLUMNS),
    Format("query-response", ("query", "response"), _answered("query", "response"), used=("input",)),
    Format(
        "dolly", ("instruction", "response"), _answered("instruction", "response", ("context",)),
        used=("input", "context"),
    ),
    Format(
        "instruction", ("instruction",), _instruction, used=("input", "output", "instances"),
        irrelevant=("name", "text", "is_classification"),
    ),
    Format("text", ("text",), _text),
)  # fmt: skip

PROMPTS = tuple(Format(name, (name,), _prompt(name), used=("input",)) for name in ("prompt", "question", "query"))
"""Formats of prompts alone, which are no seed data."""
