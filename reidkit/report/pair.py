"""Two runs side by side, query by query: what the second gains over the first."""

import pandas as pd

from reidkit.records import Record, RecordError, flat
from reidkit.report.rows import Spread, gain, query_scores
from reidkit.report.words import LABELS
from reidkit.systems import SYSTEMS


def pair(first: Record, second: Record) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The scores of two runs, and those of every query; in per cent and points.

    The first table has a line per metric: first, second, gain (second − first), and low and high of its 95 % interval,
    paired over the people sought. The second has a line per query with a match, the greatest gain first: query, first
    and second (average precision), gain, and the ranks of the first match.

    Raises RecordError where one ranks nothing, or they rank other queries or other data.
    """
    for record in (first, second):
        if not SYSTEMS[record.system].ranks:
            raise RecordError(f"{record.name}: its run ranks nothing; `reidkit verify` compares such records")
    if first.provenance["data"] != second.provenance["data"]:
        raise RecordError(f"{first.name} and {second.name} are of different data: no gain is a gain there")
    gained = gain([second], [first], Spread())  # of one seed each: the interval covers the people alone
    scores = pd.DataFrame(
        {
            "metric": label,
            "first": 100 * first.metrics[metric],
            "second": 100 * second.metrics[metric],
            "gain": gained[metric].ours,
            "low": gained[metric].low,
            "high": gained[metric].high,
        }
        for metric, label in LABELS.items()
    )
    one, two = (query_scores([record])["mAP"] for record in (first, second))
    queries = pd.DataFrame({"first": one, "second": two, "gain": two - one})
    for column, record in (("first rank", first), ("second rank", second)):
        queries[column] = record.queries.set_index("query")["first_match_rank"]
    return scores, queries.rename_axis("query").reset_index().sort_values("gain", ascending=False, kind="stable")


def settings_apart(first: Record, second: Record) -> dict[str, tuple[object, object]]:
    """The settings in which two runs differ, with the values of both; those of a guiding run as `guide.setting`."""
    one, two = flat(first.config), flat(second.config)
    return {key: (one.get(key), two.get(key)) for key in one | two if one.get(key) != two.get(key)}
