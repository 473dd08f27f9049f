"""Maximal update parametrization: initial weights and rates that transfer over width (Yang et al., 2022).

In a usual model, a wider layer adds more terms to each sum, and each update changes activations by more: the best
learning rate falls with the width. Here every layer's updates change its outputs by about the same at any width, so the
best rate of a small model is that of a large one ("Tensor Programs V", arXiv:2203.03466, table 3 for Adam)::

    parameter                                  variance of the start      Adam's rate
    tables, norms, biases                      as usual                   lr
    hidden matrices (in and out grow)          times  base / in           lr * base / in
    output matrix (only its input grows)       0                          lr * base / in

``base`` is the input width of the same matrix in a base model; at its width, rates are as usual. The output matrix
starts at zero (appendix D.2), so the first outputs are the same at every width.

The paper divides attention's scores by D in place of sqrt(D). With one head width D for all models the two are the same
up to a constant, so here a wider model has more heads, not wider ones. It has a multiplier for an output matrix that is
the embedding too; here the two are apart (``tie_weights=False``). So the model remains an ordinary one in every other
way: in files, in generation, for other programs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from ..errors import ConfigError
from ..nn.core.assign import assign_groups
from ..nn.core.groups import ParamGroup
from ..nn.core.init import blank_weights
from ..nn.core.module import Module
from ..nn.core.parameter import Parameter
from ..nn.layers.linear import Linear

ADAM_LIKE = ("adam", "adamw", "lion", "nadam")
"""Optimizers whose step does not grow with the gradient, for which the table holds."""


class Role(NamedTuple):
    """The role of a matrix when the width grows.

    Attributes:
        kind: ``"hidden"`` or ``"output"``.
        growth: how many times as many inputs it has as in the base model.
    """

    kind: str
    growth: float


def base_config(config: Any, width: int) -> Any:
    """The configuration of the same model with another width: fewer heads, of the same width.

    Args:
        config: a ``GPTConfig``, a ``LlamaConfig``, or another with ``n_embd``, ``n_head`` and ``tie_weights``.
        width: ``n_embd`` of the base model.

    Raises:
        ConfigError: if heads or hidden units cannot be divided like that, or the output matrix is the embedding.
    """
    if not hasattr(config, "tie_weights"):
        raise ConfigError(f"mup is for GPT and Llama; {type(config).__name__} is another model")
    if config.tie_weights:
        raise ConfigError("mup needs tie_weights=false: the output matrix has another rate than the embedding")
    changes: dict[str, int] = {"n_embd": width}
    for name in ("n_head", "n_kv_head", "n_hidden"):
        value = getattr(config, name, None)
        if value is None:
            continue
        changes[name], rest = divmod(value * width, config.n_embd)
        if rest:
            raise ConfigError(
                f"mup keeps the width of a head and the shape of a block, so {name} * base width / n_embd must be a "
                f"whole number; it is {value} * {width} / {config.n_embd}"
            )
    return dataclasses.replace(config, **changes)


def width_roles(model: Module, base: Module) -> dict[str, Role]:
    """The matrices whose inputs grow with the width, by path; all other parameters are as in a usual model.

    Args:
        model: the model.
        base: the same model with another width.

    Raises:
        ConfigError: if they have other parameters, such as another number of blocks.
    """
    shapes = {path: parameter.data.shape for path, parameter in base.named_parameters()}
    own = {path: parameter.data.shape for path, parameter in model.named_parameters()}
    if other := next(iter(own.keys() ^ shapes.keys()), None):
        raise ConfigError(f"mup: model and base model differ in more than their width: only one of them has {other}")
    layers = {f"{path}.weight" for path, module in model.named_modules() if isinstance(module, Linear)}
    roles = {}
    for path in own.keys() & layers:
        (rows, columns), (base_rows, base_columns) = own[path], shapes[path]
        kind = "output" if path.startswith("head.") or (rows == base_rows and columns != base_columns) else "hidden"
        roles[path] = Role(kind, columns / base_columns)
    return {path: roles[path] for path in own if path in roles}


def mup_groups(roles: dict[str, Role], *, weight_decay: float = 0.0) -> list[ParamGroup]:
    """The groups of parameters with a rate of their own, for `assign_groups`.

    Args:
        roles: see `width_roles`.
        weight_decay: the optimizer's decoupled decay. It acts through the rate; in these groups it is raised in turn,
            so that weights shrink as fast at every width.
    """
    growths = sorted({role.growth for role in roles.values() if role.growth != 1})

    def grown_by(growth: float) -> Callable[[str, Parameter], bool]:
        return lambda path, _: path in roles and roles[path].growth == growth

    return [
        ParamGroup(
            grown_by(growth),
            weight_decay=weight_decay * growth if weight_decay else None,
            lr_scale=1 / growth,
        )
        for growth in growths
    ]


def use_mup(model: Module, base_width: int, *, weight_decay: float = 0.0) -> dict[str, Role]:
    """Give a fresh GPT or Llama the initial weights and the rates of the maximal update parametrization.

    Call it before ``pack(model)`` and before the optimizer is made.

    Args:
        model: the model, with the weights that its seed gave it.
        base_width: ``n_embd`` of the model at which the rates were chosen.
        weight_decay: that of the optimizer, if it is decoupled as in `AdamW`; see `mup_groups`.

    Returns:
        The matrices with another rate, by path.

    Raises:
        ConfigError: see `base_config`.
        MinitrainError: if the model is packed.

    Example:
        ```python
        model = build_model(GPTConfig(vocab_size=65, n_embd=512, n_head=16, tie_weights=False))
        use_mup(model, base_width=64)
        optimizer = AdamW(model, lr=4e-3)  # the best rate of the model with n_embd=64, n_head=2
        ```
    """
    config: Any = getattr(model, "config", None)
    with blank_weights():
        base = type(model)(base_config(config, base_width))  # type: ignore[call-arg]
    roles = width_roles(model, base)
    assign_groups(model, *mup_groups(roles, weight_decay=weight_decay))
    parameters = dict(model.named_parameters())
    for path, role in roles.items():
        parameters[path].data *= 0.0 if role.kind == "output" else role.growth**-0.5
    return roles
