import itertools

import pytest

from reidkit import claims
from reidkit.published import PAPERS
from reidkit.systems import ROWS, SYSTEMS


def test_every_claim_is_a_difference_of_rows_that_can_be_run() -> None:
    for system, of_paper in (("joint-loss", claims.JOINT_LOSS), ("san-gal", claims.SAN_GAL)):
        for claim in of_paper:
            for row in (claim.row, claim.over, claim.control):
                assert row is None or ROWS[row] is SYSTEMS[system]


def test_the_printed_difference_is_the_tables() -> None:
    printed = {claim.said: claim.printed(PAPERS["joint-loss"][1]) for claim in claims.JOINT_LOSS}
    assert printed["SE attention helps"] == pytest.approx(73.43 - 65.05)
    assert printed["CBAM and the joint loss help together"] == pytest.approx(14.65)  # its text says 14.45
    assert printed["CBAM helps on top of the joint loss"] == pytest.approx(1.44)
    attributes, attention, alike, whole, maps = (claim.printed(PAPERS["san-gal"][1]) for claim in claims.SAN_GAL)
    assert (attributes, attention, alike, whole, maps) == (0.8, 1.8, None, 2.6, None)


def test_the_next_best_row_is_the_next_best() -> None:
    (table,) = PAPERS["joint-loss"][1]
    best, second = itertools.islice(sorted(table.rows, key=lambda row: -row.scores["mAP"]), 2)
    assert (best.cell, second.cell) == ("cbam/ce+tri+cir", "nonlocal/ce")
