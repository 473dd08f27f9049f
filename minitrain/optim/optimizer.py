"""The base of all optimizers: the weights they update, their settings, and a state stored by parameter name."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from ..backend.arrays import Array, array_module, is_cupy
from ..distributed.group import Group
from ..errors import ConfigError, MinitrainError, NonFiniteError
from ..nn.core.module import Module
from ..states import Kind, Number, Whole, checked
from .checks import NOT_NEGATIVE, NOT_POSITIVE, POSITIVE, RATE, SHARE, Range
from .groups import Span, SpanOwner
from .shared_moments import SharedMoments, kinds_of, load_moments, refuse_frozen

NUMBERS = 4
"""Numbers of an update that a graph reads from the GPU, for each span."""
Moments = Mapping[str, Array]
"""The arrays that an optimizer keeps for a span of weights, by name."""


class Optimizer(SpanOwner):
    """An optimizer for all trainable parameters of a model.

    A subclass names its moments, the arrays that it keeps for each weight, and updates one span of weights in
    ``update``. Weight decay applies to matrices and tables, not to biases and norms. Groups of parameters may have
    their own weight decay and learning rate (``minitrain.nn.assign_groups``).

    Args:
        model: the model. Call ``pack(model)`` first for one update over flat memory instead of one per parameter.
        moments: names of the moments, which start at zero.
        lr: learning rate, until ``set_lr``.
        weight_decay: strength of the decay.

    Attributes:
        steps: number of updates so far; during an update, its number counted from 1.
        ranges: the valid values of settings, by name. A subclass sets its own settings as attributes, then calls this
            constructor, which checks them.

    Raises:
        ConfigError: if a setting is out of range, or the model has nothing to train.
    """

    _model_bound: ClassVar[tuple[str, ...]] = (*SpanOwner._model_bound, "_moments", "_bounded")

    late_settings: ClassVar[frozenset[str]] = frozenset({"lr", "steps"})
    """Attributes that change from update to update; see `numbers`."""
    ranges: ClassVar[Mapping[str, Range]] = {
        "adamw_betas": RATE,
        "adamw_eps": NOT_NEGATIVE,
        "adamw_lr_scale": NOT_NEGATIVE,
        "alpha": RATE,
        "beta2_decay": NOT_POSITIVE,
        "betas": RATE,
        "d": POSITIVE,
        "dampening": SHARE,
        "eps": NOT_NEGATIVE,
        "initial_accumulator_value": NOT_NEGATIVE,
        "lr": NOT_NEGATIVE,
        "lr_decay": NOT_NEGATIVE,
        "momentum": RATE,
        "momentum_decay": NOT_NEGATIVE,
        "ns_steps": POSITIVE,
        "weight_decay": NOT_NEGATIVE,
    }

    def __init__(self, model: Module, moments: Iterable[str], *, lr: float, weight_decay: float) -> None:
        if not isinstance(model, Module):
            raise ConfigError(
                f"{type(self).__name__}: model must be a Module, got {type(model).__name__}; pass the model itself, "
                "not its parameters"
            )
        self.lr, self.weight_decay = lr, weight_decay
        for name, value in vars(self).items():
            if name.endswith("betas") and not (isinstance(value, tuple | list) and len(value) == 2):
                raise ConfigError(
                    f"{type(self).__name__}: {name} = {value!r} must be two numbers, such as (0.9, 0.999)"
                )
            if name in self.ranges:
                self.ranges[name].check(type(self).__name__, **{name: value})
        self.steps = 0
        self._shared: SharedMoments | None = None
        self._late: Array | None = None
        self._moment_names = tuple(moments)
        super().__init__(model)
        if not self._spans:
            raise ConfigError(f"{type(self).__name__}: the model has no trainable parameter; is all of it frozen?")
        self._make_arrays()

    @abstractmethod
    def update(
        self, weight: Array, grad: Array, moments: Moments, *, lr: float, weight_decay: float, grad_scale: float
    ) -> None:
        """Update one span of weights and its moments in place.

        Args:
            weight: the weights.
            grad: their gradients, of the same shape; read-only.
            moments: the moments by name, of the same shape unless ``new_moments`` says otherwise.
            lr: the learning rate of these weights.
            weight_decay: their decay, 0 for none.
            grad_scale: factor of the gradients.
        """

    def begin_update(self) -> None:
        """Called once in every step, after the checks and before the first ``update``. It does nothing by default."""

    def new_moments(self, span: Span, names: tuple[str, ...]) -> dict[str, Array]:
        """The moments of a span before the first update, by name."""
        return {name: array_module(span.data).zeros_like(span.data) for name in names}

    def numbers(self, moments: Moments, *, lr: float, weight_decay: float) -> tuple[float, ...]:
        """The numbers of an update that depend on its rate or on how many there were, at most `NUMBERS`.

        A class that defines this beside its ``update`` works inside a graph, which would repeat numbers of the host:
        ``update`` then gets them as an array of the GPU, ``late``. For the arguments see ``update``.
        """
        return ()

    @property
    def capturable(self) -> bool:
        """Whether an update can be made in a graph; see `numbers`."""
        rule = next(kind for kind in type(self).__mro__ if "update" in vars(kind))
        return "numbers" in vars(rule) and type(self).step is Optimizer.step and self._shared is None

    def count_late(self) -> list[float]:
        """Count an update that a graph makes, and return its numbers, ``NUMBERS`` for each span."""
        self.steps += 1
        self.begin_update()
        late = []
        for span, moments in self._pairs():
            lr, decay = self.lr * span.group.lr_scale, span.weight_decay(self.weight_decay)
            numbers = self.numbers(moments, lr=lr, weight_decay=decay)
            late += [*numbers, *[0.0] * (NUMBERS - len(numbers))]
        return late

    def frozen_settings(self) -> dict[str, Any]:
        """The settings that a graph with the update in it repeats: all but those that `numbers` reads each time."""
        kinds = (bool, int, float, str, tuple)
        return {name: x for name, x in vars(self).items() if isinstance(x, kinds) and name not in self.late_settings}

    def memory(self) -> list[Array]:
        """The arrays that an update writes to, besides gradients."""
        return [x for span, moments in self._pairs() for x in (span.data, *moments.values())]

    @contextmanager
    def reading(self, late: Array) -> Iterator[None]:
        """Within the ``with`` block, ``step`` counts nothing and takes its numbers from the GPU.

        Args:
            late: (NUMBERS S,) float64 for S spans, what `count_late` returned.
        """
        self._late = late
        try:
            yield
        finally:
            self._late = None

    def step(self, grad_scale: Any = 1.0) -> None:
        """Update all weights from their gradients times ``grad_scale``, and clip them to their upper limits.

        A parameter that was frozen after the optimizer was made keeps its value, and so do its moments.

        Args:
            grad_scale: a number, or an array () on the model's GPU (`clip_without_waiting`), which is not looked at.

        Raises:
            MinitrainError: if no backward has run since ``zero_grad``, if the weights were packed or moved after the
                optimizer was made, or if a parameter that was frozen then is trainable now. Nothing is changed.
            NonFiniteError: if ``grad_scale`` is NaN or infinite. Nothing is changed.
        """
        if not is_cupy(grad_scale) and not math.isfinite(grad_scale):
            raise NonFiniteError(
                f"{type(self).__name__}.step: grad_scale is {grad_scale}; all weights would become NaN"
            )
        self._check_in_use()
        if not any(p.trainable and not p.fresh for span in self._spans for p, _ in span.parts.values()):
            raise MinitrainError(
                f"{type(self).__name__}.step: no trainable parameter has a gradient; run the backward pass before each "
                "step, and zero_grad before the backward pass, not after it"
            )
        late, shared = self._late, self._shared
        if shared is not None:
            refuse_frozen(self._spans)  # before some are updated and sent
        if late is None:
            self.steps += 1
            self.begin_update()
        for number, (span, moments) in enumerate(self._pairs()):
            options: dict[str, Any] = {
                "lr": self.lr * span.group.lr_scale,
                "weight_decay": span.weight_decay(self.weight_decay),
                "grad_scale": grad_scale if is_cupy(grad_scale) else float(grad_scale),
            }
            if late is not None:
                options["late"] = late[number * NUMBERS : (number + 1) * NUMBERS]
            if shared is not None:
                grad = span.grad()
                for bucket, (part, own) in enumerate(shared.parts(span, moments)):
                    self.update(span.data[part], grad[part], own, **options)
                    shared.send(span, bucket)
                continue
            if not span.frozen():
                self.update(span.data, span.grad(), moments, **options)
                continue
            for path, (parameter, _) in span.parts.items():
                if parameter.trainable:
                    own = {name: span.part(array, path) for name, array in moments.items()}
                    self.update(parameter.data, parameter.read_grad(), own, **options)
        if shared is not None:
            shared.wait()
        for parameter, upper in self._bounded:
            if parameter.trainable:
                parameter.data[...] = parameter.data.clip(None, upper)

    def zero_grad(self) -> None:
        """Clear all gradients."""
        for span in self._spans:
            for parameter, _ in span.parts.values():
                parameter.zero_grad()

    def set_lr(self, lr: float) -> None:
        """Set the learning rate of the next update."""
        self.lr = lr

    def get_lr(self) -> float:
        """The learning rate of the next update."""
        return self.lr

    def state_dict(self) -> dict[str, Any]:
        """The state: ``step``, ``lr`` and ``moments``, arrays by ``<moment>.<path of the parameter>``."""
        return {"step": self.steps, "lr": self.lr, "moments": self._arrays()}

    def share(self, group: Group) -> None:
        """Share the moments among ranks: each keeps those of its part of the weights, updates them, and sends them.

        That is stage 1 of ZeRO (Rajbhandari et al., 2019, arXiv:1910.02054), and with gradients that were added for
        their owner alone, stage 2. The weights get the same bytes. The state then has `Piece`s in place of arrays.

        Moments that are shared already stay as they are: a second training may go on with the same optimizer.

        Args:
            group: the ranks, which all have this optimizer over equal weights.

        Raises:
            ConfigError: if the model is not packed, the optimizer needs whole matrices, or its moments are shared among
                another number of ranks.
        """
        if self._shared is not None:
            self._shared.take_over(group, type(self).__name__)
            return
        shared = SharedMoments(group, self._spans, type(self).__name__, packed=bool(self._flat))
        self._moments: list[dict[str, Array]] = [
            {name: shared.of_own(span, array) for name, array in moments.items()}
            for span, moments in zip(self._spans, self._moments, strict=True)
        ]
        self._shared = shared

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state that ``state_dict`` gave. A packed model may take that of an unpacked one.

        Raises:
            CheckpointError: if it belongs to other parameters or to another optimizer. Nothing is loaded then.
        """
        state = checked("optimizer", state, self.declared_state())
        load_moments(self._arrays(), state["moments"], "the optimizer state is of another model or optimizer")
        self.steps, self.lr = state["step"], float(state["lr"])

    def declared_state(self) -> dict[str, Kind]:
        """The valid contents of a state; see `minitrain.states`."""
        return {"step": Whole(), "lr": Number(low=0), "moments": kinds_of(self._arrays())}

    def __getstate__(self) -> dict[str, Any]:
        """See `SpanOwner`.

        Raises:
            MinitrainError: if the moments are shared: this rank has a part of them, and a copy would need the ranks.
        """
        if self._shared is not None:
            raise MinitrainError(
                f"{type(self).__name__} shares its moments with other ranks, so it cannot be copied or pickled: save a "
                "checkpoint, and load it into a new one"
            )
        return super().__getstate__()

    def _make_arrays(self) -> None:
        parameters = [parameter for span in self._spans for parameter, _ in span.parts.values()]
        self._bounded = [(p, p.upper) for p in parameters if p.upper is not None]
        self._moments = [self.new_moments(span, self._moment_names) for span in self._spans]

    def _pairs(self) -> list[tuple[Span, dict[str, Array]]]:
        return list(zip(self._spans, self._moments, strict=True))

    def _arrays(self) -> dict[str, Any]:
        if self._shared is not None:
            pairs = zip(self._spans, self._moments, strict=True)
            return {name: piece for span, moments in pairs for name, piece in self._shared.pieces(span, moments)}
        return {
            f"{name}.{path}": span.part(array, path)
            for span, moments in zip(self._spans, self._moments, strict=True)
            for path in span.parts
            for name, array in moments.items()
        }
