"""A validation split: some training identities with a query and a gallery of their own.

A recipe is chosen on it, so that no choice is ever made on the queries that the results are told of.
"""

import dataclasses

import torch

from reidkit.data.errors import DatasetError
from reidkit.data.layouts import Dataset


def hold_out(dataset: Dataset, identities: int, seed: int = 0) -> Dataset:
    """A data set whose query and gallery are some of its training identities, and whose `train` is all the others.

    As test sets are made: of every held-out identity, one image per camera is a query and the rest is gallery. The
    identities are drawn by `seed` among those that two cameras or more have seen; the data set's own test images play
    no part. Raises DatasetError where there are not that many, or none would be left for training.
    """
    train = dataset.train
    views = torch.unique(torch.stack([train.ids, train.cameras], 1), dim=0)  # an identity and a camera in each row
    seen, cameras = views[:, 0].unique(return_counts=True)
    able = seen[cameras > 1]
    if len(able) < identities or len(seen) <= identities:
        raise DatasetError(
            f"{dataset.root}: cannot hold {identities} of {len(seen)} training identities out for validation, as "
            f"{len(able)} of them are seen by more than one camera and some must be left"
        )
    generator = torch.Generator().manual_seed(seed)
    held = torch.isin(train.ids, able[torch.randperm(len(able), generator=generator)[:identities]])
    query = torch.zeros_like(held)
    taken: set[tuple[int, int]] = set()
    for index in torch.randperm(len(train), generator=generator).tolist():
        view = int(train.ids[index]), int(train.cameras[index])
        if held[index] and view not in taken:
            taken.add(view)
            query[index] = True
    attributes = dataset.attributes
    return dataclasses.replace(
        dataset,
        train=train.select(~held),
        query=train.select(query),
        gallery=train.select(held & ~query),
        attributes=None if attributes is None else dataclasses.replace(attributes, test=attributes.train),
    )
