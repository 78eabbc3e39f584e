"""The explorer as one piece of HTML: its data, the script that draws them, and what is read where no script runs."""

import json
from collections.abc import Container, Mapping, Sequence
from importlib.resources import files
from typing import Any

from reidkit.report.explorer.contents import contents
from reidkit.report.explorer.experiments import Experiment
from reidkit.report.markup import markup


class Explorer:
    """What a cell shows, in JupyterLab and in the book.

    linked: the names of the records that have a page beside this one. addressed: whether the address of the page
    follows what is chosen; JupyterLab's is its own. start: what is chosen at first, as the address says it, such as
    {"b": "synthped:se/ce"}; unless given, the baseline and the best of its system's other rows. Raises as `contents`.
    """

    def __init__(
        self,
        experiments: Sequence[Experiment],
        linked: Container[str] = (),
        addressed: bool = True,
        start: Mapping[str, str] | None = None,
    ) -> None:
        self.contents: dict[str, Any] = contents(experiments, linked)
        self.contents |= {"addressed": addressed, "start": dict(start or {})}

    def _repr_html_(self) -> str:
        data = json.dumps(self.contents, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return (
            f'<div class="rx rx-explorer"><style>{markup("style.css")}</style><noscript><p>{NO_SCRIPT}</p></noscript>'
            f'<script type="application/json">{data.replace("<", chr(92) + "u003c")}</script>'
            f"<script>{SCRIPT}</script></div>"
        )

    def __repr__(self) -> str:
        return "The ablation explorer, which needs a browser."


NO_SCRIPT = "The explorer needs scripts, which are turned off here. The plain tables further down say the same."
SCRIPT = files("reidkit.report").joinpath("templates", "explorer.js").read_text(encoding="utf-8")
