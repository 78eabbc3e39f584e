"""What the chapters show of attributes: the numbers in words, tables and figures against plain loops."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from matplotlib.patches import Rectangle

from reidkit.losses import attribute_loss
from reidkit.profile import Profile
from reidkit.report.chapters import attribute_network as shown
from reidkit.systems.attributes import AttributeNetwork
from tests.report.conftest import GROUP_LIST, check_page


@pytest.fixture
def labels() -> torch.Tensor:
    return torch.tensor([[0, 2, 1], [0, 2, 2], [0, 1, 2], [1, 2, -1]])


def test_the_class_table_has_the_groups_of_both_files() -> None:
    table = shown.class_table().set_index("Group")
    assert table["Market-1501"].count() == 12
    assert table["DukeMTMC-reID"].count() == 10
    assert list(table.loc["hat"]) == ["no, yes", "no, yes"]
    assert "boots" not in table["Market-1501"].dropna()


def test_class_balance_counts_the_known_labels(labels: Any) -> None:
    figure, alt = shown.class_balance(GROUP_LIST, labels)
    assert "4 training identities" in alt
    assert "hat: no 75.0, yes 25.0" in alt
    assert "age: adult 75.0, teenager 25.0, young 0.0, old 0.0" in alt
    assert "upper-body colour: red 66.7, black 33.3, none 0.0" in alt  # of the three that are known
    widths = [patch.get_width() for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    assert sum(widths) == pytest.approx(300)


def test_constant_loss_is_the_lowest_loss_of_a_constant_answer(labels: Any) -> None:
    sizes = (2, 4, 3)
    logits = [torch.zeros(size, dtype=torch.float64, requires_grad=True) for size in sizes]
    optimizer = torch.optim.LBFGS(logits, max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = attribute_loss([z.expand(len(labels), -1) for z in logits], labels)
        loss.backward()
        return loss

    for _ in range(5):
        optimizer.step(closure)
    assert closure().item() == pytest.approx(shown.constant_loss(labels), abs=1e-3)


def test_the_head_table_has_what_came_by() -> None:
    network = AttributeNetwork([2, 4, 3], [1, 1, 2], width_multiplier=0.125)
    table = shown.head_table(network, GROUP_LIST, 64, 32)
    assert table["Logits"].tolist() == ["2", "4", "3", "9"]
    assert table["Heat maps"].tolist() == ["1", "1", "2", "4"]
    assert set(table["Given"]) == {"256"}
    held = [int(text.replace(",", "")) for text in table["Parameters"]]
    assert held[:3] == [2 * 256 + 257 * classes for classes in (2, 4, 3)]
    assert held[3] == sum(held[:3])


def test_guessed_counts_what_one_group_says_of_another() -> None:
    labels = torch.tensor([[0, 0, 1], [0, 0, 1], [0, 1, 1], [1, 1, 2], [1, 1, -1]])
    told, majority = shown.guessed(labels, GROUP_LIST, "age", "upper-body colour")
    assert told == pytest.approx(3 / 4)  # red: age 0 twice of three, black: the only one; the fifth is not known
    assert majority == pytest.approx(2 / 4)
    assert shown.guessed(labels, GROUP_LIST, "hat", "hat") == (1.0, 3 / 5)


def test_score_tables_are_in_per_cent_with_their_mean(scores: pd.DataFrame) -> None:
    table = shown.score_table(scores)
    assert table.iloc[0].tolist() == ["hat", *["90.0", "70.0", "80.0", "50.0"] * 2]
    assert table.iloc[-1].tolist() == ["mean", *["60.0", "60.0", "48.3", "36.1"] * 2]
    both = shown.mean_table({"here": scores, "there": None})
    assert both["Counted"].tolist() == ["people", "images", "not run"]
    assert both.iloc[2, 2:].tolist() == ["–"] * 4
    assert both.iloc[0, 2:].tolist() == ["60.0", "60.0", "48.3", "36.1"]


@pytest.mark.parametrize(
    ("change", "says", "says_not"),
    [
        (0.1, "beats the majority class, by", "learned nothing"),
        (0.0, "does **not** beat", "beats"),
        (-0.1, "does **not**", "beats"),
    ],
)
def test_a_network_that_does_not_beat_the_majority_has_learned_nothing(
    scores: pd.DataFrame, change: float, says: str, says_not: str
) -> None:
    scores["accuracy"] = scores["majority accuracy"] + change
    text = shown.what_was_learned(scores, "these")
    assert says in text
    assert says_not not in text
    assert ("learned nothing" in text) == (change <= 0)
    assert ("10.0 points" in text) == (change != 0)


def test_the_groups_that_were_not_learned_are_named(scores: pd.DataFrame) -> None:
    text = shown.what_was_learned(scores, "these")
    assert "ahead of the majority class in 1 of 3 groups, and not in age and upper-body colour" in text


def test_the_balanced_chart_is_sorted_by_gain(scores: pd.DataFrame) -> None:
    figure, alt = shown.balanced_chart(scores)
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == ["hat", "upper-body colour", "age"]
    assert "hat: people 80.0, images 80.0, a constant answer 50.0" in alt


def test_attributes_of_a_data_set_that_is_not_here(tmp_path: Path) -> None:
    config = Profile.read("market1501-small", data_root=str(tmp_path)).config("attributes")
    assert shown.attributes_at_hand(config) is None


def test_every_figure_fits_a_page_and_is_legible_on_a_telephone(labels: torch.Tensor, scores: pd.DataFrame) -> None:
    for figure, alt in (shown.class_balance(GROUP_LIST, labels), shown.balanced_chart(scores)):
        assert alt.strip()
        check_page(figure)
