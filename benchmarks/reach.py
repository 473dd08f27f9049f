"""The aims of minitrain on a CPU, and whether a run of the benchmarks reached them.

A goal is a figure of one section of ``python -m benchmarks``, with the value to reach and a value beyond. Times are
told as ratios, PyTorch's over minitrain's, the better of its programs; 1.2x means that minitrain is 1.2 times as fast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from minitrain.benchmark.contestants import NO_MKL, PEERS
from minitrain.benchmark.ratios import Spread, geometric_mean
from minitrain.benchmark.report import Table

from .kernel_report import find

Result = Mapping[str, Any]


class Absent(str):
    """Why a figure was not measured."""


Measured = Spread | float | Absent


class Goal(NamedTuple):
    """A figure and what it should come to.

    Attributes:
        figure: its name.
        section: the section of the benchmarks that measures it.
        value: finds it in the section's result.
        reach: the value to reach.
        stretch: the value beyond that, if there is one.
        unit: ``x``, ``s``, ``%`` (the value is then a fraction of 1), or nothing.
        at_most: the value must not be more; otherwise it must not be less.
    """

    figure: str
    section: str
    value: Callable[[Result], Measured]
    reach: float
    stretch: float | None = None
    unit: str = "x"
    at_most: bool = False

    def meets(self, value: float, wanted: float) -> bool:
        """Whether ``value`` is as good as ``wanted``."""
        return value <= wanted if self.at_most else value >= wanted

    def show(self, value: float) -> str:
        """A value in the goal's unit."""
        number = f"{100 * value:.0f} %" if self.unit == "%" else f"{value:.2f}{' s' if self.unit == 's' else self.unit}"
        return number

    def wanted(self, value: float | None) -> str:
        """A value to reach, with its direction where that is not plain."""
        return "" if value is None else ("at most " if self.at_most else "") + self.show(value)


class Verdict(NamedTuple):
    """A goal, what was measured, and whether that reaches it; ``None`` if it was not measured."""

    goal: Goal
    measured: Measured
    reached: bool | None

    @property
    def cells(self) -> list[str]:
        """A row of the table."""
        goal, value = self.goal, self.measured
        if isinstance(value, Absent):
            text, outcome = str(value), "not measured"
        else:
            middle = value.median if isinstance(value, Spread) else value
            text = goal.show(middle)
            if isinstance(value, Spread):
                text += f" [{goal.show(value.low)}, {goal.show(value.high)}]"
            beyond = goal.stretch is not None and goal.meets(middle, goal.stretch)
            outcome = "no" if not self.reached else "yes, stretch too" if beyond else "yes"
        return [goal.figure, goal.wanted(goal.reach), goal.wanted(goal.stretch), text, outcome]


def judge(goals: Sequence[Goal], results: Mapping[str, Result], failures: Mapping[str, str]) -> list[Verdict]:
    """Compare each goal of the sections that were run with what came out.

    Args:
        goals: what to reach.
        results: of the sections that ran through, by name.
        failures: why others did not, by name; goals of any other section are left out.
    """
    verdicts = []
    for goal in goals:
        if goal.section in results:
            value = goal.value(results[goal.section])
        elif goal.section in failures:
            value = Absent(failures[goal.section])
        else:
            continue
        if isinstance(value, Absent):
            verdicts.append(Verdict(goal, value, None))
        else:
            middle = value.median if isinstance(value, Spread) else value
            verdicts.append(Verdict(goal, value, goal.meets(middle, goal.reach)))
    return verdicts


def table(verdicts: Sequence[Verdict]) -> Table:
    """The goals and what became of them."""
    columns = ["figure", "reach", "stretch", "measured", "reached?"]
    return Table("what was to be reached", columns, [verdict.cells for verdict in verdicts])


def step_ratio(result: Result, name: str = "minitrain") -> Measured:
    """How often a step fits into one of PyTorch, eager or compiled, whichever is faster."""
    if name not in result["programs"]:
        return Absent(result["failures"].get(name, NO_MKL))
    ratios = [Spread(**ratio) for ratio in result["programs"][name]["ratios"].values()]
    return min(ratios) if ratios else without_peer(result, PEERS[0])


def memory_ratio(result: Result) -> Measured:
    """Peak memory over PyTorch's, eager or compiled, whichever takes less."""
    programs = result["programs"]
    theirs = [programs[peer]["peak_rss_mb"] for peer in PEERS if peer in programs]
    ours = programs["minitrain"]["peak_rss_mb"]
    if not theirs:
        return without_peer(result, PEERS[0])
    if ours is None or None in theirs:
        return Absent("the system does not tell")
    return float(ours / min(theirs))


def kernel_ratio(result: Result, op: str, size: str, direction: str) -> Measured:
    """How often a kernel fits into PyTorch's time."""
    line = find(result, op, size, direction)
    ratio = None if line is None else line["ratios"].get("torch_to_twin")
    return without_peer(result, "torch") if ratio is None else Spread(**ratio)


def without_peer(result: Result, name: str) -> Absent:
    """Why there is no figure of PyTorch's."""
    return Absent(result["failures"].get(name, "measured without PyTorch"))


def of_minitrain(result: Result, key: str) -> Measured:
    """A figure of minitrain's training."""
    return float(result["programs"]["minitrain"][key])


def memory_exponent(result: Result) -> Measured:
    """The power of T that the memory of attention grows with."""
    return float(result["growth_exponents"].get("twin", result["pool_exponent"]))


def exponent(result: Result, curve: str) -> Measured:
    """The power that a cost grows with."""
    return float(result["curves"][curve]["exponent"])


def speedup(result: Result) -> Measured:
    """The gain of a second thread in a step."""
    return Spread(**result["speedup"]["minitrain"])


def product_ratio(result: Result, pick: Callable[[list[float]], float]) -> Measured:
    """The own product over the best of the others, on one thread: one figure of all shapes."""
    lines = [line for line in result["lines"] if line["threads"] == 1 and line["ratio"] is not None]
    return pick([line["ratio"]["median"] for line in lines]) if lines else without_peer(result, "torch")


def generation_ratio(result: Result, config: str, batch: int, name: str) -> Measured:
    """A ratio of the generation benchmark, see `benchmarks.generation.line`."""
    (line,) = (one for one in result["lines"] if (one["config"], one["batch"]) == (config, batch))
    found = line["ratios"].get(name)
    return Absent("transformers is not installed: minitrain runs alone") if found is None else Spread(**found)


STEPS = {  # size -> reach and stretch: default install, with MKL
    "char": ((1.4, 1.7), (1.5, 1.7)),
    "baby": ((1.1, 1.2), (1.2, 1.3)),
    "gpt2": ((1.05, 1.15), (1.1, 1.15)),
    "llama": ((1.2, 1.4), None),
}
KERNELS = {  # label -> operation, direction; each to be 1.2 times as fast, at best twice
    "layer norm": ("layer_norm", "both"),
    "RMS norm": ("rms_norm", "both"),
    "GELU (erf)": ("gelu", "both"),
    "SwiGLU": ("swiglu", "both"),
    "embedding, backward": ("embedding", "backward"),
}
GENERATION = {  # model, sequences -> reach and stretch against transformers
    ("char", 1): (10.0, 20.0),
    ("baby", 1): (5.0, 8.0),
    ("gpt2", 1): (1.3, 1.5),
    ("char", 8): (5.0, None),
    ("baby", 8): (3.0, None),
    ("gpt2", 8): (1.5, None),
}
LINEAR = 1.05  # an exponent of 1, and what fitting noisy times may add
QUADRATIC = 2.05


def _goals() -> list[Goal]:
    goals = []
    for size, (default, with_mkl) in STEPS.items():
        goals.append(
            Goal(f"training step, {size}, against the better of eager and compiled", size, step_ratio, *default)
        )
        if with_mkl is not None:
            goals.append(
                Goal(f"the same with [mkl], {size}", size, partial(step_ratio, name="minitrain_mkl"), *with_mkl)
            )
    efficiency = partial(of_minitrain, key="efficiency")
    goals.append(Goal("useful FLOPs over the fastest sgemm, baby", "baby", efficiency, 0.80, 0.87, "%"))
    for size, values in {"baby": (0.7, 0.55), "gpt2": (0.9, 0.8)}.items():
        goals.append(Goal(f"peak memory over PyTorch's, {size}", size, memory_ratio, *values, at_most=True))
    for T, values in {256: (1.3, 2.0), 1024: (1.2, 2.0), 4096: (1.0, 1.4)}.items():
        value = partial(kernel_ratio, op="attention", size=f"T={T}", direction="both")
        goals.append(Goal(f"causal attention alone, forward + backward, T={T}", "attention", value, *values))
    goals.append(
        Goal("memory of causal attention, exponent in T", "attention", memory_exponent, 1.1, None, "", at_most=True)
    )
    for (config, batch), values in GENERATION.items():
        value = partial(generation_ratio, config=config, batch=batch, name="transformers")
        goals.append(Goal(f"greedy generation, {config}, {batch} at once", "generation", value, *values))
    for name, label, wanted in [
        ("reads", "one gpt2 token against reading its weights", 0.8),
        ("bfloat16", "the same with weights of 16 bits, against 32", 1.7),
    ]:
        value = partial(generation_ratio, config="gpt2", batch=1, name=name)
        goals.append(Goal(label, "generation", value, wanted))
    loss = partial(kernel_ratio, op="cross_entropy", size="gpt2", direction="both")
    goals.append(Goal("softmax-cross-entropy, forward + backward, 256 x 50257", "loss", loss, 2.0, 3.0))
    for label, (op, direction) in KERNELS.items():
        for size in ("char", "baby"):
            value = partial(kernel_ratio, op=op, size=size, direction=direction)
            what = label + (", forward + backward" if direction == "both" else "")
            goals.append(Goal(f"{what}, {size}", "kernels", value, 1.2, 2.0))
    for size, section in {"char": "kernels", "baby": "kernels", "gpt2": "loss"}.items():
        value = partial(kernel_ratio, op="adam_update", size=size, direction="call")
        goals.append(Goal(f"AdamW against the fused one, {size}", section, value, 1.0, 1.1))
    for figure, key, values in (
        ("import minitrain", "import_seconds", (0.3, 0.2)),
        ("from start to the end of the first step, warm cache, char", "start_seconds", (1.5, 0.8)),
        ("from start to the end of the first step, cold cache, char", "cold_start_seconds", (15.0, 8.0)),
    ):
        goals.append(Goal(figure, "char", partial(of_minitrain, key=key), *values, "s", at_most=True))
    goals.append(Goal("from 1 to 2 threads, baby", "threads", speedup, 1.75, 1.85))
    for figure, pick, values in (
        ("float32 products over the best other's, one thread, geometric mean", geometric_mean, (1.0, 1.1)),
        ("the lowest of them", min, (0.9, 1.0)),
    ):
        goals.append(Goal(figure, "products", partial(product_ratio, pick=pick), *values))
    for name, figure, limit in (
        ("batch", "step time against batch, exponent", LINEAR),
        ("length", "step time against T, exponent", QUADRATIC),
        ("attention", "attention alone against T, exponent", QUADRATIC),
    ):
        goals.append(Goal(figure, "scaling", partial(exponent, curve=name), limit, None, "", at_most=True))
    return goals


GOALS = _goals()
