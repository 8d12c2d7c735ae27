"""Big values: kept apart in pieces, found again by a reference, on both buses."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from holdfast.bus import blobs
from holdfast.bus.blobs import INLINE, LARGEST, PIECE, Blobs
from holdfast.bus.ports import Bus, Publication
from holdfast.errors import BusError, ConnectError, EncodeError, HoldfastError, Unanswered
from holdfast.wire.render import render
from holdfast.wire.subjects import Stream
from holdfast.wire.values import decode_value, encode_value
from worlds import World


def made(size: int, seed: int = 1) -> bytes:
    """So many bytes, no two pieces of them alike."""
    return random.Random(seed).randbytes(size)


async def subjects(bus: Bus) -> list[str]:
    return [message.subject for message in await bus.read(Stream.BLOBS, bus.subjects.blobs)]


class Meddled:
    """A bus whose `publish_many` is another; all else is the real one's."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.sent: list[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    async def publish_many(self, messages: list[Publication]) -> list[int | Exception]:
        self.sent.append([message.subject.rpartition(".")[2] for message in messages])
        return await self._bus.publish_many(messages)


async def test_a_value_up_to_the_bound_stands_for_itself_and_nothing_is_stored(bus: Bus) -> None:
    data = made(INLINE)
    assert await Blobs(bus).keep(data) is data
    assert await Blobs(bus).full(data) is data
    assert not Blobs.refers(data)
    assert await subjects(bus) == []


async def test_a_larger_value_becomes_a_small_reference_that_leads_back_to_it(world: World) -> None:
    bus, other = await world.bus(), await world.bus()
    data = encode_value(made(3 * PIECE))
    reference = await Blobs(bus).keep(data)
    assert len(reference) < 64
    assert Blobs.refers(reference)
    assert await Blobs(other).full(reference) == data
    assert [subject.rpartition(".")[2] for subject in await subjects(bus)] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("size", [INLINE + 1, PIECE - 1, PIECE, PIECE + 1, 9 * PIECE])
async def test_values_of_odd_sizes_come_back_whole(bus: Bus, size: int) -> None:
    data = made(size)
    assert await Blobs(bus).full(await Blobs(bus).keep(data)) == data


async def test_a_value_of_50_mb_comes_back_the_same(bus: Bus) -> None:
    value = {"rows": made(50_000_000)}
    reference = await Blobs(bus).keep(encode_value(value))
    assert decode_value(await Blobs(bus).full(reference)) == value
    assert render(reference) == "<47.7 MiB, kept apart>"


async def test_a_value_above_the_largest_is_refused_and_nothing_is_stored(bus: Bus) -> None:
    with pytest.raises(EncodeError, match=r"at most 64\.0 MiB, found one of 64\.0 MiB: store it outside"):
        await Blobs(bus).keep(bytes(LARGEST + 1))
    assert await subjects(bus) == []


async def test_the_same_value_kept_by_several_at_once_is_there_once(world: World) -> None:
    data = made(5 * PIECE)
    keepers = [Blobs(await world.bus()) for _ in range(4)]
    references = await asyncio.gather(*(keeper.keep(data) for keeper in keepers))
    assert len(set(references)) == 1
    bus = await world.bus()
    assert sorted(subject.rpartition(".")[2] for subject in await subjects(bus)) == ["1", "2", "3", "4", "5"]
    assert await Blobs(bus).full(references[0]) == data


async def test_pieces_left_by_a_process_that_died_are_used_and_the_rest_is_added(bus: Bus) -> None:
    data = made(4 * PIECE)
    reference = await Blobs(bus).keep(data)
    kept = await bus.read(Stream.BLOBS, bus.subjects.blobs)
    for message in kept[::2]:
        await bus.delete(Stream.BLOBS, message.seq)
    with pytest.raises(HoldfastError):
        await Blobs(bus).full(reference)
    assert await Blobs(bus).keep(data) == reference
    assert len(await subjects(bus)) == 4
    assert await Blobs(bus).full(reference) == data


async def test_a_missing_piece_is_named_with_the_digest_of_the_value(bus: Bus) -> None:
    reference = await Blobs(bus).keep(made(3 * PIECE))
    second = (await bus.read(Stream.BLOBS, bus.subjects.blobs))[1]
    await bus.delete(Stream.BLOBS, second.seq)
    digest = second.subject.split(".")[-2]
    with pytest.raises(HoldfastError, match=rf"the value {digest} \(3\.0 MiB\).*piece 2 of 3 is missing") as caught:
        await Blobs(bus).full(reference)
    assert type(caught.value) is HoldfastError
    assert "retry the run from its start" in str(caught.value)


@pytest.mark.parametrize(
    ("put", "found"), [(made(PIECE, seed=2), "hold other bytes"), (b"short", "instead of 3,142,656")]
)
async def test_a_damaged_piece_is_found_out(bus: Bus, put: bytes, found: str) -> None:
    reference = await Blobs(bus).keep(made(3 * PIECE))
    second = (await bus.read(Stream.BLOBS, bus.subjects.blobs))[1]
    await bus.delete(Stream.BLOBS, second.seq)
    await bus.publish(second.subject, put)
    with pytest.raises(HoldfastError, match=f"{found}.*purge {bus.subjects.root}.blob.") as caught:
        await Blobs(bus).full(reference)
    assert type(caught.value) is HoldfastError


async def test_what_was_fetched_or_kept_is_not_fetched_again(bus: Bus) -> None:
    data = made(2 * PIECE)
    keeper = Blobs(bus)
    reference = await keeper.keep(data)
    reader = Blobs(bus)
    assert await reader.full(reference) == data
    await bus.purge(Stream.BLOBS, bus.subjects.blobs)
    assert await keeper.full(reference) == data
    assert await reader.full(reference) == data


async def test_the_values_used_last_stay_and_the_others_go(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "CACHED", 2 * PIECE)
    keeper = Blobs(bus)
    first, second, third = [await keeper.keep(made(PIECE, seed)) for seed in (1, 2, 3)]
    await bus.purge(Stream.BLOBS, bus.subjects.blobs)
    assert await keeper.full(third) == made(PIECE, 3)
    assert await keeper.full(second) == made(PIECE, 2)
    with pytest.raises(HoldfastError):
        await keeper.full(first)


async def test_a_piece_whose_fate_is_unknown_is_sent_again(bus: Bus) -> None:
    class Silent(Meddled):
        async def publish_many(self, messages: list[Publication]) -> list[int | Exception]:
            outcomes = await super().publish_many(messages)
            return [Unanswered("?") if len(self.sent) == 1 and at else one for at, one in enumerate(outcomes)]

    silent = Silent(bus)
    reference = await Blobs(silent).keep(made(3 * PIECE))  # type: ignore[arg-type]
    assert silent.sent == [["1", "2", "3"], ["2", "3"]]
    assert await Blobs(bus).full(reference) == made(3 * PIECE)


async def test_a_piece_that_nobody_ever_answers_for_is_given_up(bus: Bus) -> None:
    class Deaf(Meddled):
        async def publish_many(self, messages: list[Publication]) -> list[int | Exception]:
            self.sent.append([])
            return [Unanswered("?") for _ in messages]

    deaf = Deaf(bus)
    with pytest.raises(Unanswered):
        await Blobs(deaf).keep(made(PIECE))  # type: ignore[arg-type]
    assert len(deaf.sent) == blobs.TRIES


async def test_no_reference_is_given_out_before_every_piece_is_stored(bus: Bus) -> None:
    class Full(Meddled):
        async def publish_many(self, messages: list[Publication]) -> list[int | Exception]:
            if self.sent:
                return [BusError("no room") for _ in messages]
            return await super().publish_many(messages)

    with pytest.raises(BusError, match="no room"):
        await Blobs(Full(bus)).keep(made(20 * PIECE))  # type: ignore[arg-type]
    assert len(await subjects(bus)) == blobs.AT_ONCE  # they harm nobody


async def test_without_a_connection_nothing_is_kept(bus: Bus) -> None:
    await bus.close()
    with pytest.raises((ConnectError, BusError)):
        await Blobs(bus).keep(made(PIECE))


async def test_values_that_look_a_little_like_references_are_none(bus: Bus) -> None:
    reference = await Blobs(bus).keep(made(PIECE))
    for data in (b"", b"\xc7", reference[:-1] + b"\x00" * 40, encode_value(reference), encode_value("x" * 40)):
        assert not Blobs.refers(data)
