"""lm-eval's model interface over a function that answers all requests of all tasks at once.

Only imported where the extra ``lm-eval`` is installed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jinja2
from lm_eval.api.model import LM

from selfreward_ray.errors import UserError
from selfreward_ray.evaluation.task_requests import numbered, task_request
from selfreward_ray.records import TaskAnswer, TaskRequest

AnswerAll = Callable[[list[TaskRequest]], dict[str, TaskAnswer]]
"""Gives an answer to each request, by id."""


class TaskModel(LM):  # type: ignore[misc]
    """A model of lm-eval.

    lm-eval asks for the answers of one kind of request after the other. When it asks first, all requests of `tasks`
    exist already, and `answer_all` receives them together: the engines start once.
    """

    def __init__(self, name: str, tokenizer: Any, tasks: Sequence[Any], answer_all: AnswerAll):
        super().__init__()
        self.tokenizer = tokenizer
        self._name = name
        self._tasks = tasks
        self._answer_all = answer_all
        self._answers: dict[str, TaskAnswer] | None = None
        begin = tokenizer.bos_token_id
        self._prefix = int(tokenizer.eos_token_id if begin is None else begin)

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float | None, bool | None]]:
        return [(answer.logprob, answer.greedy) for answer in self._answered(requests)]

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float | None]:
        return [answer.logprob for answer in self._answered(requests)]

    def generate_until(self, requests: list[Any]) -> list[str | None]:
        return [answer.text for answer in self._answered(requests)]

    @property
    def tokenizer_name(self) -> str:
        return self._name

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        template: str | None = self.tokenizer.chat_template if chat_template else None
        return template

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The messages as a text. Raises `UserError` if the model's template refuses them."""
        try:
            text = self.tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        except jinja2.TemplateError as error:
            roles = ", ".join(message["role"] for message in chat_history)
            raise UserError(
                f"--chat-template: the template of {self._name} refuses the turns {roles}: {error}"
            ) from None
        return str(text)

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval's results say of the model."""
        return {"model": "selfreward-ray", "model_args": {"pretrained": self._name}}

    def _answered(self, requests: list[Any]) -> list[TaskAnswer]:
        if self._answers is None:
            asked = [one for task in self._tasks for one in task.instances for _ in range(one.repeats)]
            self._answers = self._answer_all(
                [task_request(name, one, self._encode, self._prefix) for name, one in numbered(asked)]
            )
        return [self._answers[name] for name, _ in numbered(requests)]

    def _encode(self, text: str) -> list[int]:
        # A chat template writes the token for the beginning itself.
        begun = self.tokenizer.bos_token is not None and text.startswith(self.tokenizer.bos_token)
        return list(self.tokenizer(text, **({"add_special_tokens": False} if begun else {}))["input_ids"])
