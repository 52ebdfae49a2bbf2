"""What an attack is, and the list of all classes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from hive_expert.package.trust_store import TrustStore
from tests.package.samples import trusting


@dataclass(frozen=True, slots=True)
class Attack:
    """One malicious package: its bytes, and the trust store of the user it is sent to.

    Most are sealed and signed by Ann, whom that user trusts for every name: then nothing stands
    in the way but the rule that the attack breaks.
    """

    label: str
    data: bytes
    trust: TrustStore = field(default_factory=lambda: trusting("Ann"))


@dataclass(frozen=True, slots=True)
class AttackClass:
    """A named kind of attack, and the function that makes its packages."""

    name: str
    make: Callable[[], Iterable[Attack]]


CLASSES: list[AttackClass] = []


def attack_class(
    name: str,
) -> Callable[[Callable[[], Iterable[Attack]]], Callable[[], Iterable[Attack]]]:
    """Put a generator function on the list."""

    def register(make: Callable[[], Iterable[Attack]]) -> Callable[[], Iterable[Attack]]:
        CLASSES.append(AttackClass(name, make))
        return make

    return register
