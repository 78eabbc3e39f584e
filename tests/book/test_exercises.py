"""What the exercises' solutions and the answers under the questions say, worked out.

Each test reads its number from the chapter's text.
"""

import math
import re
from pathlib import Path

import pytest
import torch
from scipy.stats import binomtest

from reidkit.evaluation import evaluate_ranking
from reidkit.evaluation.localisation import evaluate_localisation
from reidkit.losses import BatchHardTripletLoss
from reidkit.models import ResNet50
from reidkit.models.attention import EfficientChannelAttention, SqueezeExcitation
from reidkit.models.heads import CircleSoftmax
from reidkit.published import SAN_GAL_SETTINGS, SAN_GAL_TABLE_1, TABLE_1
from reidkit.report.chapters.comparison import RIVALS
from reidkit.systems import joint_loss, san_gal
from reidkit.systems.san_gal import block_of_channel

BOOK = Path(__file__).parents[2] / "book"


def solutions(chapter: str) -> list[str]:
    """The texts of a chapter's solutions, in order, each on one line."""
    text = (BOOK / f"{chapter}.md").read_text(encoding="utf-8")
    found = re.findall(r"```\{admonition\} Solution\n:class: dropdown\n(.*?)```", text, re.S)
    return [" ".join(solution.split()) for solution in found]


def page(name: str) -> str:
    """The text of a page, on one line."""
    return " ".join((BOOK / f"{name}.md").read_text(encoding="utf-8").split())


def answer(chapter: str) -> str:
    """The paragraph under a chapter's question, on one line."""
    text = (BOOK / f"{chapter}.md").read_text(encoding="utf-8")
    return " ".join(text.partition("\n*Question:")[2].split("\n\n")[1].split())


@pytest.mark.parametrize("chapter", [path.stem for path in BOOK.glob("*.md") if "## Exercises" in path.read_text()])
def test_every_exercise_has_a_folded_solution(chapter: str) -> None:
    text = (BOOK / f"{chapter}.md").read_text(encoding="utf-8").partition("## Exercises")[2]
    executed = text.count(":tags: [hide-cell]")  # by the build, with an assertion of its own
    assert len(re.findall(r"^\d\. ", text, re.M)) == len(solutions(chapter)) + executed >= 2


def test_average_precision_in_both_conventions() -> None:
    query, gallery = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [1.0, 0.3]])
    ids, cameras = torch.tensor([1, 2, 3, 1]), torch.ones(4, dtype=torch.int64)
    both = [
        evaluate_ranking(
            query, gallery, torch.tensor([1]), ids, torch.tensor([0]), cameras, average_precision=convention
        ).mAP
        for convention in ("rectangular", "trapezoid")
    ]
    said = solutions("task-and-data")[0]
    assert f"= {both[0]:.2f}$" in said
    assert rf"\approx {both[1]:.2f}$" in said


def test_weights_of_the_gates() -> None:
    eca, se = (
        sum(p.numel() for p in m(512).parameters() if p.ndim > 1)
        for m in (EfficientChannelAttention, SqueezeExcitation)
    )
    said = solutions("attention-modules")[0]
    assert f"{eca} weights" in said
    assert f"{se:,}" in said


def test_a_collapsed_network_and_the_angle_of_the_margin() -> None:
    collapsed = BatchHardTripletLoss(margin=0.3)(torch.ones(8, 4), torch.arange(8) // 2)
    assert f"the loss is {collapsed:.1f}" in solutions("losses")[0]
    boundary = math.sqrt(2) * 0.35  # the cosine at which one sure of its own class is content with another
    right, wrong = CircleSoftmax(2, 2, 64, 0.35).logits(torch.tensor([[1, boundary]]), torch.tensor([0]))[0].tolist()
    assert right == pytest.approx(wrong, abs=1e-4)
    angle = math.degrees(math.acos(boundary))
    assert rf"\approx {boundary:.3f}$, an angle of {angle:.1f}°" in solutions("losses")[1]
    assert int(360 / angle) == 5
    assert "five directions fit" in solutions("losses")[1]
    assert f"{math.log(2):.2f}" in solutions("recipe")[0]


def test_sigmoids_and_probabilities() -> None:
    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    beta, twice = sigmoid(1), (sigmoid(sigmoid(0)), sigmoid(1))
    scaled = (sigmoid(0), sigmoid(beta))  # of maps that are scaled to 0–1, by one sigmoid and by two
    assert rf"\sigma({beta:.3f}) \approx {scaled[1]:.3f}$" in solutions("san-gal")[0]
    again = sigmoid(scaled[1]) / sigmoid(scaled[0])
    assert f"{scaled[1] / scaled[0]:.2f}, instead of {again:.2f}" in solutions("san-gal")[0]
    assert f"{twice[0]:.3f}" in solutions("san-gal-experiments")[0]
    assert f"{twice[1] / twice[0]:.3f}" in solutions("san-gal-experiments")[0]
    assert f"{0.99 * 0.01:.4f}" in solutions("heat-maps")[0]
    assert f"about {0.25 / (0.99 * 0.01):.0f} times" in solutions("heat-maps")[0]


def test_the_interval_of_a_share() -> None:
    ours = TABLE_1.row("Ours").scores["rank-1"]
    error = 100 * math.sqrt(ours / 100 * (1 - ours / 100) / 3368)
    said = solutions("experiments")[0]
    assert rf"\approx {error:.2f}$ points" in said
    assert f"±{1.96 * error:.1f} points" in said
    near = [row for row in TABLE_1.rows if row.method != "Ours" and ours - row.scores["rank-1"] < 0.8]
    assert f"{['', 'One', 'Two', 'Three', 'Four'][len(near)]} of the paper's" in said


def test_a_constant_map_has_the_regions_share() -> None:
    region = torch.zeros(1, 10, 10, dtype=torch.bool)
    region[0, 0] = True
    found = evaluate_localisation(torch.ones(1, 5, 5), region, resamples=1)
    scores = {float(m.map.mean) for m in (found.pointing, found.energy, found.iou)}
    assert all(f"{score:.1f}" == "0.1" for score in scores)
    assert "All three are 0.1" in solutions("localisation")[0]


def test_how_small_a_difference_between_two_methods_on_the_same_queries_can_be() -> None:
    said = solutions("open-questions")[1]
    assert f"{0.006 * 3368:.0f} queries" in said
    assert "two chances in a million" in said
    assert round(1e6 * binomtest(20, 20).pvalue) == 2
    assert "one in three" in said
    assert round(1 / binomtest(220, 420).pvalue) == 3


def test_blocks_of_channels_and_queries_lost() -> None:
    blocks = block_of_channel(27, 1024, torch.device("cpu")).bincount()
    assert set(blocks.tolist()) == {37, 38}
    assert f"there are {(blocks == 38).sum()}." in solutions("san-gal-open-questions")[0]
    alone, attributes = (row.scores["rank-1"] for row in SAN_GAL_TABLE_1[0].rows[:2])
    assert round((alone - attributes) / 100 * 3368) == 7
    assert solutions("san-gal-open-questions")[1].startswith("Seven.")


def test_what_pages_count() -> None:
    systems = sum(rival.row is not None for rival in RIVALS)
    assert systems == 16
    assert "beside sixteen other systems" in page("index")
    with torch.device("meta"):  # parameters without memory
        small, full = (sum(p.numel() for p in ResNet50(width_multiplier=w).parameters()) / 1e6 for w in (0.25, 1))
    assert f"{small:.1f} million weights instead of {full:.1f}" in page("limitations")
    joint = 3 * (len(joint_loss.GRID) + len(joint_loss.CONTROLS))
    guided = 2 * 3 * (len(san_gal.ROWS) + len(san_gal.READINGS) + len(san_gal.CONTROLS))
    full_method, attributes = 3 * 3, 2
    assert f"These are {joint + guided + full_method + attributes} runs" in page("beyond-one-machine")


def test_answers_under_the_questions() -> None:
    ours = TABLE_1.row("Ours").scores["rank-1"]
    error = 196 * math.sqrt(ours / 100 * (1 - ours / 100) / 3368)
    near = [row for row in TABLE_1.rows if row.method != "Ours" and ours - row.scores["rank-1"] < error]
    assert len(near) == 3
    assert f"three other rows lie within the ± {error:.1f} points" in answer("open-questions")
    missing = sum(setting.printed is None for setting in SAN_GAL_SETTINGS)
    assert f"{missing} of {len(SAN_GAL_SETTINGS)} settings" in answer("san-gal-open-questions")
    low, high = (1 / (1 + math.exp(-alpha)) for alpha in (0.5, 1))
    assert f"between {low:.2f} and {high:.2f}, a ratio of {high / low:.2f}" in answer("san-gal")
