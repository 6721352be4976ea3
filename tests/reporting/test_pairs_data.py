import base64
import gzip
import json
import random
from typing import Any

from reporting_examples import data, prompt, reply

from selfreward_ray.reporting.judged import ShownPrompt
from selfreward_ray.reporting.pairs_data import PairArchive


def opened(block: str) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(block)))


def test_the_index_has_a_row_for_each_prompt_in_the_order_of_ids():
    dropped = ShownPrompt("M2/p000000", "What\n is   it? ", "too odd", (reply("M2/p000000/r0", None, text="a b c d"),))
    index = opened(data(prompt(), dropped).index)
    assert index == {
        "models": ["M2"],
        "outcomes": ["pair", "too odd"],
        "rows": {
            "id": ["M2/p000000", "M2/p000001"],
            "model": [0, 0],
            "outcome": [1, 0],
            "margin": [None, 2.5],
            "words": [4, 3],
            "other": [None, 1],
            "prompt": ["What is it?", "Why?"],
            "chunk": [0, 0],
            "place": [1, 0],
        },
    }


def test_chunks_hold_texts_and_verdicts_in_the_same_order():
    found = data(prompt())
    assert opened(found.texts[0]) == [
        [
            "Why?",
            ["one two three", "r0", 4.0, "chosen", True, None],
            ["a b", "r1", None, "", True, None],
            ["one", "r2", 1.5, "rejected", True, None],
        ]
    ]
    assert opened(found.verdicts[0]) == [
        [["", 0, [[4.0, "said", ""]]], ["", 0, [[None, "said", ""]]], ["", 0, [[1.5, "said", ""]]]]
    ]


def test_thoughts_are_beside_the_verdicts_and_not_in_the_texts():
    """Texts are searched, and thoughts would be most of what a search reads."""
    thoughtful = reply("p/r0", text="So.", thought="Why?\x1b", thought_tokens=7, verdicts=((3.0, "said", "Hm\u202e."),))
    found = data(ShownPrompt("p", "Is it?", "pair", (thoughtful,)))
    assert opened(found.verdicts[0]) == [[["Why?␛", 7, [[3.0, "said", "Hm\ufffd."]]]]]
    assert opened(found.texts[0])[0][1][0] == "So."


def test_a_long_thought_ends_a_chunk():
    long = ShownPrompt("M2/p000002", "Why?", "pair", (reply("M2/p000002/r0", thought="x" * 600_000),))
    assert [len(opened(chunk)) for chunk in data(long, prompt()).verdicts] == [1, 1]


def test_every_language_and_control_characters_survive():
    text = "日本語 עברית 🙂 a\u202eb\x1bc\x00 </script><script>"
    found = data(prompt(text=text))
    assert opened(found.texts[0])[0][0] == "日本語 עברית 🙂 a\ufffdb␛c␀ </script><script>"
    assert set(found.texts[0]) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")


def test_long_texts_begin_new_chunks_and_are_whole():
    """A reply of two million characters is in a chunk of its own."""
    long = ShownPrompt("M2/p000002", "Why?", "pair", (reply("M2/p000002/r0", text="x" * 2_000_000),))
    found = data(long, prompt(), prompt("M2/p000003"))
    assert [len(opened(chunk)) for chunk in found.texts] == [1, 2]
    assert len(opened(found.texts[0])[0][1][0]) == 2_000_000
    assert opened(found.index)["rows"]["chunk"] == [1, 0, 1]
    assert found.left_out == {}


def noise(number: int, rng: random.Random) -> ShownPrompt:
    """A prompt that does not compress."""
    text = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=300_000))
    return ShownPrompt(f"p{number:03}", text, "pair", ())


def test_what_a_page_has_no_room_for_is_counted():
    rng, archive = random.Random(0), PairArchive(2, room=2_000_000)
    for model in ("M2", "M3"):
        archive.begin(model)
        for number in range(10):
            archive.add(noise(number, rng))
    found = archive.finish()
    assert found.total == {"M2": 10, "M3": 10}
    assert 2 <= found.shown["M2"] <= found.shown["M3"] < 10, "each has a half, of which the first one used a chunk more"
    assert found.left_out == {model: 10 - found.shown[model] for model in ("M2", "M3")}
    rows = opened(found.index)["rows"]
    assert len(rows["id"]) == sum(found.shown.values())
    assert sum(len(chunk) for chunk in found.texts) < 3_000_000


def test_a_model_that_uses_little_leaves_its_room_to_the_next():
    rng, archive = random.Random(0), PairArchive(2, room=2_500_000)
    archive.begin("M2")
    archive.add(prompt())
    archive.begin("M3")
    for number in range(7):
        archive.add(noise(number, rng))
    assert archive.finish().left_out == {}


def test_no_prompt_is_an_empty_index():
    found = PairArchive(0).finish()
    assert opened(found.index)["rows"]["id"] == []
    assert (found.texts, found.total) == ((), {})


def test_the_same_prompts_give_the_same_bytes():
    assert data(prompt()) == data(prompt())
