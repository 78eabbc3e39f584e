"""What book/open-questions.md shows of the joint-loss paper's runs."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from reidkit.published import Table
from reidkit.records import Record
from reidkit.report.chapters.experiments import SHOWN
from reidkit.report.rows import Rows, of_data
from reidkit.report.words import number, signed


def conventions(table: Table, records: Iterable[Record]) -> pd.DataFrame:
    """mAP of the recorded rows of `table` under both conventions of average precision, mean over seeds, in per cent."""
    measured, lines = Rows(of_data(table.dataset, records)), []
    for row in table.cells:
        if seeds := measured.get(row, []):
            both = ([record.metrics[name] for record in seeds] for name in ("mAP", "mAP (trapezoid)"))
            rectangular, trapezoid = (100 * float(np.mean(values)) for values in both)
            lines.append((SHOWN[row], number(rectangular), number(trapezoid), signed(trapezoid - rectangular)))
    return pd.DataFrame(lines, columns=["Method", "Rectangular", "Trapezoid", "Difference"])
