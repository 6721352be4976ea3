"""Which prompts the English word lists apply to."""

import pytest

from selfreward_ray.prompts.english import is_english


@pytest.mark.parametrize(
    "text",
    [
        "Draw a map of Los Angeles.",
        "Plot y = 2x + 1",
        "Describe the images in the Louvre café",
        "Translate 海 into English, please",
        "I've lost a file; how do I find it?",
        "What is the plot of La Bohème?",
        "",
    ],
)
def test_english(text: str):
    assert is_english(text)


@pytest.mark.parametrize(
    "text",
    [
        "Décris les images de cette page.",
        "Dessine une image",
        "Beschreibe das Plot-Problem",
        "Wat is de beste file-app?",
        "Spiega la trama del file",
        "Buatlah file untuk saya dengan Excel",
        "画一张 map",
        "Опиши file",
        "Vẽ một image cho tôi",
    ],
)
def test_other_languages(text: str):
    assert not is_english(text)
