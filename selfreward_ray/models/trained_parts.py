"""What the recipe's section ``training`` may ask of a model: adapters beside its layers, and the loss of its router.

Training applies these rules to the model in memory. Checks apply them to its configuration, before anything is started.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from selfreward_ray.errors import UserError
from selfreward_ray.models.architectures import FAMILIES
from selfreward_ray.models.architectures.dense import DENSE
from selfreward_ray.models.architectures.parts import Family, UnknownSize, shapes_of
from selfreward_ray.recipe.training import Training

_TABLES = ("embed_tokens", "embed_positions", "embed_in", "wte", "wpe")
"""Matrices that are no linear layers."""
_WITHOUT_ROUTER_LOSS = DENSE.keys() | {"deepseek_v2", "deepseek_v3"}


def adapted(
    targets: Collection[str], adaptable: Collection[str], others: Collection[str], heads: Collection[str]
) -> list[str]:
    """The names among `adaptable` that ``training.lora.targets`` stand for; all of them where there are no targets.

    `adaptable` are linear layers and weights of experts, `others` further modules, `heads` output heads. Raises
    `UserError` for a target that stands for none that can be adapted.
    """
    if not targets:
        return list(adaptable)
    chosen: dict[str, None] = {}
    for target in targets:
        found = _named(target, adaptable)
        chosen |= dict.fromkeys(found)
        if found:
            continue
        if _named(target, heads):
            reason = "only linear layers and experts can be trained, and not the output head"
        elif _named(target, others):
            reason = "only linear layers and experts can be trained"
        else:
            reason = f"{target} is not found in the model"
        raise UserError(
            f"training.lora.targets {list(targets)}: {reason}; name layers such as {_shown(adaptable)}, or leave out "
            "targets to train all of them"
        )
    return list(chosen)


def no_router_loss(wanted: float, model_type: str) -> UserError:
    """What is said of a weight for the router's loss of a model that has none."""
    return UserError(
        f"training.router_loss is {wanted}, but models of type {model_type!r} have no router loss; set it to null"
    )


def refused_settings(config: Mapping[str, Any], training: Training) -> Iterator[UserError]:
    """The settings of `training` that a model with the values `config` of its ``config.json`` cannot be trained with.

    Of mixtures the targets of adapters are not looked at: their layers have other names in files than in memory. Nor
    is anything of an architecture that is not in `FAMILIES`.
    """
    model_type = str(config["model_type"])
    if training.router_loss and model_type in _WITHOUT_ROUTER_LOSS and config.get("router_aux_loss_coef") is None:
        yield no_router_loss(training.router_loss, model_type)
    if training.lora.rank and model_type in DENSE:
        try:
            adaptable, others = _modules(FAMILIES[model_type], config)
            adapted(training.lora.targets, adaptable, others, [FAMILIES[model_type].head])
        except UnknownSize:  # which the check of the model's weights says
            return
        except UserError as error:
            yield error


def _modules(family: Family, config: Mapping[str, Any]) -> tuple[list[str], set[str]]:
    """Names of the linear layers of a model, and of all its modules, but for the output head."""
    shapes = {
        name: shape for name, shape in shapes_of(family, config).items() if not name.startswith(f"{family.head}.")
    }
    paths = {name: name.rpartition(".")[0] for name in shapes}
    matrices = [paths[name] for name, shape in shapes.items() if len(shape) == 2]
    modules = {path.rsplit(".", up)[0] for path in paths.values() for up in range(path.count(".") + 1)}
    return [path for path in matrices if path.rpartition(".")[2] not in _TABLES], modules


def _named(target: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name == target or name.endswith(f".{target}")]


def _shown(names: Iterable[str]) -> str:
    return ", ".join(sorted({name.rpartition(".")[2] for name in names}))
