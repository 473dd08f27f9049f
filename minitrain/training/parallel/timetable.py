"""When the gradients of a bucket are ready during a backward, and in which order the buckets go, the same on all ranks.

The first backward is observed. A parameter is ready when a module that has it has said so as often as in that backward
(a block may be used several times), and if nothing was added to it afterwards (a matrix may be shared with a layer that
says nothing). The order is what rank 0 observed. A bucket that was never ready before the end comes last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ...distributed.group import Group
from ...errors import MinitrainError
from ...nn.core.module import Module
from ...nn.core.parameter import Parameter
from ...optim.buckets import Bucket


class Timetable:
    """The order in which buckets are sent.

    Args:
        buckets: all of them.

    Attributes:
        order: numbers of the buckets.
        agreed: whether it is the one that was observed, on all ranks.
    """

    def __init__(self, buckets: Sequence[Bucket]) -> None:
        self.buckets, self.order, self.agreed = buckets, list(range(len(buckets))), False
        self._known = {id(p) for bucket in buckets for p in bucket.parameters.values()}
        self._of_module: dict[int, list[Parameter]] = {}
        self._heard: Counter[int] = Counter()  # how often, by the id of a parameter, in this backward
        self._last: dict[int, tuple[int, int]] = {}  # by the same: number of the last signal, and writes until then
        self._left: list[list[int]] = []  # writes to the gradients of each bucket that was sent, until then
        self._observed: list[int] | None = None  # the order in this rank's first backward
        self._expected: dict[int, int] = {}

    def begin(self) -> None:
        """Begin a backward."""
        self._heard.clear()
        self._last.clear()
        self._left.clear()

    def note(self, module: Module) -> None:
        """A module says that its gradients are ready."""
        if id(module) not in self._of_module:
            self._of_module[id(module)] = [p for p in module.parameters() if id(p) in self._known]
        number = self._heard.total()
        for parameter in self._of_module[id(module)]:
            self._heard[id(parameter)] += 1
            self._last[id(parameter)] = number, parameter.writes

    def is_ready(self, place: int) -> bool:
        """Whether the bucket at this place of the order can be sent."""
        if not self.agreed or place >= len(self.order):
            return False
        ids = map(id, self.buckets[self.order[place]].parameters.values())
        return all(self._expected.get(one) == self._heard[one] for one in ids)

    def leave(self, place: int) -> None:
        """The bucket at this place is sent."""
        self._left.append([p.writes for p in self.buckets[self.order[place]].parameters.values()])

    def end(self) -> None:
        """End a backward; the first one is what is expected of others.

        Raises:
            MinitrainError: if something was added to a gradient after it was sent, naming the parameter.
        """
        for place, left in enumerate(self._left):
            for (path, parameter), writes in zip(self.buckets[self.order[place]].parameters.items(), left, strict=True):
                if parameter.writes != writes:
                    raise MinitrainError(
                        f"a backward has added to the gradient of {path} after it was said to be ready and was sent to "
                        "other ranks; the first backward did not. If the model uses its layers more often in some "
                        "steps than in others, set trainer.overlap=false"
                    )
        if not self.agreed:
            self._observe()

    def agree(self, group: Group) -> None:
        """Take the order that rank 0 has observed, if it has been through a backward; on all ranks at the same time."""
        order = group.from_main(self._observed)
        if order is not None:
            self.order, self.agreed = order, True

    def _observe(self) -> None:
        when: dict[int, int] = {}  # by the number of a bucket
        for number, bucket in enumerate(self.buckets):
            last = {id(p): self._last.get(id(p)) for p in bucket.parameters.values()}
            if all(last[id(p)] is not None and last[id(p)][1] == p.writes for p in bucket.parameters.values()):  # type: ignore[index]
                when[number] = max(one[0] for one in last.values() if one is not None)
                self._expected |= {one: self._heard[one] for one in last}
        early = sorted(when, key=when.__getitem__)
        self._observed = [*early, *(number for number in range(len(self.buckets)) if number not in when)]
