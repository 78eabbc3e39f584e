"""Which images make up each batch of an epoch. An epoch is drawn whole, so that a resumed run draws it again alike."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ShuffledSampler:
    """Every image once an epoch in random order; the last, incomplete batch is dropped."""

    count: int
    batch_size: int

    def __post_init__(self) -> None:
        if self.count < self.batch_size:
            raise ValueError(
                f"{self.count} training images do not fill one batch of {self.batch_size}: lower batch_size"
            )

    def epoch(self, generator: torch.Generator) -> Tensor:
        """Image indexes, int64 (steps, batch_size)."""
        steps = self.count // self.batch_size
        return torch.randperm(self.count, generator=generator)[: steps * self.batch_size].view(steps, self.batch_size)


@dataclass(frozen=True)
class IdentitySampler:
    """P identities with K images each in every batch, as batch-hard mining needs (Hermans et al. 2017).

    An identity's images are dealt into shuffled groups of K, an identity of fewer than K images repeating some; a
    batch takes one group from each of P random identities, until fewer than P identities have a group left.

    Raises ValueError where no such batch can be made, or with P = 1: in a batch of one identity nothing is a negative,
    and the triplet loss is 0 throughout.
    """

    labels: Tensor  # (N,) integer
    identities: int  # P
    images: int  # K

    def __post_init__(self) -> None:
        if self.images < 1:
            raise ValueError(f"{self.images} images of each identity; expected at least 1: set images_per_identity")
        if self.identities < 2:
            raise ValueError(
                f"a batch of {self.identities} identities × {self.images} images: batch-hard mining needs two "
                "identities, as one has no negatives; raise batch_size or lower images_per_identity"
            )
        found = len(self.labels.unique())
        if found < self.identities:
            raise ValueError(
                f"{found} training identities do not fill a batch of {self.identities} identities × {self.images} "
                "images: lower batch_size or raise images_per_identity"
            )

    def epoch(self, generator: torch.Generator) -> Tensor:
        """Image indexes, int64 (steps, P × K); each run of K belongs to one identity."""
        groups: list[Tensor] = []  # per identity (G, K)
        for label in self.labels.unique():
            members = (self.labels == label).nonzero().flatten()
            order = members[torch.randperm(len(members), generator=generator)]
            if len(order) < self.images:
                extra = torch.randint(len(members), (self.images - len(order),), generator=generator)
                order = torch.cat([order, members[extra]])
            groups.append(order[: len(order) // self.images * self.images].view(-1, self.images))
        left = torch.tensor([len(group) for group in groups])
        batches = []
        while int((left > 0).sum()) >= self.identities:
            available = (left > 0).nonzero().flatten()
            chosen = available[torch.randperm(len(available), generator=generator)[: self.identities]]
            left[chosen] -= 1
            batches.append(torch.cat([groups[i][left[i]] for i in chosen.tolist()]))
        return torch.stack(batches)
