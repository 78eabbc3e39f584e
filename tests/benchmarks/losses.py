"""Losses, forward and backward, against peers: `python -m tests.benchmarks.losses [--threads 2]` prints ratios.

A ratio is our time over the peer's in the same run, each the best of many interleaved repetitions, so that another
process on the machine disturbs both alike. pytorch-metric-learning is the installed package. fast-reid is not on the
package index: "plain form" states the same loss as its published formula is usually written, on whole (N, N) matrices
through autograd, with float masks. It is our restatement, not their code, and a lean one.
"""

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from pytorch_metric_learning.losses import CircleLoss as MetricLearningCircleLoss
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from torch import Tensor, nn

from reidkit.losses import BatchHardTripletLoss, CircleLoss

Loss = Callable[[Tensor, Tensor], Tensor]


def plain_distances(x: Tensor, y: Tensor) -> Tensor:
    squared = x.pow(2).sum(1, keepdim=True) + y.pow(2).sum(1) - 2 * x @ y.t()
    return squared.clamp(min=1e-12).sqrt()


def plain_triplet(features: Tensor, labels: Tensor) -> Tensor:
    """Hermans et al. 2017 on the whole distance matrix, with gradients through it."""
    distances = plain_distances(features, features)
    same = labels.view(-1, 1).eq(labels.view(1, -1)).float()
    to_positive = (distances * same).max(1)[0]
    to_negative = (distances * (1 - same) + same * 1e9).min(1)[0]
    return F.margin_ranking_loss(to_negative, to_positive, torch.ones_like(to_positive), margin=0.3)


def plain_circle(features: Tensor, labels: Tensor, scale: float = 64.0, margin: float = 0.35) -> Tensor:
    """Sun et al. 2020, Eq. 6, with float masks and a large negative number where there is no pair."""
    features = F.normalize(features)
    similarities = features @ features.t()
    same = labels.view(-1, 1).eq(labels.view(1, -1)).float()
    is_negative, is_positive = 1 - same, same - torch.eye(len(labels))
    s_p, s_n = similarities * is_positive, similarities * is_negative
    alpha_p = F.relu(1 + margin - s_p.detach())
    alpha_n = F.relu(s_n.detach() + margin)
    exponent_p = -scale * alpha_p * (s_p - (1 - margin)) - 1e8 * (1 - is_positive)
    exponent_n = scale * alpha_n * (s_n - margin) - 1e8 * (1 - is_negative)
    return F.softplus(exponent_p.logsumexp(1) + exponent_n.logsumexp(1)).mean()


class MetricLearningTriplet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mine, self.loss = BatchHardMiner(), TripletMarginLoss(margin=0.3)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        loss: Tensor = self.loss(features, labels, self.mine(features, labels))
        return loss


def best_times(losses: dict[str, Loss], features: Tensor, labels: Tensor, seconds: float) -> dict[str, float]:
    """The shortest forward and backward of each loss, in seconds, repetitions interleaved."""
    features = features.clone().requires_grad_()
    best = dict.fromkeys(losses, float("inf"))
    end, rounds = time.perf_counter() + seconds, 0
    while time.perf_counter() < end or rounds < 20:
        for name, loss in losses.items():
            features.grad = None
            if isinstance(loss, nn.Module):
                loss.zero_grad()
            start = time.perf_counter()
            loss(features, labels).backward()
            elapsed = time.perf_counter() - start
            if rounds > 2:
                best[name] = min(best[name], elapsed)
        rounds += 1
    return best


def report(title: str, bars: dict[str, float], best: dict[str, float]) -> None:
    ours = best["ours"]
    for peer, bar in bars.items():
        ratio = ours / best[peer]
        print(
            f"{title:34s} {ours * 1e6:8.0f} us   {ratio:5.2f} x {peer:24s} {best[peer] * 1e6:8.0f} us   "
            f"bar {bar:.2f} {'met' if ratio <= bar else 'MISSED'}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=3.0, help="per line of the table")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {arguments.threads} threads; time of ours, ratio to and time of the peer")

    package = "pytorch-metric-learning"
    for n, c in ((64, 2048), (256, 2048), (64, 512), (256, 512)):
        features, labels = torch.randn(n, c), torch.arange(n // 4).repeat_interleave(4)
        triplets = {"ours": BatchHardTripletLoss(0.3), "plain form": plain_triplet, package: MetricLearningTriplet()}
        circles = {
            "ours": CircleLoss(64.0, 0.35),
            "plain form": plain_circle,
            package: MetricLearningCircleLoss(m=0.35, gamma=64),
        }
        for title, losses in (("batch-hard triplet", triplets), ("pairwise circle", circles)):
            best = best_times(losses, features, labels, arguments.seconds)
            report(f"{title}, {n} x {c}", {"plain form": 1.0, package: 1 / 1.5}, best)


if __name__ == "__main__":
    main()
