"""A query, its first results and its ground truth: the joint-loss paper's Fig. 6."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from reidkit.data import Dataset
from reidkit.profile import Profile
from reidkit.records import Record
from reidkit.report.sheets import Cell, Picture, mosaic
from reidkit.report.style import Drawing, notice
from reidkit.runs import check_data, find_record, open_dataset
from reidkit.systems.joint_loss import RunConfig

RIGHT, WRONG = "#d62728", "#1f5fd0"  # frames of matches, red and blue as in the paper's Fig. 6


def ranked_lists_of(config: RunConfig, quantiles: Sequence[float] = (0.9, 0.5, 0.1)) -> Drawing:
    """`ranked_lists` of a finished run, for the queries at these quantiles of its average precision.

    Where the run has no record, or its pictures are not on this machine, the figure says what is missing instead.
    Raises RecordError where the data set is not the one that the record was made from.
    """
    record = find_record(config)
    if record is None:
        return notice(f"Not run yet:\n{config.row_name}, seed {config.seed} of this profile.")
    top = first_results(record)
    if top is None:
        return notice(f"An older record, which keeps no ranked lists:\n{config.name}.")
    if config.dataset != "synthped" and not config.root.is_dir():
        return notice(f"The record is here, but not the pictures that\n{config.name}\nranked.")
    dataset = open_dataset(config)
    check_data(record, dataset)
    return ranked_lists(dataset, top, example_queries(record, quantiles))


def first_results(record: Record) -> Tensor | None:
    """Gallery indexes (Q, k), best first, -1 for none, of every query's first results; None where none were kept."""
    if "results" not in record.queries:
        return None
    lists = [torch.tensor([int(i) for i in str(text).split()]) for text in record.queries["results"].fillna("")]
    return pad_sequence(lists, batch_first=True, padding_value=-1).long()


def ranked_lists(dataset: Dataset, top: Tensor, queries: Sequence[int], k: int = 8) -> Drawing:
    """The paper's Fig. 6: each query at the left, its first k results, and beneath them its ground truth.

    top: gallery indexes (Q, ≥k) best first, -1 for none, as `evaluation.top_matches` returns them. queries: which rows
    of the query split to show. Results stand in a red frame where the identity is right, in a blue one where it is
    wrong. The ground truth row shows the first k right images taken by other cameras, in the gallery's order.
    Raises ValueError where there is no query to show.
    """
    if not queries:
        raise ValueError("ranked_lists needs at least one query to show")
    k = min(k, top.shape[1])
    query, gallery = dataset.query, dataset.gallery
    blocks, described = [], []
    for index in queries:
        results = [i for i in top[index, :k].tolist() if i >= 0]
        right = [bool(gallery.ids[i] == query.ids[index]) for i in results]
        truth = (gallery.ids == query.ids[index]) & (gallery.cameras != query.cameras[index])
        frames = [RIGHT if good else WRONG for good in right]
        first = [Cell(_thumbnail(gallery.paths[i]), frame=frame) for i, frame in zip(results, frames, strict=True)]
        beneath = [Cell(_thumbnail(gallery.paths[i])) for i in truth.nonzero()[:k, 0].tolist()]
        blocks.append([[Cell(_thumbnail(query.paths[index])), *first], [Cell(), *beneath]])
        ranks = [str(rank) for rank, good in enumerate(right, start=1) if good]
        described.append(
            f"Query {query.paths[index].name}: {len(ranks)} of the first {len(results)} results are right"
            + (f" (ranks {', '.join(ranks)})" if ranks else "")
            + f"; the gallery holds {int(truth.sum())} right images."
        )
    rows, columns = ["", "ground\ntruth"], ["query", *(str(rank) for rank in range(1, k + 1))]
    figure = mosaic(blocks, [rows] * len(blocks), [columns] * len(blocks), bar="", below=0.05)
    return figure, "Ranked lists, right results framed red and wrong ones blue. " + " ".join(described)


def _thumbnail(path: Path) -> Picture:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((64, 128)))


def followed(profile: Profile) -> str | None:
    """The query whom the book follows from chapter to chapter: the median one of the first paper's method.

    None where that was not run.
    """
    record = find_record(profile.config("cbam/ce+tri+cir"))
    return None if record is None else str(record.queries["query"][example_queries(record, [0.5])[0]])


def example_queries(record: Record, quantiles: Sequence[float] = (0.9, 0.5, 0.1)) -> list[int]:
    """The queries whose average precision lies at these quantiles of a record: examples by a rule, not by choice.

    Positions in the query split. Raises ValueError where no query has a match.
    """
    precision = record.queries["average_precision"].dropna().sort_values(kind="stable")
    if precision.empty:
        raise ValueError(f"{record.name}: no query has a match, so there is no example to show")
    return [int(precision.index[round(quantile * (len(precision) - 1))]) for quantile in quantiles]
