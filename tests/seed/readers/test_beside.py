"""Messages beside a prompt and its reply, roles of other names, and what is no text."""

import pytest
from pydantic import ValidationError

from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.records import Dropped, RankedSet, Turn
from selfreward_ray.seed.readers import Reading
from selfreward_ray.seed.readers.beside import OTHER_MESSAGES
from selfreward_ray.seed.readers.media import MEDIA
from selfreward_ray.store.user_files import RowError


def say(*texts: str) -> list[dict[str, str]]:
    return [{"role": "assistant" if i % 2 else "user", "content": text} for i, text in enumerate(texts)]


SYSTEM = [{"role": "system", "content": "Be brief."}]


@pytest.mark.parametrize(
    ("messages", "history"),
    [
        (say("Why?", "So."), ()),
        (say("Why?"), ()),
        ([*SYSTEM, *say("Why?", "So.")], (Turn("system", "Be brief."),)),
        (say("Hi", "Ho", "Why?", "So."), (Turn("user", "Hi"), Turn("assistant", "Ho"))),
        (say("Why?", "So.", "And?", "Then."), ()),
    ],
)
@pytest.mark.parametrize("scored", [True, False])
def test_messages_beside_a_prompt_say_what_was_before_it(read, messages, history, scored: bool):
    row = {"messages": messages, "prompt": "Why?", "response": "So.", "score": 4}
    if not scored:
        row = {"messages": messages, "prompt": "Why?", "response_a": "So.", "response_b": "No.", "winner": "a"}
    reading = Reading(SeedData())
    (found,) = read(row, turns="any", reading=reading)
    assert (found.history, found.prompt, found.replies[0].text, reading.notes()) == (history, "Why?", "So.", [])


@pytest.mark.parametrize("messages", [say("How?", "So."), say("Why?", "No."), say("Why?", "No.", "And?", "Then.")])
def test_messages_that_say_something_else_are_refused(read, messages):
    row = {"messages": messages, "prompt": "Why?", "response": "So.", "score": 4}
    assert read(row) == [Dropped("seed.jsonl:1", "seed", OTHER_MESSAGES)]
    for chosen in ({"ignore": ["messages"]}, {"format": "scored"}):
        assert isinstance(read(row, **chosen)[0], RankedSet)


@pytest.mark.parametrize("other", [{"prompt": "How?"}, {"response": "No."}, {"completion": "No."}])
def test_a_prompt_or_reply_beside_a_chat_is_one_of_its_messages(read, other):
    ((name, _),) = other.items()
    chat = {"messages": say("Why?", "So."), "data_type": "x"}
    same = {**chat, name: "Why?" if name == "prompt" else "So."}
    assert isinstance(read(same, format="chat")[0], RankedSet)
    assert read({**chat, **other}, format="chat") == [Dropped("seed.jsonl:1", "seed", OTHER_MESSAGES)]


@pytest.mark.parametrize("names", [("customer", "agent"), ("用户", "助手")])
@pytest.mark.parametrize("as_pairs", [False, True])
def test_roles_of_other_names_are_declared(read, names, as_pairs: bool):
    said = [(names[0], "Why?"), (names[1].upper(), "So.")]
    chat = [list(pair) for pair in said] if as_pairs else [{"from": role, "value": text} for role, text in said]
    (found,) = read({"conversations": chat}, values={"role": dict(zip(names, ("user", "assistant"), strict=True))})
    assert (found.prompt, found.replies[0].text) == ("Why?", "So.")


def test_an_unknown_role_is_named_with_the_mapping(read):
    row = {"conversations": [{"from": "customer", "value": "Why?"}, {"from": "agent", "value": "So."}]}
    with pytest.raises(
        RowError, match=r"the unknown role 'customer'; seed_data.values={role: {'customer': user}} says"
    ):
        read(row, bad_share=0)
    with pytest.raises(ValidationError, match="role 'agent' cannot be 'helper'"):
        SeedData(values={"role": {"agent": "helper"}})
    with pytest.raises(RowError, match="seed_data.values: no format has a field 'rol'"):
        read(row, values={"rol": {"agent": "assistant"}})


IMAGE = {"type": "image_url", "image_url": {"url": "a.png"}}


@pytest.mark.parametrize(
    "row",
    [
        *({"prompt": "What?", "response": "A cat.", name: "a.png"} for name in ("image", "image_path", "img_url")),
        *(
            {"prompt": "What?", "response": "A cat.", name: ["a.wav"]}
            for name in ("audio", "audio_paths", "video_file")
        ),
        {"messages": [{**say("What?")[0], "images": ["a.png"]}, *say("", "A cat.")[1:]]},
        {"messages": [{"role": "user", "content": ["What?", IMAGE]}, *say("", "A cat.")[1:]]},
        {"messages": [{"role": "user", "content": [{"image": "a.png"}, {"text": "?"}]}, *say("", "A cat.")[1:]]},
        {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}, *say("", "A cat.")[1:]]},
        {"prompt": "<image>\nWhat?", "response": "A cat."},
        {"prompt": "What?\n<image>", "response": "A cat."},
        {"prompt": "What?", "responses": [{"text": "A cat.", "rank": 0, "image": "a.png"}]},
        {"prompt": "What?", "chosen": say("", "A cat.")[1:], "rejected": "A dog.", "images": [{"bytes": "x"}]},
    ],
)
def test_what_holds_images_or_sound_is_left_out(read, row):
    assert read(row, bad_share=0) == [Dropped("seed.jsonl:1", "seed", MEDIA)]


@pytest.mark.parametrize("nothing", [None, [], [None], "", "None", "[]", False])
def test_no_image_is_none(read, nothing):
    row = {"prompt": "What does the <image> tag do?", "response": "Nothing.", "image_path": nothing, "images": nothing}
    assert isinstance(read(row)[0], RankedSet)


def test_images_may_be_left_out_on_purpose(read):
    row = {"messages": [{**say("What?")[0], "images": ["a.png"]}, *say("", "A cat.")[1:]]}
    assert isinstance(read(row, ignore=["messages.images"])[0], RankedSet)
    row = {"prompt": "What?", "response": "A cat.", "image_path": "a.png"}
    assert isinstance(read(row, ignore=["image_path"])[0], RankedSet)
