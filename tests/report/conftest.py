"""Records with made-up queries, for tests of what is shown of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reidkit.experiments import RunConfig
from reidkit.records import Record

MakeRecord = Callable[..., Record]


@pytest.fixture
def make_record() -> MakeRecord:
    def make(
        attention: str = "none",
        loss: str = "ce",
        seed: int = 0,
        *,
        queries: int = 200,
        quality: float = 0.6,
        **changes: Any,
    ) -> Record:
        settings = {"dataset": "market1501", "data_root": Path("nowhere"), **changes}
        config = RunConfig.model_validate({"attention": attention, "loss": loss, "seed": seed, **settings})
        generator = np.random.default_rng([seed, len(attention), len(loss)])
        precision = generator.beta(8 * quality, 8 * (1 - quality), queries).round(6)
        rank = generator.geometric(quality, queries)
        precision[0], rank[0] = np.nan, 0  # a query without a match
        hits = {f"rank-{k}": float((rank[1:] <= k).mean()) for k in (1, 5, 10)}
        return Record(
            directory=Path(config.name),
            config=config.determinants,
            metrics={"mAP": float(precision[1:].mean()), **hits},
            tables={
                "history": pd.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.0]}),
                "queries": pd.DataFrame(
                    {
                        "query": [f"{i:04d}_c1s1_000000_00.jpg" for i in range(queries)],
                        "average_precision": precision,
                        "first_match_rank": rank,
                    }
                ),
            },
            provenance={
                "commit": "0123456789abcdef",
                "dirty": True,
                "data": "fedcba9876543210",
                "versions": {"torch": "2.15.0"},
                "device": "CPU, 2 threads",
                "seconds": {"training": 90.0, "ranking": 30.0},
            },
        )

    return make
