"""Published runs that were trained once more on this machine, beside their records."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from reidkit.places import build_root, record_roots
from reidkit.records import Record, read_records
from reidkit.report.display import run_link
from reidkit.report.words import signed


class Repetition(NamedTuple):
    published: Record
    here: Record

    @property
    def metric(self) -> str:
        """What a run of its system is judged by: mAP where it ranks, else the first that it measures."""
        return "mAP" if "mAP" in self.here.metrics else next(iter(self.here.metrics))

    @property
    def moved(self) -> float:
        """By how many points the metric moved."""
        return 100 * (self.here.metrics[self.metric] - self.published.metrics[self.metric])


def repetitions() -> list[Repetition]:
    """The runs of `build/repeated` that a record is published of, by name."""
    published = {record.name: record for record in read_records(record_roots()[1])}
    again = read_records(build_root() / "repeated")
    return [Repetition(published[record.name], record) for record in again if record.name in published]


def repetition_table(found: Sequence[Repetition]) -> pd.DataFrame:
    """A row per repetition: the metric as published and as it came out here, in per cent, and on which machines."""
    columns = ["run", "epochs", "metric", "published", "here", "moved by", "published on", "here on"]
    rows = [
        (
            run_link(pair.published.name),
            pair.published.config["epochs"],
            pair.metric,
            100 * pair.published.metrics[pair.metric],
            100 * pair.here.metrics[pair.metric],
            signed(pair.moved),
            pair.published.provenance["device"],
            pair.here.provenance["device"],
        )
        for pair in found
    ]
    return pd.DataFrame(rows, columns=columns)


def repetitions_in_words(found: Sequence[Repetition]) -> str:
    """What the repetitions say, in a sentence or two."""
    if not found:
        return (
            "None was repeated when this copy of the book was built. `make book FRESH=1` trains all of them anew, "
            "`reidkit verify` a single one."
        )
    scores = ", ".join(
        f"{100 * pair.here.metrics[pair.metric]:.2f} against {100 * pair.published.metrics[pair.metric]:.2f} "
        f"({pair.metric}, {run_link(pair.published.name)})"
        for pair in found
    )
    runs = "One published run was" if len(found) == 1 else f"{len(found)} published runs were"
    return f"{runs} trained once more on the machine that built this copy: {scores}."
