"""The README's picture, the front page's chart of claims: `python -m reidkit.report.picture` draws it."""

from reidkit import claims
from reidkit.places import project_root
from reidkit.profile import Profile
from reidkit.published import PAPERS
from reidkit.report.chapters.claims import claims_chart
from reidkit.report.rows import plans_beside, runs_of
from reidkit.report.style import Drawing

PATH = project_root() / "book" / "_assets" / "answer.png"


def answer() -> Drawing:
    """What each claim of the joint-loss paper is worth, by the default book's records."""
    plans = plans_beside(Profile.read("synthped"))
    joint = {title: runs_of(plan, "joint-loss") for title, plan in plans.items()}
    return claims_chart(claims.JOINT_LOSS, PAPERS["joint-loss"][1], joint)


if __name__ == "__main__":
    figure, alt = answer()
    figure.savefig(PATH, dpi=150, metadata={"Description": alt})  # by which a test knows that it is up to date
