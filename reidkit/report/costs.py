"""What a training step costs: `python -m reidkit.report.costs` measures it anew, where nothing else should run.

Counted multiply-adds would do for a forward pass, but not for training: some libraries' backward passes are slow, such
as that of depthwise convolutions on a CPU, and torch counts that of grouped ones as if they were not.
"""

import contextlib
import tempfile
import time
from itertools import count, pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from reidkit import runs
from reidkit.data.attributes import GROUPS
from reidkit.places import project_root
from reidkit.profile import Profile
from reidkit.queue import SETTLING, UntrainedMaps
from reidkit.settings import Configuration
from reidkit.systems import SYSTEMS
from reidkit.systems.system import Classes
from reidkit.training import Stage, StoppedError, TrainingError, first_epochs

PATH = project_root() / "book" / "costs.csv"  # row, milliseconds


def step_cost(config: Configuration, maps_of: runs.MapsOf) -> float:
    """Seconds of processor time that a step of a run takes here, its stages weighted by their shares of the epochs.

    The median of each stage, without its first steps. Neither evaluation nor the drawing of heat maps is in it.
    """
    stages = stages_of(config)
    firsts = shortest(stages)
    taken: list[tuple[float, float]] = []  # epochs done, processor time

    def stop(done: float, _: float) -> bool:
        taken.append((done, time.process_time()))
        return done == firsts[-1]

    config = config.model_copy(update={"epochs": firsts[-1], "warmup_epochs": 0, "evaluate_every": 0})
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(StoppedError):  # after the last step: no ranking
        runs.make(config, Path(folder) / "records", False, Path(folder), stop, maps_of)
    done, clock = np.array(taken).T
    steps, ends = np.diff(clock), done[1:]
    medians = [np.median(steps[(ends > start) & (ends <= end)][SETTLING:]) for start, end in pairwise(firsts)]
    return float(np.average(medians, weights=[stage.share for stage in stages]))


def stages_of(config: Configuration) -> list[Stage]:
    """Those that a run is trained in."""
    classes = Classes(2, GROUPS["market_attribute"])  # of which no stage depends
    return list(SYSTEMS[config.system].build(config.from_scratch(), classes).stages())


def shortest(stages: list[Stage]) -> list[int]:
    """The first epochs of stages, and the end, in a training of as few epochs as give one to each."""
    for epochs in count(len(stages)):
        try:
            return first_epochs(stages, epochs)
        except TrainingError:
            continue
    raise AssertionError("count ends never")


def step_costs() -> "pd.Series[float]":
    """Milliseconds of a step by row, as they were measured last."""
    return pd.read_csv(PATH, index_col="row")["milliseconds"]


def measure(profile: Profile) -> pd.DataFrame:
    """Of every row of a profile that ranks, on one thread."""
    torch.set_num_threads(1)
    maps = UntrainedMaps()
    rows = dict.fromkeys(config.row_name for config in profile.configs() if SYSTEMS[config.system].ranks)
    lines = []
    with runs.images_kept():
        for row in rows:
            lines.append((row, round(1000 * step_cost(profile.config(row), maps), 1)))
            print(*lines[-1], flush=True)
    return pd.DataFrame(lines, columns=["row", "milliseconds"])


if __name__ == "__main__":
    measure(Profile.read("synthped-compared")).to_csv(PATH, index=False)
