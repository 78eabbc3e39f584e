"""Where in a picture the features of a trained network come from, against what the picture shows there.

For systems that choose: learned parts, regions, attention, a window. Where a data set knows what each pixel shows, the
choice is measured as heat maps are, see `reidkit.evaluation.localisation`.
"""

import pandas as pd
from torch import nn

from reidkit.data.part_maps import BODY, PERSON, has_part_maps, read_part_maps, showing
from reidkit.evaluation.localisation import evaluate_localisation
from reidkit.settings import Configuration
from reidkit.systems.system import Focused, Material
from reidkit.training import extract_features

SEGMENTS = {**BODY, "person": PERSON, "background": ("background",), "occluder": ("occluder",)}


def tables(network: nn.Module, material: Material, config: Configuration) -> dict[str, pd.DataFrame]:
    """What a record keeps of where a `Focused` network looks in the queries; nothing of others, or without part maps.

    - `focus`: a row per feature, numbered from 1, segment of SEGMENTS and measure, with the columns of
      `Localisation.rows`. An image counts where the segment is in sight.
    - `shares`: a row per query, and of each feature the mean of its map, such as how much of a picture is of a region.
    """
    if not isinstance(network, Focused) or not has_part_maps(material.dataset):
        return {}
    paths, people = material.dataset.query.paths, material.dataset.query.ids.numpy()
    maps = extract_features(network, material.images["query"], config, see=network.focus)  # (N, K, h, w)
    shown = read_part_maps(paths)  # (N, H, W)
    rows = [
        {"feature": feature, "segment": segment} | row
        for segment, parts in SEGMENTS.items()
        for feature, of_feature in enumerate(maps.unbind(1), start=1)
        for row in evaluate_localisation(of_feature, showing(shown, parts), clusters=people).rows()
    ]
    shares = pd.DataFrame(maps.mean((2, 3)).numpy(), columns=[str(k + 1) for k in range(maps.shape[1])])
    shares.insert(0, "query", [path.name for path in paths])
    return {"focus": pd.DataFrame(rows).round(6), "shares": shares.round(6)}
