"""Families of chat templates, rewritten in short Jinja templates with the families' control tokens."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiny_model import CHATML
from tokenizers import AddedToken


@dataclass(frozen=True)
class Family:
    template: str
    control: tuple[str, ...]
    """The begin-of-text token, the end-of-text token, and the other control tokens."""
    end: str
    """The token that ends a reply."""
    lead: str = ""
    """What the model writes after its prompt and before a reply, with the template's default for thinking."""
    shown: Callable[[str], str] = str
    """A reply as the template shows it."""
    trail: str = ""
    """What the template puts between a reply and its end token."""
    marks: tuple[str, ...] = ()
    """Added tokens that are no control tokens."""
    eats_after: bool = False
    """Whether control tokens take the white space after them."""
    has_system: bool = True
    no_end: bool = False
    """Whether the template writes no end token."""


LLAMA_2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'].strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
FAMILIES = {
    "chatml": Family(CHATML, ("<|im_start|>", "<|im_end|>"), "<|im_end|>"),
    "llama 2": Family(LLAMA_2, ("<s>", "</s>"), "</s>", lead=" ", shown=str.strip, trail=" ", has_system=False),
    "llama 3": Family(
        LLAMA_3,
        ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|eot_id|>",
        shown=str.strip,
    ),
}

# The system text stands before the last user's text: of all messages, or if the last message is the user's.
_MISTRAL = (
    "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}{% set rest = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}"
    "{% set asked = rest | selectattr('role', 'equalto', 'user') | list %}{{ bos_token }}"
    "{% for m in rest %}{% if m['role'] == 'user' %}{{ '[INST] ' }}"
    "{% if system and WHERE %}{{ system + '\\n\\n' }}{% endif %}{{ m['content'] + '[/INST]' }}"
    "{% else %}{{ ' ' + m['content'] | trim + eos_token }}{% endif %}{% endfor %}"
)
# Thoughts of earlier turns are dropped; the reply has one, which may be empty.
_THOUGHTFUL = (
    "{% set ns = namespace(last=-1) %}"
    "{% for m in messages %}{% if m['role'] == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{% set said = m['content'] TRIM %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
    "{% if m['role'] == 'assistant' %}"
    "{% set thought = m['reasoning_content'] if m['reasoning_content'] is string else '' %}"
    "{% if '</think>' in said %}{% set thought = said.split('</think>')[0].split('<think>')[-1].strip('\\n') %}"
    "{% set said = said.split('</think>')[-1].lstrip('\\n') %}{% endif %}"
    "{% if loop.index0 > ns.last %}{{ '<think>\\n' + thought + '\\n</think>\\n\\n' }}{% endif %}{% endif %}"
    "{{ said + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}"
    "{% else %}{{ 'OPENED' }}{% endif %}{% endif %}"
)
_ROLES = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}"
    "{% elif m['role'] == 'user' %}{{ '<|User|>' + m['content'] }}"
    "{% else %}{{ '<|Assistant|>CLOSED' + m['content'].split('</think>')[-1] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|Assistant|>' }}OPENED{% endif %}"
)
_NEMOTRON = (
    "{% set thinks = enable_thinking if enable_thinking is defined else true %}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
    "{% if m['role'] == 'assistant' %}{% if m['reasoning_content'] is string and m['reasoning_content'] %}"
    "{{ '<think>\\n' + m['reasoning_content'] + '\\n</think>\\n' }}{% else %}{{ '<think></think>' }}{% endif %}"
    "{{ m['content'] | trim }}{% else %}{{ m['content'] }}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{{ '<think>\\n' if thinks else '<think></think>' }}{% endif %}"
)
_CHANNELS = (
    "{{ '<|start|>system<|message|>Reasoning: ' + (reasoning_effort or 'medium') + '<|end|>' }}{% for m in messages %}"
    "{% if m['role'] == 'assistant' %}{% set last = loop.last and not add_generation_prompt %}"
    "{% if last and 'thinking' in m %}"
    "{{ '<|start|>assistant<|channel|>analysis<|message|>' + m['thinking'] + '<|end|>' }}{% endif %}"
    "{{ '<|start|>assistant<|channel|>final<|message|>' + m['content'] + ('<|return|>' if last else '<|end|>') }}"
    "{% else %}{{ '<|start|>' + m['role'] + '<|message|>' + m['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)
_GLM = (
    "{{ '[gMASK]<sop>' }}{% set off = enable_thinking is defined and not enable_thinking %}{% for m in messages %}"
    "{{ '<|' + m['role'] + '|>\\n' }}"
    "{% if m['role'] == 'assistant' %}{{ '<think></think>' }}"
    "{% if m['content'].strip() %}{{ '\\n' + m['content'].strip() }}{% endif %}"
    "{% else %}{{ m['content'] }}{% endif %}"
    "{% if m['role'] == 'user' and off %}{{ '/nothink' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' + ('\\n<think></think>' if off else '') }}{% endif %}"
)
_PHI = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m['content'] + '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"
)
_COHERE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|turn|>' }}{% if m['role'] == 'assistant' %}"
    "{{ '<|bot|><|START_RESPONSE|>' + m['content'] + '<|END_RESPONSE|>' }}"
    "{% else %}{{ '<|' + m['role'] + '|>' + m['content'] }}{% endif %}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|turn|><|bot|>' }}{% endif %}"
)
_IM = ("<|im_start|>", "<|im_end|>")
_BOUNDS = ("<s>", "</s>")
_THINK = ("<think>", "</think>")
_R1 = (*_BOUNDS, "<|User|>", "<|Assistant|>")
_OSS = ("<|begin|>", "<|return|>", "<|start|>", "<|message|>", "<|end|>", "<|channel|>")


def _mistral(where: str) -> Family:
    template = _MISTRAL.replace("WHERE", where)
    return Family(template, (*_BOUNDS, "[INST]", "[/INST]"), "</s>", lead=" ", shown=str.strip)


def _thoughtful(opened: str, trim: str, lead: str, shown: Callable[[str], str]) -> Family:
    template = _THOUGHTFUL.replace("OPENED", opened).replace("TRIM", trim)
    return Family(template, _IM, "<|im_end|>", lead=lead, shown=shown, marks=_THINK)


def _roles(closed: str, opened: str, lead: str) -> Family:
    template = _ROLES.replace("CLOSED", closed).replace("OPENED", opened)
    return Family(template, _R1, "</s>", lead=lead, marks=_THINK)


MORE_FAMILIES = {
    "mistral, system before the last user": _mistral("m == asked[-1] and loop.index0 >= rest | length - 2"),
    "mistral, system before the last message": _mistral("loop.last"),
    "qwen 3": _thoughtful("", "", "<think>\n\n</think>\n\n", str),
    "qwen 3.5": _thoughtful("<think>\\n", "| trim", "\n</think>\n\n", str.strip),
    "deepseek r1": _roles("", "{{ '<think>\\n' }}", "\n</think>\n\n"),
    "deepseek v3.1": _roles("</think>", "{{ '<think>' if thinking is defined and thinking else '</think>' }}", ""),
    "nemotron": Family(_NEMOTRON, _IM, "<|im_end|>", lead="</think>", shown=str.strip, marks=_THINK),
    "gpt-oss": Family(_CHANNELS, _OSS, "<|return|>", lead="<|channel|>final<|message|>"),
    "glm": Family(
        _GLM,
        ("[gMASK]", "<|endoftext|>", "<sop>", "<|system|>", "<|user|>", "<|assistant|>"),
        "<|endoftext|>",
        lead="\n<think></think>\n",
        shown=str.strip,
        marks=_THINK,
        no_end=True,
    ),
    "phi": Family(
        _PHI,
        (*_BOUNDS, "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        "<|end|>",
        eats_after=True,
    ),
    "cohere": Family(
        _COHERE,
        ("<|begin|>", "<|turn_end|>", "<|turn|>", "<|bot|>", "<|user|>", "<|system|>", "<|START_RESPONSE|>",
         "<|END_RESPONSE|>"),
        "<|turn_end|>",
        lead="<|START_RESPONSE|>",
        trail="<|END_RESPONSE|>",
    ),
}  # fmt: skip
ALL_FAMILIES = FAMILIES | MORE_FAMILIES


def write_family(tokenizer: Any, family: Family, folder: Path) -> Path:
    """`tokenizer` with the template and the tokens of `family`, saved in `folder`."""
    control = [AddedToken(token, special=True, normalized=False, rstrip=family.eats_after) for token in family.control]
    tokenizer.add_tokens(control, special_tokens=True)
    tokenizer.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in family.marks])
    tokenizer.bos_token, tokenizer.eos_token = family.control[:2]
    tokenizer.chat_template = family.template
    tokenizer.save_pretrained(folder)
    return folder
