"""Markup that shows nothing: tags of HTML with nothing between them, tokens of chat templates, fillers.

Other tags, such as ``<persons/>``, may be an answer in XML.
"""

import re

_TAGS = """
    html head body title br hr wbr p div span b i u s em strong small big sub sup mark center font a code pre kbd table
    thead tbody tr td th ul ol li dl dt dd h1 h2 h3 h4 h5 h6 section article main header footer nav aside blockquote
    details summary figure figcaption script style form label think thinking thought reasoning answer response output
    reply pad unk bos eos mask sep cls start_of_turn end_of_turn endoftext
"""
_TAG = rf"</?(?:{'|'.join(_TAGS.split())})(?:\s[^<>]*)?/?>"
_CONTROL = r"<[|｜][^<>]*[|｜]>|\[/?INST\]|<</?SYS>>"
_BLANK_ENTITY = r"&(?:nbsp|ensp|emsp|thinsp|shy|zwj|zwnj|lrm|rlm|zerowidthspace|#0*160|#x0*a0|#0*8203|#x0*200b);"
_SHOWS_NOTHING = re.compile(
    rf"<!--.*?-->|<!doctype[^<>]*>|{_CONTROL}|{_TAG}|{_BLANK_ENTITY}|!?\[\s*\]\(\s*\)", re.IGNORECASE | re.DOTALL
)
_FILLERS = dict.fromkeys(map(ord, "\u115f\u1160\u3164\uffa0"), " ")
"""Letters of Korean without a picture."""


def without_blank_markup(text: str) -> str:
    """`text` without it. A text with code between backticks is as it was: tags may be its content."""
    text = text.translate(_FILLERS)
    return text if "`" in text else _SHOWS_NOTHING.sub(" ", text)
