"""The tensors that files of each architecture hold, as functions of its config.json.

The names are those in published files, which vLLM reads; transformers may have others for them in memory.
`tests/models/test_architectures.py` compares every family with what transformers writes.
"""

from selfreward_ray.models.architectures.dense import DENSE
from selfreward_ray.models.architectures.experts import EXPERTS
from selfreward_ray.models.architectures.parts import Family

FAMILIES: dict[str, Family] = DENSE | EXPERTS
"""By transformers' `model_type`. Models of another type are not compared before their weights are loaded."""
