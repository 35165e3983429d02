"""Classes of users: what would come back as something else, or without a part of it, is refused when it is written."""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections import deque
from typing import Any

import attrs
import pytest

from nodeflow.errors import PayloadError
from nodeflow.values import declare, decode, encode, register
from nodeflow.values.registry import Registry
from tests.values.given import Model


@dataclasses.dataclass
class Base:
    a: int = 1

    @functools.cached_property
    def twice(self) -> int:
        return 2 * self.a


class Undecorated(Base):
    def __init__(self) -> None:
        super().__init__()
        self.more = 1


@attrs.define(slots=False)
class Computed:
    a: int = 1


class _Setter:
    def __get__(self, instance: Any, owner: Any) -> int:
        return 1

    def __set__(self, instance: Any, value: int) -> None:
        raise AssertionError("code of the user runs")


type.__setattr__(Computed, "a", _Setter())  # as a descriptor field does


@dataclasses.dataclass
class Queue(deque[int]):
    a: int = 1


class Odd(enum.Enum):
    A = 1

    @classmethod
    def _missing_(cls, value: object) -> Any:
        member = object.__new__(cls)
        member._name_, member._value_ = f"X{value}", value  # type: ignore[assignment]
        return member


class Cached(Model):
    @functools.cached_property
    def twice(self) -> int:
        return 2


declare(__name__, {"Base": Base, "Undecorated": Undecorated, "Odd": Odd, "Cached": Cached})


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (Undecorated(), "it has the attribute 'more' beside its fields"),
        (object.__new__(Computed), "is of no known type"),
        (Queue(), "is of no known type"),
        (Odd(77), "is no declared member of its enum"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_would_come_back_as_something_else_is_refused_when_it_is_written(value: Any, why: str) -> None:
    with pytest.raises(PayloadError, match=rf"^\$\[0\]: .*{why}"):
        encode([value])


def test_cached_properties_are_no_state() -> None:
    base, model = Base(3), Cached(a=1)
    assert (base.twice, model.twice) == (6, 2)
    found = decode(encode([base, model]))
    assert found == [Base(3), Cached(a=1)]
    assert "twice" not in vars(found[0])


def test_functions_of_users_that_raise_are_refusals() -> None:
    register(type(Registry()), "registry", lambda registry: vars(registry)["nothing"], lambda data: Registry())
    with pytest.raises(PayloadError, match=r"^\$\.a: (TypeError|KeyError): "):
        encode({"a": Registry()})


def test_a_name_that_another_class_has_is_refused() -> None:
    registry = Registry()
    registry.register(Base, "same")
    with pytest.raises(ValueError, match="is another type's name"):
        registry.register(Undecorated, "same")
