"""Every number that the papers print, as data. Nothing in this file was measured by us.

Scores are in per cent, digit for digit as printed. Metrics, data sets and rows carry the names that `reidkit`
uses for them, so that a printed row and a record can be laid side by side.

Paper A: Li & Wang 2021, "Person Re-Identification Based on Joint Loss and Multiple Attention Mechanism".
Paper B: Hou et al. 2021, "SAN-GAL: Spatial Attention Network Guided by Attribute Label for Person Re-identification".
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One row of a printed table: a method and its scores in per cent."""

    method: str
    scores: Mapping[str, float]
    cell: str | None = None  # the row of `reidkit.systems` that it is, where it is the paper's own


@dataclass(frozen=True)
class Table:
    """A printed table, or the half of it that is about one data set.

    `weights` are those that its own rows start from: "none" or "imagenet".
    """

    paper: str
    number: int
    title: str
    dataset: str
    weights: str
    rows: tuple[Row, ...]

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(self.rows[0].scores)

    @property
    def cells(self) -> tuple[str, ...]:
        """The paper's own rows that this table reports, in its own order."""
        return tuple(row.cell for row in self.rows if row.cell)

    def row(self, method: str) -> Row:
        for row in self.rows:
            if row.method == method:
                return row
        methods = ", ".join(row.method for row in self.rows)
        raise KeyError(f"Table {self.number} of {self.paper} has no row {method!r}; it has: {methods}")


def _rows(metrics: tuple[str, ...], *printed: tuple[str, tuple[float, ...], str | None]) -> tuple[Row, ...]:
    return tuple(Row(method, dict(zip(metrics, scores, strict=True)), cell) for method, scores, cell in printed)


LI_WANG = "Li & Wang 2021"
OURS = "cbam/ce+tri+cir"  # the method that the paper proposes

TABLE_1 = Table(
    LI_WANG,
    1,
    "Attention mechanisms and loss functions",
    "market1501",
    "none",
    _rows(
        ("rank-1", "rank-5", "rank-10", "mAP"),
        ("Baseline", (83.67, 93.62, 95.78, 65.05), "none/ce"),
        ("Baseline(+Tri)", (84.00, 94.60, 96.53, 66.28), "none/ce+tri"),
        ("Baseline(+SE)", (88.06, 95.93, 97.80, 73.43), "se/ce"),
        ("Baseline(+DANet)", (89.52, 96.85, 97.89, 73.43), "danet/ce"),
        ("Baseline(+Non-local)", (91.69, 96.82, 97.92, 79.38), "nonlocal/ce"),
        ("Baseline(+ECA)", (91.92, 96.38, 97.98, 78.31), "eca/ce"),
        ("Baseline(+Tri Cir)", (91.69, 97.24, 98.28, 78.26), "none/ce+tri+cir"),
        ("Ours", (92.4, 96.82, 98.16, 79.70), OURS),
    ),
)

TABLE_2 = Table(
    LI_WANG,
    2,
    "Comparison with other methods on Market-1501",
    "market1501",
    "imagenet",
    _rows(
        ("rank-1", "mAP"),
        ("SVDNet", (82.3, 62.1), None),
        ("AACN", (85.9, 66.9), None),
        ("HAC", (89.0, 71.25), None),
        ("DPFL", (88.6, 72.6), None),
        ("DaRe", (89.0, 76.0), None),
        ("GP-reid", (92.2, 81.2), None),
        ("PCB", (92.3, 77.4), None),
        ("Alignedreid", (92.6, 82.3), None),
        ("PCB+RPP", (93.8, 81.6), None),
        ("IANet", (94.4, 83.1), None),
        ("OSNet", (94.8, 84.9), None),
        ("Ours", (94.45, 85.78), OURS),
    ),
)

TABLE_3 = Table(
    LI_WANG,
    3,
    "Comparison with other methods on DukeMTMC-reID",
    "dukemtmcreid",
    "imagenet",
    _rows(
        ("rank-1", "mAP"),
        ("SVDNet", (76.7, 56.8), None),
        ("AACN", (76.8, 58.3), None),
        ("HAC", (78.5, 60.3), None),
        ("DPFL", (79.2, 60.0), None),
        ("DaRe", (80.2, 64.5), None),
        ("GP-reid", (85.2, 72.8), None),
        ("PCB", (81.9, 65.3), None),
        ("PCB+RPP", (83.3, 69.2), None),
        ("IANet", (87.1, 73.4), None),
        ("OSNet", (88.6, 73.5), None),
        ("Ours", (88.6, 76.9), OURS),
    ),
)

TABLE_4 = Table(
    LI_WANG,
    4,
    "Comparison with other methods on MSMT17",
    "msmt17",
    "imagenet",
    _rows(
        ("rank-1", "mAP"),
        ("PCB", (68.2, 40.4), None),
        ("IANet", (75.5, 45.8), None),
        ("Auto-ReID", (78.2, 52.5), None),
        ("OSNet", (78.7, 52.9), None),
        ("Circle Loss", (76.9, 52.1), None),
        ("Ours", (79.44, 53.57), OURS),
    ),
)

JOINT_LOSS = {table.number: table for table in (TABLE_1, TABLE_2, TABLE_3, TABLE_4)}  # paper A's tables by number


@dataclass(frozen=True)
class Gain:
    """A gain over the baseline that the running text states, in points."""

    metric: str
    stated: float


STATED_GAINS = (Gain("rank-1", 8.73), Gain("mAP", 14.45))  # Section 4, of Ours over Baseline in Table 1


@dataclass(frozen=True)
class Setting:
    """One setting of the paper's experiments. `printed` is None where the paper prints none."""

    name: str
    printed: str | None
    keys: tuple[str, ...] = ()  # the fields of a run's configuration that hold it


FALL = ("schedule", "cosine_from", "decay", "milestones")  # how the learning rate falls

# Section 4, in the paper's order, then what a rerun needs and the paper does not print.
SETTINGS = (
    Setting("data set of the ablation", "Market1501", ("dataset",)),
    Setting("backbone", "ResNet50", ("width_multiplier",)),
    Setting("initial weights, Table 1", "no pre-training model", ("weights",)),
    Setting("initial weights, Tables 2–4", "ImageNet"),
    Setting("input size", "256×128", ("image_height", "image_width")),
    Setting("learning rate", "0.00035", ("learning_rate",)),
    Setting("batch size", "64", ("batch_size",)),
    Setting("graphics card", "GTX1080"),
    Setting("software", "Ubuntu16.04, Pytorch1.5, python3.6"),
    Setting("images per identity", None, ("images_per_identity",)),
    Setting("sampling", None, ("sampling",)),
    Setting("optimiser", None, ("optimizer",)),
    Setting("weight decay", None, ("weight_decay",)),
    Setting("epochs", None, ("epochs",)),
    Setting(
        "learning-rate schedule",
        None,
        ("warmup_epochs", "warmup_factor", *FALL),
    ),
    Setting("augmentation", None, ("flip_probability", "padding", "erasing_probability")),
    Setting("label smoothing", None, ("label_smoothing",)),
    Setting("triplet margin", None, ("triplet_margin",)),
    Setting("circle scale and margin", None, ("circle_scale", "circle_margin")),
    Setting("last stride", None, ("last_stride",)),
    Setting("where each attention module sits", None),
    Setting("feature and distance of the retrieval", None),
    Setting("convention of the average precision", None),
)


HOU = "Hou et al. 2021"
SAN_GAL_OURS = "ID+attrAttention"  # the method that paper B proposes


def _halves(
    number: int, title: str, *printed: tuple[str, tuple[float, float, float, float], str | None]
) -> tuple[Table, Table]:
    """A table of paper B as one per data set: rank-1 and mAP on Market1501, then rank-1 and mAP on DukeMTMC-reID."""
    market, duke = (
        tuple(
            Row(method, dict(zip(("rank-1", "mAP"), scores[i : i + 2], strict=True)), cell)
            for method, scores, cell in printed
        )
        for i in (0, 2)
    )
    return (
        Table(HOU, number, f"{title}, Market-1501", "market1501", "imagenet", market),
        Table(HOU, number, f"{title}, DukeMTMC-reID", "dukemtmcreid", "imagenet", duke),
    )


# "Pre-trained ResNet50" is all that is said of the initial weights; read as ImageNet's.
SAN_GAL_TABLE_1 = _halves(
    1,
    "Ablation",
    ("IDonly (baseline)", (92.6, 81.3, 82.3, 72.2), "IDonly"),
    ("ID+attr", (92.4, 82.1, 82.4, 72.4), "ID+attr"),
    ("ID+attrAttention (our SAN-GAL)", (94.4, 83.9, 85.8, 74.1), SAN_GAL_OURS),
)

SAN_GAL_TABLE_2 = _halves(
    2,
    "Comparison with other methods",
    ("SVDNet", (82.3, 62.1, 76.7, 56.8), None),
    ("PAN", (82.2, 63.4, 71.6, 51.5), None),
    ("DuATM", (91.4, 76.6, 81.8, 64.6), None),
    ("PCB", (92.3, 77.4, 81.8, 66.1), None),
    ("SPReID", (92.5, 81.3, 84.4, 70.1), None),
    ("VPM", (93.0, 80.8, 83.6, 72.6), None),
    ("AANet", (93.9, 83.4, 87.7, 74.3), None),
    ("IANet", (94.4, 83.1, 87.1, 73.4), None),
    ("SAN-GAL (ours)", (94.4, 83.9, 85.8, 74.1), SAN_GAL_OURS),
    ("BFE", (95.3, 86.2, 88.9, 75.9), None),
)

SAN_GAL_TABLES = {1: SAN_GAL_TABLE_1, 2: SAN_GAL_TABLE_2}  # paper B's tables by number
PAPERS: dict[str, dict[int, tuple[Table, ...]]] = {
    "joint-loss": {number: (table,) for number, table in JOINT_LOSS.items()},
    "san-gal": {**SAN_GAL_TABLES},
}

# Every difference that Sections 4.2 and 4.3 state: (table, data set, row, the row it is compared with, gain).
SAN_GAL_STATED = (
    (1, "market1501", "ID+attr", "IDonly (baseline)", Gain("mAP", 0.8)),
    (1, "dukemtmcreid", "ID+attr", "IDonly (baseline)", Gain("mAP", 0.2)),
    (1, "market1501", "ID+attr", "IDonly (baseline)", Gain("rank-1", -0.2)),
    (1, "dukemtmcreid", "ID+attr", "IDonly (baseline)", Gain("rank-1", 0.1)),
    (1, "market1501", "ID+attrAttention (our SAN-GAL)", "ID+attr", Gain("rank-1", 2.0)),
    (1, "dukemtmcreid", "ID+attrAttention (our SAN-GAL)", "ID+attr", Gain("rank-1", 3.4)),
    (2, "market1501", "SAN-GAL (ours)", "PAN", Gain("rank-1", 12.2)),
    (2, "market1501", "SAN-GAL (ours)", "PAN", Gain("mAP", 20.5)),
    (2, "dukemtmcreid", "SAN-GAL (ours)", "PAN", Gain("rank-1", 14.2)),
    (2, "dukemtmcreid", "SAN-GAL (ours)", "PAN", Gain("mAP", 22.6)),
    (2, "market1501", "SAN-GAL (ours)", "VPM", Gain("mAP", 3.1)),
    (2, "market1501", "SAN-GAL (ours)", "BFE", Gain("rank-1", -0.9)),
)

# The number in brackets behind each method of Table 2, and whose article the list of references gives for it.
SAN_GAL_REFERENCES = {
    "SVDNet": (24, "Sun et al. 2017"),
    "PAN": (25, "Zheng et al. 2018"),
    "DuATM": (26, "Si et al. 2018"),
    "PCB": (27, "Sun et al. 2018"),
    "SPReID": (28, "Kalayeh et al. 2018"),
    "VPM": (29, "Tay et al. 2019"),
    "AANet": (29, "Tay et al. 2019"),
    "IANet": (30, "Hou et al. 2019"),
    "BFE": (31, "Dai et al. 2019"),
}

SAN_GAL_COUNTS = {"total": 32688, "train": 12936, "query": 3368, "gallery": 16384}  # of Market1501, Sect. 4.1.1

# Sections 3.1 and 4.1 on the re-identification network, in the paper's order; then what it does not print.
SAN_GAL_SETTINGS = (
    Setting("data sets", "DukeMTMC-reID, Market1501", ("dataset",)),
    Setting("backbone", "ResNet50", ("width_multiplier",)),
    Setting("initial weights", "pre-trained", ("weights",)),
    Setting("identification loss", "cross-entropy"),
    Setting("distance loss", "triplet", ("triplet",)),
    Setting("attribute loss", "cross-entropy", ("attribute_weight",)),
    Setting("attribute pre-training module", "in the first 10 epochs", ("attribute_epochs",)),
    Setting("heat maps", "calculated offline"),
    Setting("graphics card", "GTX 1080TI"),
    Setting("software", "Ubuntu18.04, CUDA 10.2, PyTorch 1.6.0"),
    Setting("input size", "256×128", ("image_height", "image_width")),
    Setting("augmentation", "random erasing, image expansion", ("flip_probability", "padding", "erasing_probability")),
    Setting("optimiser", "SGD", ("optimizer",)),
    Setting("learning rate", "1e-3", ("learning_rate",)),
    Setting("warm-up", "from 3e-5 in the first training epochs", ("warmup_epochs", "warmup_factor")),
    Setting("learning-rate schedule", "5e-4, 1e-4, 3e-5 in the 5th, 7th, 15th epoch", FALL),
    Setting("epochs", "20", ("epochs",)),
    Setting("momentum", None),
    Setting("batch size", None, ("batch_size",)),
    Setting("images per identity", None, ("images_per_identity",)),
    Setting("sampling", None, ("sampling",)),
    Setting("weight decay", None, ("weight_decay",)),
    Setting("label smoothing", None, ("label_smoothing",)),
    Setting("triplet margin", None, ("triplet_margin",)),
    Setting("last stride", None, ("last_stride",)),
    Setting("feature and distance of the retrieval", None),
    Setting("convention of the average precision", None),
)

# The same of the attribute network, of which little is said apart.
SAN_GAL_ATTRIBUTE_SETTINGS = (
    Setting("backbone", "the same structure, parameters not shared", ("width_multiplier",)),
    Setting("initial weights", "pre-trained", ("weights",)),
    Setting("epochs", "pre-training completed in advance", ("epochs",)),
    Setting("optimiser", None, ("optimizer",)),
    Setting("learning rate", None, ("learning_rate",)),
    Setting("warm-up", None, ("warmup_epochs", "warmup_factor")),
    Setting("learning-rate schedule", None, FALL),
    Setting("batch size", None, ("batch_size",)),
    Setting("augmentation", None, ("flip_probability", "padding", "erasing_probability")),
)
