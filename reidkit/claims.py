"""What the two papers claim of their methods, each as a difference of two rows that can be run.

A claim is a sentence of a paper that a run could contradict. It is put here as the difference of a row to another in
mAP, as is what the paper prints for it. Where something else comes with what is praised (a
branch that is scaled, batches that are made up differently, a map that could as well show nothing), `control` names the
row that has this alone, so that it can be told whose the gain is.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from reidkit.published import Table


@dataclass(frozen=True)
class Claim:
    """That `row` has a higher mAP than `over`."""

    said: str  # in our words
    where: str  # of the paper
    row: str
    over: str
    control: str | None = None  # what comes with it, alone
    better: bool = True  # or, if False, that it has not

    def printed(self, tables: Iterable[Table]) -> float | None:
        """The difference that the first table with both rows prints, in points; None where none has them."""
        for table in tables:
            scores = {row.cell: row.scores["mAP"] for row in table.rows}
            if {self.row, self.over} <= scores.keys():
                return round(scores[self.row] - scores[self.over], 2)
        return None


@dataclass(frozen=True)
class Untested:
    """A claim that no difference of rows can test here, and why."""

    said: str
    where: str
    why: str


JOINT_LOSS: tuple[Claim, ...] = (
    Claim("the triplet loss helps", "Table 1", "none/ce+tri", "none/ce", "none/ce/identities"),
    Claim("SE attention helps", "Table 1", "se/ce", "none/ce", "half/ce"),
    Claim("DANet's attention helps", "Table 1", "danet/ce", "none/ce"),
    Claim("non-local attention helps", "Table 1", "nonlocal/ce", "none/ce"),
    Claim("ECA attention helps", "Table 1", "eca/ce", "none/ce", "half/ce"),
    Claim("ECA is better than SE, with fewer weights", "Sect. 2.2, Table 1", "eca/ce", "se/ce"),
    Claim("the circle classifier helps beside the triplet loss", "Table 1", "none/ce+tri+cir", "none/ce+tri"),
    Claim("the joint loss helps", "Sect. 5, Table 1", "none/ce+tri+cir", "none/ce", "none/ce/identities"),
    Claim("CBAM helps on top of the joint loss", "Table 1", "cbam/ce+tri+cir", "none/ce+tri+cir", "quarter/ce+tri+cir"),
    Claim(
        "CBAM and the joint loss help together",
        "Sect. 4, Table 1",
        "cbam/ce+tri+cir",
        "none/ce",
        "none/ce/identities",
    ),
    Claim(
        "the method beats non-local attention with cross-entropy, the next best",
        "Sect. 4, Table 1",
        "cbam/ce+tri+cir",
        "nonlocal/ce",
    ),
)  # fmt: skip
"""Li and Wang 2021, Table 1: without ImageNet weights."""

JOINT_LOSS_UNTESTED: tuple[Untested, ...] = (
    Untested(
        "the method beats OSNet and IANet on Market-1501, DukeMTMC-reID and MSMT17",
        "Sect. 4, Tables 2 to 4",
        "the rows start from ImageNet weights; one data set was withdrawn, another must be asked for",
    ),
    Untested(
        "illumination, angle and occlusion still spoil its results",
        "Sect. 4, Fig. 6",
        "a statement about a few pictures, which the paper compares with nothing",
    ),
)

SAN_GAL: tuple[Claim, ...] = (
    Claim("attribute labels alone hardly help", "Sect. 4.2, Table 1", "ID+attr", "IDonly", better=False),
    Claim("the attention helps on top of attribute labels", "Sect. 4.2, Table 1", "ID+attrAttention", "ID+attr"),
    Claim(
        "the same, where both keep the attribute loss",
        "Sect. 4.2, our reading",
        "ID+attrAttention/attribute-heads",
        "ID+attr",
    ),
    Claim("the whole method beats the baseline", "Sect. 4.2, Table 1", "ID+attrAttention", "IDonly"),
    Claim(
        "it is the heat maps that help, in a reading that can select",
        "Sect. 4.2",
        "ID+attrAttention/scaled-maps-one-sigmoid",
        "ID+attrAttention/shuffled",
    ),
)
"""Hou et al. 2021, Table 1. Read literally, SAN-GAL has not the heads of ID+attr nor their loss: the second difference
is of two things, the third and the fourth are of the attention alone. The last is what the text says of the reason,
tested with the reading that can select, over maps of another image."""
