"""Values that are too big for the journal: kept apart in pieces, with a small reference in their place.

A value's pieces are messages `hf.<p>.blob.<digest>.<number>`, named after what they hold and written once: the same
value kept twice, or by two workers at once, is there once. All of them are stored before the reference is given out,
so whoever has the reference finds the value. A process that dies before leaves pieces that nobody refers to, and that
count when the same value is kept again.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b

import anyio.lowlevel

from holdfast.bus.ports import Bus, Publication
from holdfast.errors import EncodeError, Fenced, HoldfastError, Unanswered
from holdfast.quantities import readable_size
from holdfast.wire.references import DIGEST_BYTES, Kept, decode_kept, encode_kept, is_kept
from holdfast.wire.subjects import Stream

INLINE = 256 << 10
"""Bytes up to which a value stands where it is used."""

LARGEST = 64 << 20
"""Bytes of the largest value."""

PIECE = (1 << 20) - 1024
"""Bytes of a piece: with subject and headers it is within 1 MiB, the most that servers take unless told otherwise."""

AT_ONCE = 8
"""Pieces under way together, so that on a slow line each is answered in time."""

CACHED = 32 << 20
"""Bytes of values that are remembered once fetched or kept."""

TRIES = 3
"""How often a piece is sent whose fate is unknown."""


class Blobs:
    """The big values of the project that a bus is bound to."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._cache = _Cache(CACHED)

    async def keep(self, data: bytes) -> bytes:
        """What to store in place of an encoded value: itself where it is small, else a reference. Idempotent.

        Durable when it returns.

        Raises:
            EncodeError: it is larger than `LARGEST`.
            BusError, ConnectError: it could not be stored.
        """
        if len(data) <= INLINE:
            return data
        if len(data) > LARGEST:
            raise EncodeError(
                f"expected a value of at most {readable_size(LARGEST)}, found one of {readable_size(len(data))}: "
                "store it outside and return where it is"
            )
        kept = Kept(await _digest(data), len(data))
        if kept.name not in self._cache:
            await self._store(kept, data)
            self._cache.put(kept.name, data)
        return encode_kept(kept)

    async def full(self, data: bytes) -> bytes:
        """The encoded value that bytes given out by `keep` stand for.

        Raises:
            HoldfastError: a piece is missing or damaged; the message names the value's digest.
            BusError, ConnectError: it could not be read.
        """
        if not self.refers(data):
            return data
        kept = decode_kept(data)
        found = self._cache.get(kept.name)
        if found is None:
            found = await self._fetch(kept)
            self._cache.put(kept.name, found)
        return found

    @staticmethod
    def refers(data: bytes) -> bool:
        """Whether the bytes are a reference to a value that is kept apart."""
        return is_kept(data)

    async def _store(self, kept: Kept, data: bytes) -> None:
        numbered = list(enumerate(range(0, len(data), PIECE), start=1))
        for some in range(0, len(numbered), AT_ONCE):
            pieces = [
                Publication(self._bus.subjects.blob(kept.name, number), data[at : at + PIECE], 0)
                for number, at in numbered[some : some + AT_ONCE]
            ]
            await self._store_some(pieces)

    async def _store_some(self, pieces: list[Publication]) -> None:
        """Store pieces; one that is there is the same, by its name."""
        for number in range(1, TRIES + 1):
            again = []
            for piece, outcome in zip(pieces, await self._bus.publish_many(pieces), strict=True):
                if isinstance(outcome, Unanswered) and number < TRIES:
                    again.append(piece)
                elif isinstance(outcome, Exception) and not isinstance(outcome, Fenced):
                    raise outcome
            if not again:
                return
            pieces = again

    async def _fetch(self, kept: Kept) -> bytes:
        pieces: dict[int, bytes] = {}
        count = -(-kept.size // PIECE)
        first, filter = 1, self._bus.subjects.pieces(kept.name)
        while len(pieces) < count:
            found = await self._bus.read(Stream.BLOBS, filter, first=first, limit=AT_ONCE)
            if not found:
                missing = next(number for number in range(1, count + 1) if number not in pieces)
                raise _lost(kept, f"piece {missing} of {count} is missing", damaged="")
            for message in found:
                pieces[int(message.subject.rpartition(".")[2])] = message.data
            first = found[-1].seq + 1
        data = b"".join(pieces[number] for number in sorted(pieces))
        if len(data) != kept.size:
            raise _lost(kept, f"its pieces have {len(data):,} bytes instead of {kept.size:,}", damaged=filter)
        if await _digest(data) != kept.digest:
            raise _lost(kept, "its pieces hold other bytes", damaged=filter)
        return data


class _Cache:
    """The values used last, up to so many bytes in all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._values: OrderedDict[str, bytes] = OrderedDict()

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str) -> bytes | None:
        if name in self._values:
            self._values.move_to_end(name)
        return self._values.get(name)

    def put(self, name: str, data: bytes) -> None:
        if len(data) > self._most or name in self._values:
            return
        self._values[name] = data
        self._size += len(data)
        while self._size > self._most:
            _, oldest = self._values.popitem(last=False)
            self._size -= len(oldest)


async def _digest(data: bytes) -> bytes:
    """The digest of a value; others run meanwhile, for a large one takes a tenth of a second."""
    digest, view = blake2b(digest_size=DIGEST_BYTES), memoryview(data)
    for at in range(0, len(data), PIECE):
        digest.update(view[at : at + PIECE])
        await anyio.lowlevel.checkpoint()
    return digest.digest()


def _lost(kept: Kept, how: str, *, damaged: str) -> HoldfastError:
    """
    Args:
        damaged: the subjects of pieces that stand in the way of right ones; empty where there are none.
    """
    advice = f"purge {damaged} and retry" if damaged else "retry"
    return HoldfastError(
        f"expected the value {kept.name} ({readable_size(kept.size)}) among the project's blobs, found that {how}: "
        f"restore the stream from a backup, or {advice} the run from its start, which makes the value again"
    )
