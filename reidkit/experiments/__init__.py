"""Experiments: a `Profile` (one file of `parameters/`) plans runs, each a configuration of a kind; `run` makes them.

`RunConfig` is a cell of the joint-loss paper's grid. Every configuration has a name that ends in a hash of everything
that determines its numbers; `run` loads the finished record of that name or trains it.
"""

from reidkit.experiments.joint_loss import GRID, TABLE_1, Cell, RunConfig, build_network, load_network
from reidkit.experiments.profile import Profile, parameter_file, repeat
from reidkit.experiments.runs import (
    OnlyOne,
    Run,
    check_data,
    find_record,
    measure,
    open_dataset,
    rank_features,
    render_synthped,
    run,
    save_weights,
    weights_path,
)
from reidkit.experiments.san_gal import READINGS, ROWS, SAN_GAL, AttributeConfig, SanGalConfig
from reidkit.experiments.settings import (
    REVISION,
    Configuration,
    ParameterError,
    Settings,
    build_root,
    nearest,
    project_root,
    record_roots,
    validate,
)

__all__ = [
    "GRID",
    "READINGS",
    "REVISION",
    "ROWS",
    "SAN_GAL",
    "TABLE_1",
    "AttributeConfig",
    "Cell",
    "Configuration",
    "OnlyOne",
    "ParameterError",
    "Profile",
    "Run",
    "RunConfig",
    "SanGalConfig",
    "Settings",
    "build_network",
    "build_root",
    "check_data",
    "find_record",
    "load_network",
    "measure",
    "nearest",
    "open_dataset",
    "parameter_file",
    "project_root",
    "rank_features",
    "record_roots",
    "render_synthped",
    "repeat",
    "run",
    "save_weights",
    "validate",
    "weights_path",
]
