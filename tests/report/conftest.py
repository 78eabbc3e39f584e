"""Records with made-up queries and tables, for tests of what is shown of them, and what every figure must keep to."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from reidkit.data import AttributeGroup
from reidkit.models.backbone import STAGES
from reidkit.published import PAPERS, SAN_GAL_TABLE_1, TABLE_1
from reidkit.records import Record
from reidkit.report.localisation import MEASURES
from reidkit.settings import Configuration
from reidkit.systems import joint_loss
from reidkit.systems.attributes import AttributeConfig
from reidkit.systems.joint_loss import RunConfig
from reidkit.systems.san_gal import READINGS, SanGalConfig

mpl.use("agg")
CELLS = [row.cell for row in TABLE_1.rows if row.cell]
MARKET, DUKE = SAN_GAL_TABLE_1
EVERY_TABLE = [table for paper in PAPERS.values() for halves in paper.values() for table in halves]
MakeRecord = Callable[..., Record]
MakeLocalisation = Callable[[Mapping[str, float]], pd.DataFrame]
GROUP_LIST = (
    AttributeGroup("hat", ("no", "yes"), ("hat",)),
    AttributeGroup("age", ("young", "teenager", "adult", "old"), ("age",)),
    AttributeGroup("upper-body colour", ("none", "black", "red"), ("upblack", "upred")),
)


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    plt.close("all")


def written(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(mpl.text.Text))


def check_page(figure: Figure) -> None:
    figure.draw_without_rendering()
    inside, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert width <= 5.2
    assert min(inside.x0, inside.y0) >= -0.01  # nothing is cut off
    assert inside.x1 <= width + 0.01
    assert inside.y1 <= height + 0.01
    # a telephone shows a figure 3.4 inches wide; type below 6.5 points is not read there
    texts = [text for text in figure.findobj(mpl.text.Text) if text.get_visible() and text.get_text()]
    assert min(text.get_fontsize() for text in texts) * min(1, 3.4 / width) >= 6.5


def check_drawing(figure: Figure) -> None:
    """Its type is legible, no text is cut off or lies upon another, and each is inside of its box or outside of all."""
    figure.draw_without_rendering()
    texts = [text for text in figure.findobj(mpl.text.Text) if text.get_text()]
    # a telephone shows a figure 3.4 inches wide; type below 6.5 points is not read there
    assert figure.get_figwidth() <= 6.5
    assert min(float(text.get_fontsize()) for text in texts) * 3.4 / figure.get_figwidth() >= 6.5
    extents = [text.get_window_extent() for text in texts]
    for i, extent in enumerate(extents):
        assert figure.bbox.x0 <= extent.x0 < extent.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= extent.y0 < extent.y1 <= figure.bbox.y1
        assert not any(extent.overlaps(other) for other in extents[:i])
    for box in (patch.get_window_extent() for patch in figure.findobj(FancyBboxPatch)):
        for extent in extents:
            inside = box.x0 < extent.x0 and extent.x1 < box.x1 and box.y0 < extent.y0 and extent.y1 < box.y1
            assert inside or not box.overlaps(extent)


@pytest.fixture
def make_record() -> MakeRecord:
    """Of a cell of the joint-loss grid, in the paper's setting; `changes` are others."""

    def make(
        attention: str = "none",
        loss: str = "ce",
        seed: int = 0,
        *,
        queries: int = 200,
        quality: float = 0.6,
        **changes: Any,
    ) -> Record:
        settings = {"dataset": "market1501", "data_root": Path("nowhere"), **joint_loss.SYSTEM.reading, **changes}
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
        system=config.system,
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


@pytest.fixture
def scores() -> pd.DataFrame:
    """As a record's table: the hat is learned, age is not, the colour is worse than the majority."""
    rows = []
    for level in ("identity", "image"):
        for name, accuracy, balanced, majority, chance in (
            ("hat", 0.9, 0.8, 0.7, 0.5),
            ("age", 0.6, 0.25, 0.6, 0.25),
            ("upper-body colour", 0.3, 0.4, 0.5, 1 / 3),
        ):
            rows.append(
                {
                    "attribute": name,
                    "level": level,
                    "count": 10,
                    "accuracy": accuracy,
                    "balanced accuracy": balanced,
                    "majority accuracy": majority,
                    "majority balanced accuracy": chance,
                }
            )
    return pd.DataFrame(rows)


@pytest.fixture
def localisation() -> MakeLocalisation:
    """The table of a record whose maps are so much over the centre, by attribute, with intervals of ± 0.1."""

    def make(over: Mapping[str, float]) -> pd.DataFrame:
        rows = []
        for i, (field, gain) in enumerate(over.items()):
            for s, stage in enumerate(STAGES):
                for measure in MEASURES:
                    gain_here = gain - 0.05 * s
                    row: dict[str, Any] = {"attribute": field, "stage": stage, "measure": measure}
                    row |= {"images": 0 if np.isnan(gain) else 10, "blank": s, "random": 0.1 + 0.01 * i, "centre": 0.3}
                    row |= {"map": 0.3 + gain_here, "map low": 0.2 + gain_here, "map high": 0.4 + gain_here}
                    for baseline, value in (("centre", 0.3), ("random", row["random"])):
                        difference = 0.3 + gain_here - value
                        row |= {f"over {baseline}": difference}
                        row |= {f"over {baseline} low": difference - 0.1, f"over {baseline} high": difference + 0.1}
                    rows.append(row)
        return pd.DataFrame(rows)

    return make
