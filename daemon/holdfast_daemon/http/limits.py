"""How much somebody may ask: token buckets, one for each key, with time as a parameter."""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address, ip_network

from holdfast.core.model import Rate, Seconds

KEYS_MOST = 10_000
"""Keys that are remembered; who has not asked for longest is forgotten first, and begins with a full bucket again."""


class Bucket:
    """Admits `most` at once, and then one whenever `per / most` seconds have passed.

    In any stretch of time `t` it admits at most `most + t * most / per`.
    """

    def __init__(self, rate: Rate, now: Seconds) -> None:
        self._rate = rate
        self._level = float(rate.limit)
        self._at = now

    def take(self, now: Seconds) -> Seconds:
        """Admit one, and return 0; or admit none, and return how long it takes until one would be."""
        self._fill(now)
        if self._level >= 1:
            self._level -= 1
            return 0.0
        return self._in()

    def look(self, now: Seconds) -> Seconds:
        """What `take` would return; nothing is taken."""
        self._fill(now)
        return 0.0 if self._level >= 1 else self._in()

    def _fill(self, now: Seconds) -> None:
        most, per = self._rate.limit, self._rate.per
        passed = max(0.0, now - self._at)  # a clock that went back fills nothing
        self._at = max(self._at, now)
        self._level = min(float(most), self._level + passed * most / per)

    def _in(self) -> Seconds:
        most, per = self._rate.limit, self._rate.per
        return max((1 - self._level) * per / most, 1e-6)


class Limits:
    """Buckets by key, made at first sight and bounded in number."""

    def __init__(self, keys_most: int = KEYS_MOST) -> None:
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self._keys_most = keys_most

    def __len__(self) -> int:
        return len(self._buckets)

    def of(self, key: str, rate: Rate, now: Seconds) -> Bucket:
        """The bucket of a key."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(rate, now)
            if len(self._buckets) > self._keys_most:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return bucket


def client_key(host: str) -> str:
    """What stands for a client's address: of IPv6 the /64, which one client has to itself."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host[:100]
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((address, 64), strict=False))
