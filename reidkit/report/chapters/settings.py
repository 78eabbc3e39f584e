"""What book/settings.md shows: how far the printed tables were run."""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from reidkit.published import Table
from reidkit.records import Record
from reidkit.report.rows import of_data
from reidkit.report.verdicts import compare


def summary(tables: Iterable[Table], records: Mapping[str, Sequence[Record]]) -> pd.DataFrame:
    """One row per printed table and set of records (by label): how many of its own rows were run, and the verdicts.

    Only records on the table's data, or on toy data in their place, are counted, and no toy data beside other people's
    numbers.
    """
    rows = []
    for table in tables:
        others = len(table.rows) > len(table.cells)
        fitting = {
            label: found
            for label, of_label in records.items()
            if (found := of_data(table.dataset, of_label)) and not (others and found[0].config["dataset"] == "synthped")
        }
        for label, found in (fitting or {"–": []}).items():
            comparison = compare(table, found)
            own = comparison.query("verdict != ''").drop_duplicates("method")
            counts = comparison.query("seeds > 0")["verdict"].value_counts()
            rows.append(
                {
                    "Table": f"{table.number}: {table.title}",
                    "Data": label,
                    "Rows run": f"{(own['seeds'] > 0).sum()} of {len(own)}",
                    "Verdicts": ", ".join(f"{kind} ({count})" for kind, count in counts.items()) or "not run",
                }
            )
    return pd.DataFrame(rows)
