"""Holds a node to its verdict: rows, holes and retired ranges are all of a page's range, and pages fit together.

Nothing here trusts that the answer is whole: a row that something between lost is found.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise

from .errors import HolesFound, IntegrityError
from .models import Order, SeqRange, Verdict


class Check:
    """Of one reading of a stream."""

    def __init__(self, stream: str, order: Order, allow_holes: bool) -> None:
        """Nothing is read yet."""
        self.stream, self.order, self.allow_holes = stream, order, allow_holes
        self.verdict: Verdict | None = None

    def page(self, seqs: Sequence[int], verdict: Verdict, next_seq: int | None) -> None:
        """Checks a page of these seqs, in the order of the page, and adds it to the verdict, if it holds."""
        ascending = seqs if self.order == "asc" else list(reversed(seqs))
        where = f"stream {self.stream}, seqs {verdict.from_seq} to {verdict.to_seq}"
        self._rows(ascending, verdict, where)
        self._seam(verdict, next_seq, where)
        joined = verdict if self.verdict is None else _joined(self.verdict, verdict)
        if verdict.missing and not self.allow_holes:
            holes = ", ".join(f"{hole.from_seq}-{hole.to_seq}" for hole in verdict.missing[:5])
            raise HolesFound(f"{where}: missing are {holes}", joined)
        self.verdict = joined

    def _rows(self, seqs: Sequence[int], verdict: Verdict, where: str) -> None:
        if any(low >= high for low, high in pairwise(seqs)):
            raise IntegrityError(f"{where}: the rows are not in order, or one stands twice")
        if seqs and not (verdict.from_seq <= seqs[0] and seqs[-1] <= verdict.to_seq):
            raise IntegrityError(f"{where}: rows {seqs[0]} to {seqs[-1]} go beyond what the verdict speaks of")
        absent = [*verdict.missing, *verdict.retired]
        if _any_inside(seqs, absent):
            raise IntegrityError(f"{where}: a row is there that the verdict calls missing or retired")
        if verdict.contiguous:
            expected = verdict.to_seq - verdict.from_seq + 1 if verdict.to_seq > 0 else 0
            counted = len(seqs) + sum(gone.to_seq - gone.from_seq + 1 for gone in absent)
            if counted != expected:
                raise IntegrityError(
                    f"{where}: the verdict says that nothing is missing, but {counted} of {expected} are here"
                )

    def _seam(self, verdict: Verdict, next_seq: int | None, where: str) -> None:
        before = self.verdict
        if before is not None and verdict.to_seq > 0:
            fits = (
                verdict.from_seq == before.to_seq + 1 if self.order == "asc" else verdict.to_seq == before.from_seq - 1
            )
            if not fits:
                raise IntegrityError(
                    f"{where}: the page before ended at {before.to_seq if self.order == 'asc' else before.from_seq}"
                )
        if next_seq is not None:
            edge = verdict.to_seq + 1 if self.order == "asc" else verdict.from_seq - 1
            if next_seq != edge:
                raise IntegrityError(f"{where}: the next page begins at {next_seq}, not at {edge}")


def _any_inside(seqs: Sequence[int], ranges: Iterable[SeqRange]) -> bool:
    """Whether one of these, ascending, lies in a range."""
    for gone in ranges:
        at = bisect_left(seqs, gone.from_seq)
        if at < len(seqs) and seqs[at] <= gone.to_seq:
            return True
    return False


def _joined(one: Verdict, other: Verdict) -> Verdict:
    if other.to_seq == 0:
        return one
    low, high = (one, other) if one.from_seq <= other.from_seq else (other, one)
    return Verdict(
        low.from_seq,
        high.to_seq,
        low.contiguous and high.contiguous,
        low.missing + high.missing,
        low.retired + high.retired,
    )
