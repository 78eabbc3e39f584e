"""Evaluation against the bare matrix product: `python -m tests.benchmarks.ranking [market msmt growth torchreid]`.

The bare product is the least that any exact evaluation does: all queries with the whole gallery, 800 queries at a time,
into one reused buffer whose rows are padded to a multiple of 16 floats. A ratio is our time over its time. Memory is
what the process grows by beyond the features, in a process of its own. torchreid is the installed package; its Python
evaluation is measured (the package has no source of its Cython one), from features to CMC and mAP.
"""

import argparse
import subprocess
import sys
import warnings

import torch
from torch import Tensor

from reidkit.evaluation import evaluate_ranking
from tests.benchmarks.harness import best_times, conditions, markdown, memory_beyond, verdict

LENGTH = 2048
Size = tuple[int, int, int, int, float]
Arguments = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def problem(queries: int, items: int, people: int, cameras: int, distractors: float) -> Arguments:
    """Features scattered around a centre per person, so that some people are found easily and others are not."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(people + 1, LENGTH, generator=generator)
    sides = []
    for count, share in ((queries, 0.0), (items, distractors)):
        ids = torch.randint(1, people + 1, (count,), generator=generator)
        ids[torch.rand(count, generator=generator) < share] = 0
        features = torch.randn(count, LENGTH, generator=generator)
        for part, person in zip(features.split(1024), ids.split(1024), strict=True):  # in place: no second copy
            part.mul_(6).add_(centres[person])
        sides.append((features, ids, torch.randint(1, cameras + 1, (count,), generator=generator)))
    (query, query_ids, query_cameras), (gallery, gallery_ids, gallery_cameras) = sides
    return query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras


def bare_product(query: Tensor, gallery: Tensor, block: int = 800) -> None:
    size = len(gallery)
    buffer = torch.empty(min(block, len(query)), -(-size // 16) * 16)
    for part in query.split(block):
        torch.mm(part, gallery.T, out=buffer[: len(part), :size])


def torchreid_ranking(arguments: Arguments) -> None:
    from torchreid.reid.metrics import compute_distance_matrix, evaluate_rank

    query, gallery, *labels = arguments
    distances = compute_distance_matrix(query, gallery, "cosine").numpy()
    evaluate_rank(distances, *(x.numpy() for x in labels), use_cython=False)


def measure(name: str, size: Size, bar: float | None, rounds: int) -> list[object]:
    arguments = problem(*size)
    functions = {"bare": lambda: bare_product(*arguments[:2]), "ours": lambda: evaluate_ranking(*arguments)}
    best = best_times(functions, rounds)
    command = [sys.executable, "-m", "tests.benchmarks.ranking", "--memory", *map(str, size)]
    memory = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    ratio = best["ours"] / best["bare"]
    return [name, f"{best['bare']:.2f} s", f"{best['ours']:.2f} s", verdict(ratio, bar), verdict(memory, 300)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["market", "msmt", "growth", "torchreid"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--whole", action="store_true", help="all of MSMT17's queries, not the first 2,400 (minutes)")
    parser.add_argument("--memory", nargs="+", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        queries, items, people, cameras, distractors = options.memory
        arguments = problem(int(queries), int(items), int(people), int(cameras), distractors)
        print(memory_beyond(lambda: evaluate_ranking(*arguments)))
        return

    warnings.simplefilter("ignore")  # torchreid's, that it has no Cython
    print(conditions(), end="\n\n")
    columns = ["evaluation", "bare product", "ours", "ours / bare", "MB beyond the features"]
    rows = []
    if "market" in options.parts:
        size = (3368, 15913, 750, 6, 0.176)
        rows.append(measure("3,368 × 15,913, like Market-1501", size, 1.25, options.rounds))
    if "msmt" in options.parts:
        queries = 11659 if options.whole else 2400
        size = (queries, 82161, 3060, 15, 0.0)
        rows.append(measure(f"{queries:,} × 82,161, like MSMT17", size, 1.3, options.rounds))
    if "growth" in options.parts:  # as many people throughout, so that the matches grow with the gallery
        for items in (10_000, 20_000, 40_000, 80_000, 160_000):
            rows.append(measure(f"800 × {items:,}, 750 people", (800, items, 750, 6, 0.0), None, options.rounds))
    if rows:
        print(markdown(columns, rows), end="\n\n")
    if "torchreid" in options.parts:
        arguments = problem(800, 15913, 750, 6, 0.176)
        functions = {
            "bare": lambda: bare_product(*arguments[:2]),
            "ours": lambda: evaluate_ranking(*arguments),
            "torchreid": lambda: torchreid_ranking(arguments),
        }
        best = best_times(functions, min(options.rounds, 3))  # it takes long
        peer = [f"{best[name] / best['bare']:.1f}" for name in ("ours", "torchreid")]
        print(markdown(["800 × 15,913", "ours / bare", "torchreid's Python / bare"], [["", *peer]]), end="\n\n")
    print(conditions())


if __name__ == "__main__":
    main()
