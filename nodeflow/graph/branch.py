"""Branch: what a logical node gives when another value than its first input goes on."""

from __future__ import annotations

from typing import Generic, TypeVar

from attrs import frozen

T_co = TypeVar("T_co", covariant=True)


@frozen
class Branch(Generic[T_co]):
    """A branch and the value that goes on there.

    Args:
        name: the branch's name.
        value: what goes on.
    """

    name: str
    value: T_co
