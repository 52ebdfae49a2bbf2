"""Options that belong together, and reach their command as one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Command = TypeVar("Command", bound=Callable[..., object])
Option = Callable[[Any], Any]


def option_group(
    values: type[DataclassInstance], name: str, options: tuple[Option, ...]
) -> Callable[[Command], Command]:
    """A decorator that gives a command these options, in their order.

    Args:
        values: what they say, with a field for each option.
        name: the command's parameter that gets one of them.
    """

    def decorate(command: Command) -> Command:
        @wraps(command)
        def gathered(**given: Any) -> object:
            group = values(**{field.name: given.pop(field.name) for field in fields(values)})
            return command(**{name: group}, **given)

        decorated: Any = gathered
        for option in reversed(options):
            decorated = option(decorated)
        result: Command = decorated
        return result

    return decorate
