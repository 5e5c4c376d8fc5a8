"""The check of a reading, page by page, without a node: what fits, and everything that does not."""

import pytest

from strandline import HolesFound, IntegrityError, SeqRange, Verdict
from strandline._verdict import Check
from strandline.models import Order

Given = tuple[list[int], Verdict, int | None]


def whole(from_seq: int, to_seq: int) -> Verdict:
    return Verdict(from_seq, to_seq, True, (), ())


def gone(from_seq: int, to_seq: int, *, missing: bool = False, contiguous: bool = True) -> Verdict:
    """Of 1 to 5."""
    ranges = (SeqRange(from_seq, to_seq),)
    return Verdict(1, 5, contiguous, ranges if missing else (), () if missing else ranges)


def read(order: Order, *pages: Given, allow_holes: bool = False) -> Verdict | None:
    check = Check("T/s", order, allow_holes)
    for page in pages:
        check.page(*page)
    return check.verdict


FITS: list[tuple[Order, list[Given], Verdict]] = [
    ("asc", [([1, 2, 3], whole(1, 3), 4), ([4, 5], whole(4, 5), None)], whole(1, 5)),
    ("desc", [([5, 4], whole(4, 5), 3), ([3, 2, 1], whole(1, 3), None)], whole(1, 5)),
    ("asc", [([1, 4, 5], gone(2, 3), None)], gone(2, 3)),
    ("asc", [([], gone(1, 5), None)], gone(1, 5)),
    ("asc", [([1, 2], whole(1, 2), 3), ([], whole(0, 0), None)], whole(1, 2)),
    # clients may skip seqs: nothing is missing, and not every seq is there
    ("asc", [([1, 5], Verdict(1, 5, False, (), ()), None)], Verdict(1, 5, False, (), ())),
]
DOES_NOT: list[tuple[Order, list[Given]]] = [
    ("asc", [([1, 3], whole(1, 3), None)]),
    ("asc", [([1, 2], whole(1, 3), None)]),
    ("asc", [([1, 2, 2], whole(1, 3), None)]),
    ("asc", [([2, 1, 3], whole(1, 3), None)]),
    ("asc", [([1, 2, 3, 4], whole(1, 3), None)]),
    ("desc", [([1, 2, 3], whole(1, 3), None)]),
    # a row that is called gone
    ("asc", [([1, 2, 3, 4, 5], gone(2, 2, contiguous=False), None)]),
    ("asc", [([1, 3, 5], gone(2, 3, contiguous=False), None)]),
    # pages that overlap, that leave something between them, or that go elsewhere
    ("asc", [([1, 2, 3], whole(1, 3), 4), ([3, 4], whole(3, 4), None)]),
    ("asc", [([1, 2, 3], whole(1, 3), 4), ([5, 6], whole(5, 6), None)]),
    ("asc", [([1, 2, 3], whole(1, 3), 5)]),
    ("desc", [([5, 4], whole(4, 5), 3), ([2, 1], whole(1, 2), None)]),
    ("desc", [([5, 4], whole(4, 5), 2)]),
]


@pytest.mark.parametrize(("order", "pages", "verdict"), FITS)
def test_what_fits_is_one_verdict(order: Order, pages: list[Given], verdict: Verdict) -> None:
    assert read(order, *pages) == verdict


@pytest.mark.parametrize(("order", "pages"), DOES_NOT)
def test_what_does_not_fit_is_an_error(order: Order, pages: list[Given]) -> None:
    with pytest.raises(IntegrityError, match="stream T/s"):
        read(order, *pages, allow_holes=True)


def test_holes_are_an_error_unless_they_are_allowed() -> None:
    page = [1, 4, 5], gone(2, 3, missing=True, contiguous=False), None
    with pytest.raises(HolesFound, match="missing are 2-3"):
        read("asc", page)
    assert read("asc", page, allow_holes=True) == page[1]


def test_a_page_with_holes_is_not_read_and_may_come_again() -> None:
    check = Check("T/s", "asc", allow_holes=False)
    check.page([1, 2], whole(1, 2), 3)
    holes = Verdict(3, 5, False, (SeqRange(3, 3),), ())
    for _ in range(2):
        with pytest.raises(HolesFound, match="missing are 3-3") as found:
            check.page([4, 5], holes, None)
        assert found.value.verdict == Verdict(1, 5, False, holes.missing, ())
        assert check.verdict == whole(1, 2)
    check.page([3, 4, 5], whole(3, 5), None)
    assert check.verdict == whole(1, 5)
