"""A claim has one holder at a time."""

from __future__ import annotations

from nodeflow.storage import DataStore
from tests.support import until


async def test_the_first_who_takes_it_has_it_until_it_is_given_back(store: DataStore) -> None:
    first, second = (store.claim("right", holder, 60) for holder in ("first", "second"))
    assert await first.take() == "first"
    assert await second.take() == "first"
    await second.give_back()
    assert await second.take() == "first"
    await first.give_back()
    assert await second.take() == "second"
    await second.give_back()


async def test_it_ends_unless_it_is_renewed(store: DataStore) -> None:
    first, second = store.claim("right", "first", 0.2), store.claim("right", "second", 60)
    await first.take()

    async def is_ours() -> bool:
        return await second.take() == "second"

    await until(is_ours, 5, "the first claim has ended")
    assert await first.take() == "second"
    await second.give_back()


async def test_renewing_makes_it_last(store: DataStore) -> None:
    short, long = store.claim("right", "same", 0.2), store.claim("right", "same", 60)
    await short.take()
    await long.take()
    client = await store.connection.ensure_connection()
    assert await client.pttl(f"{store.prefix}claim:right") > 30_000
    await long.give_back()


async def test_it_can_be_taken_from_a_holder_that_is_known_to_be_dead(store: DataStore) -> None:
    dead, heir = store.claim("right", "dead", 60), store.claim("right", "heir", 60)
    await dead.take()
    assert await heir.take(instead_of="another") == "dead"
    assert await heir.take(instead_of="dead") == "heir"
    await heir.give_back()
