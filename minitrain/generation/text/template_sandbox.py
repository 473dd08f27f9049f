"""Executes Jinja templates of others, in Jinja's immutable sandbox and within a `Budget`.

The sandbox keeps a template away from Python's internals. It does not keep it from running for hours or filling the
memory, as in ``{{ "a" * 10**10 }}`` or nested loops. So the template is rewritten before it is compiled: whatever can
repeat or grow asks the budget first. Filters and methods that are not needed in a chat are not there.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError, DataError, printable
from .template_budget import Budget, current
from .template_filters import chat_filters, count_method, text_of

if TYPE_CHECKING:
    from jinja2 import Environment

LARGEST_TEMPLATE = 200_000  # characters
_LARGEST_NUMBER = 1 << 63


def _names(names: str) -> frozenset[str]:
    return frozenset(names.split())


_METHODS: dict[type, frozenset[str]] = {
    str: _names(
        "capitalize count endswith find index isalnum isalpha isascii isdecimal isdigit islower isnumeric isspace "
        "istitle isupper join lower lstrip partition removeprefix removesuffix replace rfind rindex rpartition rsplit "
        "rstrip split splitlines startswith strip swapcase title upper"
    ),
    list: _names("count index"),
    tuple: _names("count index"),
    dict: _names("get items keys values"),
}
_NUMBERS = (bool, int, float)


def compile_template(source: str) -> Any:
    """A Jinja template, ready for `execute`.

    Raises:
        ConfigError: if Jinja2 is not installed.
        DataError: if it is too long, not a template, or does what no chat needs.
    """
    if len(source) > LARGEST_TEMPLATE:
        raise DataError(f"the chat template has {len(source):,} characters, one has at most {LARGEST_TEMPLATE:,}")
    return _guarded(Budget(len(source)), lambda: _compile(source))


def execute(template: Any, variables: dict[str, Any], size: int) -> str:
    """The text that a template writes.

    Args:
        template: from `compile_template`.
        variables: its variables, plain data and functions.
        size: characters of the data.

    Raises:
        DataError: if the template fails, reports an error of its own, or exceeds its budget.
    """
    return str(_guarded(Budget(size), lambda: template.render(variables)))


def _guarded(budget: Budget, work: Any) -> Any:
    """Call ``work`` and return its result; any error becomes a `DataError`."""
    token = current.set(budget)
    try:
        return work()
    except (DataError, ConfigError):
        raise
    except RecursionError as error:
        raise DataError("the chat template is nested too deep, or calls itself: it is damaged or hostile") from error
    except Exception as error:  # a template may raise what it likes
        reason = printable(f"{type(error).__name__}: {error}"[:300])
        raise DataError(
            f"the chat template failed ({reason}): it does not fit these messages, or is damaged"
        ) from error
    finally:
        current.reset(token)


def _compile(source: str) -> Any:
    environment = _environment()
    return environment.from_string(_rewriter().visit(environment.parse(source)))


@functools.cache
def _environment() -> Environment:
    try:
        from jinja2.ext import Extension, loopcontrols
        from jinja2.runtime import LoopContext, Undefined
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise ConfigError("chat templates need Jinja2: pip install 'minitrain[chat]'") from error

    class Generation(Extension):
        """``{% generation %}``, which marks the model's answers for training; here its content is simply written."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            """The content of the block."""
            line = next(parser.stream).lineno
            from jinja2 import nodes

            return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)

    class Sandbox(ImmutableSandboxedEnvironment):
        """Jinja's immutable sandbox, with a budget and without what can grow unseen."""

        intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

        def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
            """Whether a template may use this attribute."""
            for kind, allowed in _METHODS.items():
                if isinstance(obj, kind):
                    return attr in allowed
            return bool(super().is_safe_attribute(obj, attr, value))

        def wrap_str_format(self, value: Any) -> Any:
            """``format`` can widen a text to any length: `is_safe_attribute` refuses it like any other method."""
            return None

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            """The result of an operator, if it is small enough."""
            if isinstance(left, _NUMBERS) and isinstance(right, _NUMBERS) and operator != "**":
                result = super().call_binop(context, operator, left, right)
                if abs(result) > _LARGEST_NUMBER:
                    raise DataError("the chat template computes with numbers above 2**63: it is damaged or hostile")
                return result
            if operator == "+" and not isinstance(left, Undefined) and not isinstance(right, Undefined):
                if isinstance(left, str) and isinstance(right, str):
                    current.get().write(len(left) + len(right))
                else:
                    current.get().weigh(left)
                    current.get().weigh(right)
                return super().call_binop(context, operator, left, right)
            if operator == "*" and isinstance(left, str) and isinstance(right, int):
                current.get().write(len(left) * max(0, right))
                return super().call_binop(context, operator, left, right)
            kinds = f"{type(left).__name__} {operator} {type(right).__name__}"
            raise DataError(f"the chat template computes {kinds}, which is not allowed in a template of others")

        def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
            """The result of a function, a macro or a method, counted."""
            budget = current.get()
            budget.step()
            owner = getattr(__obj, "__self__", None)
            if isinstance(owner, str):
                args = count_method(budget, owner, __obj.__name__, args)
            if isinstance(__obj, LoopContext) and args:  # loop(children) of a recursive loop
                args = (budget.rounds(args[0], 0), *args[1:])
            result = super().call(__context, __obj, *args, **kwargs)
            budget.weigh(result)
            if isinstance(result, str):
                budget.write(len(result))
            return result

        # The functions that rewritten templates call; see `_rewriter`.

        def rounds(self, values: Any, literal: int) -> Any:
            """The values of a loop."""
            return current.get().rounds(values, literal)

        def weighed(self, value: Any) -> Any:
            """A list or dictionary that the template wrote out."""
            current.get().weigh(value)
            return value

        def measured(self, value: Any) -> Any:
            """A part of a string or list."""
            if isinstance(value, str):
                current.get().write(len(value))
            else:
                current.get().weigh(value)
            return value

        def joined(self, *values: Any) -> str:
            """Values one after the other: the operator ``~``."""
            return "".join([text_of(value) for value in values])

    environment = Sandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols], finalize=text_of, cache_size=0
    )
    environment.filters = chat_filters(environment.filters)
    environment.globals.pop("lipsum")
    return environment


def _rewriter() -> Any:
    """Changes the parsed template so that whatever can repeat or grow asks the budget first."""
    from jinja2 import nodes
    from jinja2.visitor import NodeTransformer

    def call(name: str, *args: Any) -> Any:
        return nodes.Call(nodes.EnvironmentAttribute(name), list(args), [], None, None)

    class Rewriter(NodeTransformer):
        def visit_Concat(self, node: Any) -> Any:
            self.generic_visit(node)
            return call("joined", *node.nodes)

        def visit_For(self, node: Any) -> Any:
            literal = _literal(node)
            self.generic_visit(node)
            node.iter = call("rounds", node.iter, nodes.Const(literal))
            return node

        def visit_List(self, node: Any) -> Any:
            return self._container(node)

        def visit_Dict(self, node: Any) -> Any:
            return self._container(node)

        def visit_Tuple(self, node: Any) -> Any:
            return self._container(node) if node.ctx == "load" else node

        def visit_Getitem(self, node: Any) -> Any:
            self.generic_visit(node)
            return call("measured", node) if isinstance(node.arg, nodes.Slice) else node

        def _container(self, node: Any) -> Any:
            constant = all(isinstance(child, nodes.Const) for child in node.iter_child_nodes())
            self.generic_visit(node)
            return node if constant else call("weighed", node)

        def _refuse(self, node: Any) -> Any:
            raise DataError(f"the chat template has an {type(node).__name__.lower()}, and stands alone: it is damaged")

        visit_Include = visit_Import = visit_FromImport = visit_Extends = _refuse

    def _literal(node: Any) -> int:
        """Characters of plain text inside a node."""
        return sum(len(data.data) for data in node.find_all(nodes.TemplateData))

    return Rewriter()
