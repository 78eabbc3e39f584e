"""Records with made-up queries, for tests of what is shown of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reidkit.experiments import READINGS, AttributeConfig, Configuration, RunConfig, SanGalConfig
from reidkit.models.san_gal import STAGES
from reidkit.records import Record

MakeRecord = Callable[..., Record]


@pytest.fixture
def make_record() -> MakeRecord:
    """Of a cell of the joint-loss grid; `changes` are settings."""

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
        return _record(config, [seed, len(attention), len(loss)], queries, quality)

    return make


@pytest.fixture
def make_san_gal_record() -> MakeRecord:
    """Of a row or a reading of SAN-GAL, with an attention table where a run leaves one.

    `changes` are settings of both networks, `attributes` of the attribute network alone.
    """

    def make(
        name: str = "IDonly",
        seed: int = 0,
        *,
        queries: int = 200,
        quality: float = 0.6,
        spread: float = 0.1,
        attributes: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Record:
        row, _, reading = name.partition("/")
        settings = {"dataset": "market1501", "data_root": Path("nowhere"), **changes}
        values = settings | READINGS.get(reading, {}) | {"row": row, "seed": seed}
        if row == "ID+attrAttention":
            values["attributes"] = AttributeConfig.model_validate(settings | (attributes or {}))
        config = SanGalConfig.model_validate(values)
        record = _record(config, [seed, *name.encode()], queries, quality)
        if config.attributes is not None and not config.online:
            columns = {"stage": STAGES, "std": [(i + 1) * spread for i in range(3)], "5 %": 0.5, "95 %": 0.5 + spread}
            record.tables["attention"] = pd.DataFrame(columns)
        return record

    return make


def _record(config: Configuration, entropy: list[int], queries: int, quality: float) -> Record:
    generator = np.random.default_rng(entropy)
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
