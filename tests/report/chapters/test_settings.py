"""What the first page counts."""

import re

from reidkit.published import TABLE_1, TABLE_2, TABLE_3
from reidkit.report.chapters import settings
from tests.report.conftest import MakeRecord


def test_summary_counts_rows_and_verdicts(make_record: MakeRecord) -> None:
    shown = settings.summary([TABLE_1, TABLE_2], {"real": [make_record()], "none": []}).set_index(["Table", "Data"])
    first, second = (f"{table.number}: {table.title}" for table in (TABLE_1, TABLE_2))
    assert shown.loc[(first, "real"), "Rows run"] == "1 of 8"
    assert sum(int(n) for n in re.findall(r"\((\d)\)", shown.loc[(first, "real"), "Verdicts"])) == 4
    assert (first, "none") not in shown.index
    assert shown.loc[(second, "real")].tolist() == ["0 of 1", "not run"]
    toy = {"toy": [make_record("cbam", "ce+tri+cir", dataset="synthped", data_root=None)]}
    shown = settings.summary([TABLE_1, TABLE_2, TABLE_3], toy)
    assert shown["Data"].tolist() == ["toy", "–", "–"]  # none beside other people's numbers, none of Market for Duke
    assert shown["Rows run"].tolist() == ["1 of 8", "0 of 1", "0 of 1"]
