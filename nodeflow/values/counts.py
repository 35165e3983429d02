"""What a process has done with values and blobs so far: counts, and histograms of sizes and times."""

from __future__ import annotations

from collections import Counter

from attrs import define, field


@define
class Histogram:
    """How often which amounts occurred, by powers of two.

    Args:
        unit: what the amounts are counted in, as in 1 byte or 1e-6 seconds.
        buckets: by place, how often an amount below `2 ** place` units, and not below half of that, occurred.
        total: the sum of all amounts.
    """

    unit: float = 1
    buckets: list[int] = field(factory=lambda: [0] * 64, repr=False)
    total: float = 0

    @property
    def count(self) -> int:
        """How many amounts there were."""
        return sum(self.buckets)

    @property
    def mean(self) -> float:
        """Their mean; 0 when there were none."""
        return self.total / self.count if self.count else 0.0

    def quantile(self, part: float) -> float:
        """The amount that so many of them, as 0.99, don't exceed: the upper end of the bucket in which it lies.

        Raises:
            ValueError: the part isn't between 0 and 1.
        """
        if not 0 <= part <= 1:
            raise ValueError(f"a part between 0 and 1 is needed, not {part!r}")
        left = part * self.count
        for power, times in enumerate(self.buckets):
            left -= times
            if times and left <= 0:
                return float(2**power * self.unit)
        return 0.0

    def add(self, amount: float, times: int = 1) -> None:
        """Count an amount that occurred so many times."""
        self.buckets[int(amount / self.unit).bit_length()] += times
        self.total += amount * times

    def add_each(self, amounts: list[int]) -> None:
        """Count amounts of 1 unit."""
        for power, times in Counter(map(int.bit_length, amounts)).items():
            self.buckets[power] += times
        self.total += sum(amounts)

    def copy(self) -> Histogram:
        """The counts as they are now."""
        return Histogram(self.unit, list(self.buckets), self.total)


_SETTLED = 256
"""How many values are counted before the histograms are changed."""


def _seconds() -> Histogram:
    return Histogram(1e-6)


@define(kw_only=True)
class ValueCounts:
    """What was done with values and blobs.

    Args:
        encode_bytes: how large values were when they were encoded.
        encode_seconds: how long that took for each.
        decode_bytes: how large payloads were that were decoded.
        decode_seconds: how long that took for each; of a blob with its download.
        blobs_written: blobs written.
        blob_bytes_written: what was stored of them, in bytes.
        blobs_read: blobs read.
        blob_bytes_read: what was stored of them, in bytes.
        blobs_orphaned: blobs that sweeps found to be old and of no use to anybody.
        blobs_swept: those of them that were removed.
        blob_bytes_swept: their bytes.
        descriptor_write_failures: values that could not be written to a blob.
        descriptor_restore_failures: values that could not be read from the blob that their descriptor names.
    """

    encode_bytes: Histogram = field(factory=Histogram)
    encode_seconds: Histogram = field(factory=_seconds)
    decode_bytes: Histogram = field(factory=Histogram)
    decode_seconds: Histogram = field(factory=_seconds)
    blobs_written: int = 0
    blob_bytes_written: int = 0
    blobs_read: int = 0
    blob_bytes_read: int = 0
    blobs_orphaned: int = 0
    blobs_swept: int = 0
    blob_bytes_swept: int = 0
    descriptor_write_failures: int = 0
    descriptor_restore_failures: int = 0
    _sizes: list[int] = field(factory=list, init=False, eq=False)
    _seconds: float = field(default=0.0, init=False, eq=False)
    _timed: int = field(default=0, init=False, eq=False)

    def encoded_one(self, size: int, seconds: float) -> None:
        """Count a value that was encoded, with others before and after it: `settle` brings it into the histograms."""
        self._seconds += seconds
        self._timed += 1
        self.encoded_more(size)

    def encoded_more(self, size: int) -> None:
        """As `encoded_one`, of a value that took as long as those before it since `is_settled`."""
        self._sizes.append(size)
        if len(self._sizes) >= _SETTLED:
            self.settle()

    @property
    def is_settled(self) -> bool:
        """Whether all is in the histograms; then the next value must be timed."""
        return not self._sizes

    def settle(self) -> None:
        """Bring all that was counted into the histograms."""
        if self._sizes:
            self.encoded(self._sizes, self._seconds / self._timed * len(self._sizes))
        self._sizes.clear()
        self._seconds, self._timed = 0.0, 0

    def encoded(self, sizes: list[int], seconds: float) -> None:
        """Count values that were encoded together."""
        _count(sizes, seconds, self.encode_bytes, self.encode_seconds)

    def decoded(self, sizes: list[int], seconds: float) -> None:
        """Count payloads that were decoded together."""
        _count(sizes, seconds, self.decode_bytes, self.decode_seconds)


def _count(sizes: list[int], seconds: float, of_sizes: Histogram, of_times: Histogram) -> None:
    if len(sizes) == 1:
        of_sizes.add(sizes[0])
        of_times.add(seconds)
    elif sizes:
        of_sizes.add_each(sizes)
        of_times.add(seconds / len(sizes), len(sizes))
