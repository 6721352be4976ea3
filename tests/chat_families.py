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


# Conversations with tools: where they are declared, how a call is written and ends, whose turn a result is.
_NAMED = "{% for t in tools or [] %}{{ t | tojson + '\\n' }}{% endfor %}"
_JSON_CALLS = (
    "{% for c in m['tool_calls'] or [] %}{{ '<tool_call>\\n{\"name\": \"' + c['function']['name'] }}"
    "{{ '\", \"arguments\": ' }}{{ c['function']['arguments'] | tojson }}{{ '}\\n</tool_call>' }}{% endfor %}"
)
_TOOL_CHATML = (
    "{% if tools %}{{ '<|im_start|>system\\n' }}"
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] + '\\n' }}{% endif %}"
    + _NAMED
    + "{{ '<|im_end|>\\n' }}{% endif %}{% for m in messages %}"
    "{% if m['role'] == 'tool' %}"
    "{% if messages[loop.index0 - 1]['role'] != 'tool' %}{{ '<|im_start|>user' }}{% endif %}"
    "{{ '\\n<tool_response>\\n' + m['content'] + '\\n</tool_response>' }}"
    "{% if loop.last or messages[loop.index0 + 1]['role'] != 'tool' %}{{ '<|im_end|>\\n' }}{% endif %}"
    "{% elif m['role'] != 'system' or not tools %}{{ '<|im_start|>' + m['role'] + '\\n' }}THOUGHT{{ m['content'] }}"
    + _JSON_CALLS
    + "{{ '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\nOPENED' }}{% endif %}"
)
# One call at a time, without a text beside it; a result is written as JSON.
_TOOL_HEADERS = (
    "{{ bos_token }}" + _NAMED + "{% for m in messages %}{% if m['tool_calls'] %}"
    "{% if m['tool_calls'] | length > 1 %}{{ raise_exception('one call at a time') }}{% endif %}"
    "{% set f = m['tool_calls'][0]['function'] %}{{ '<|start|>assistant<|end_header|>\\n\\n{\"name\": \"' }}"
    "{{ f['name'] + '\", \"parameters\": ' + f['arguments'] | tojson + '}<|eot|>' }}"
    "{% elif m['role'] == 'tool' %}{{ '<|start|>ipython<|end_header|>\\n\\n' + m['content'] | tojson + '<|eot|>' }}"
    "{% else %}{{ '<|start|>' + m['role'] + '<|end_header|>\\n\\n' + m['content'] | trim + '<|eot|>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant<|end_header|>\\n\\n' }}{% endif %}"
)
# Arguments are a text. A reply that follows a result goes on in the turn of the call.
_TOOL_TEXTS = (
    "{{ bos_token + '' }}" + _NAMED + "{% set ns = namespace(result=false) %}{% for m in messages %}"
    "{% if m['role'] == 'tool' %}{{ '<tool_output>' + m['content'] + '</tool_output>' }}{% set ns.result = true %}"
    "{% elif m['role'] == 'assistant' %}{% if not ns.result %}{{ '<|Assistant|>' }}{% endif %}{{ m['content'] }}"
    "{% for c in m['tool_calls'] or [] %}{{ '<tool>' + c['function']['name'] + '\\n' + c['function']['arguments'] }}"
    "{{ '</tool>' }}{% endfor %}{{ eos_token }}{% set ns.result = false %}"
    "{% else %}{{ ('<|User|>' if m['role'] == 'user' else '') + m['content'] }}{% set ns.result = false %}{% endif %}"
    "{% endfor %}{% if add_generation_prompt and not ns.result %}{{ '<|Assistant|>' }}{% endif %}"
)
# The header of a call names the tool, and another token ends it.
_TOOL_CHANNELS = (
    "{{ '<|start|>system<|message|>' }}" + _NAMED + "{{ '<|end|>' }}{% for m in messages %}{% if m['tool_calls'] %}"
    "{% for c in m['tool_calls'] %}{{ '<|start|>assistant to=' + c['function']['name'] + '<|channel|>commentary' }}"
    "{{ '<|message|>' + m['content'] + c['function']['arguments'] | tojson + '<|call|>' }}{% endfor %}"
    "{% elif m['role'] == 'assistant' %}{{ '<|start|>assistant<|channel|>final<|message|>' + m['content'] }}"
    "{{ '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' }}"
    "{% else %}{{ '<|start|>' + m['role'] + '<|message|>' + m['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)
# Field by field, and no token ends a turn.
_TOOL_FIELDS = (
    "{{ '[gMASK]<sop>' }}" + _NAMED + "{% for m in messages %}"
    "{{ '<|observation|>' if m['role'] == 'tool' else '<|' + m['role'] + '|>' }}{{ '\\n' + m['content'] }}"
    "{% for c in m['tool_calls'] or [] %}{{ '\\n<tool_call>' + c['function']['name'] }}"
    "{% for k, v in c['function']['arguments'].items() %}"
    "{{ '\\n<arg_key>' + k + '</arg_key>\\n<arg_value>' + (v if v is string else v | tojson) + '</arg_value>' }}"
    "{% endfor %}{{ '\\n</tool_call>' }}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
_TOOL_MARKS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")


def _tool_chatml(thought: str, opened: str, lead: str, *marks: str) -> Family:
    template = _TOOL_CHATML.replace("THOUGHT", thought).replace("OPENED", opened)
    return Family(template, _IM, "<|im_end|>", lead=lead, marks=(*_TOOL_MARKS, *marks))


TOOL_FAMILIES = {
    "chatml with tools": _tool_chatml("", "", ""),
    "thoughts with tools": _tool_chatml(
        "{% if m['role'] == 'assistant' and loop.last %}"
        "{{ '<think>\\n' + (m['reasoning_content'] or '') + '\\n</think>\\n\\n' }}{% endif %}",
        "<think>\\n",
        "\n</think>\n\n",
        *_THINK,
    ),
    "one call": Family(
        _TOOL_HEADERS, ("<|begin|>", "<|eos|>", "<|start|>", "<|end_header|>", "<|eot|>"), "<|eot|>", shown=str.strip
    ),
    "arguments as text": Family(
        _TOOL_TEXTS, _R1, "</s>", marks=("<tool>", "</tool>", "<tool_output>", "</tool_output>")
    ),
    "another end": Family(_TOOL_CHANNELS, (*_OSS, "<|call|>"), "<|return|>", lead="<|channel|>final<|message|>"),
    "fields": Family(
        _TOOL_FIELDS,
        ("[gMASK]", "<|endoftext|>", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"),
        "<|endoftext|>",
        lead="\n",
        marks=(*_TOOL_MARKS, "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
        no_end=True,
    ),
}
"""Families whose templates render tools. Of "one call" a message has one call and no text beside it."""
_LAST_CALL = _JSON_CALLS.replace("or []", "[-1:]").replace("m['tool_calls']", "(m['tool_calls'] or [])")
TOOLLESS = {
    "no tools at all": FAMILIES["chatml"].template,
    "no calls": _TOOL_CHATML.replace(_JSON_CALLS, ""),
    "no results": _TOOL_CHATML.replace("m['content'] + '\\n</tool_response>'", "'\\n</tool_response>'"),
    "no declarations": _TOOL_CHATML.replace(_NAMED, ""),
    "no arguments": _TOOL_CHATML.replace("{{ c['function']['arguments'] | tojson }}", "{}"),
    "refused roles": "{% for m in messages if m['role'] == 'tool' %}{{ raise_exception('no tools') }}{% endfor %}"
    + FAMILIES["chatml"].template,
}
"""Templates that leave out a part of what a conversation has of tools."""
TOOLLESS = {name: template.replace("THOUGHT", "").replace("OPENED", "") for name, template in TOOLLESS.items()}
ONLY_THE_LAST_CALL = _TOOL_CHATML.replace(_JSON_CALLS, _LAST_CALL).replace("THOUGHT", "").replace("OPENED", "")
