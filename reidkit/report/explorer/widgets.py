"""The explorer itself: dropdowns linked to stacks of panels, which work without a kernel."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ipywidgets
from ipywidgets import HTML, Dropdown, Layout, Stack, VBox

from reidkit.models.backbone import STAGES
from reidkit.report.explorer.experiments import Experiment
from reidkit.report.explorer.panels import row_panel
from reidkit.report.explorer.pictures import QUERIES, list_panel, pictures
from reidkit.report.markup import markup


def explorer(chosen: Sequence[Experiment], links: bool = True) -> VBox:
    """The explorer of some experiments, as widgets that work without a kernel; `links` as for `row_panel`.

    Raises ValueError where there is nothing to choose from.
    """
    if not chosen:
        raise ValueError("no experiment to explore: the profile runs no system that ranks")
    make = _Widgets()
    data, query, stage = (
        make.choice("Data", [experiment.name for experiment in chosen]),
        make.choice("Query", QUERIES),
        make.choice("Stage", STAGES),
    )
    choices: dict[str, list[Dropdown]] = {}  # by system: what a row is chosen by
    pages = []
    for number, experiment in enumerate(chosen):
        found = pictures(experiment, f"rx-{number}")
        columns = {}
        maps: dict[int, Stack] = {}
        for row in experiment.rows:
            parts = [make.panel(row_panel(experiment, row, links))]
            if found and row in found.top:
                record = experiment.records[row][0]
                lists = [list_panel(found, row, place, record) for place in range(len(QUERIES))]
                parts += [query, make.stack(query, map(make.panel, lists))]
            if found and row in found.heat:
                panels = found.heat[row]  # the same ones for all rows with one guide: they stand in the page once
                if id(panels) not in maps:
                    maps[id(panels)] = make.stack(query, [make.stack(stage, map(make.panel, p)) for p in panels])
                parts += [stage, maps[id(panels)]]
            columns[row] = make.column(*parts)
        system = experiment.system
        own = system.choices or {"Run": {row: experiment.label(row) for row in experiment.rows}}
        if system.name not in choices:
            choices[system.name] = [make.choice(name, titles.values()) for name, titles in own.items()]
        controls = choices[system.name]
        shown = make.nested(controls, [list(titles) for titles in own.values()], columns)
        pages.append(make.column(make.panel(found.style if found else ""), *controls, shown))
    style = f"<style>{markup('style.css')}</style>"
    return make.column(make.panel(style), data, make.stack(data, pages))


class _Widgets:
    """Makes widgets that share their layouts and styles: each of those takes a kilobyte of the page."""

    def __init__(self) -> None:
        self.text, self.wide = HTML(), Layout(width="100%", overflow="visible")
        self.dropdown = Dropdown(layout=Layout(width="auto", max_width="26rem"), style={"description_width": "5rem"})

    def panel(self, text: str) -> HTML:
        return HTML(str(text), layout=self.text.layout, style=self.text.style)

    def column(self, *children: Any) -> VBox:
        return VBox(children, layout=self.wide)

    def choice(self, description: str, options: Iterable[str]) -> Dropdown:
        shared = {"layout": self.dropdown.layout, "style": self.dropdown.style}
        return Dropdown(options=list(options), description=description, **shared)

    def stack(self, choice: Dropdown, children: Iterable[Any]) -> Stack:
        """Shows the child that `choice` says."""
        stack = Stack(list(children), selected_index=choice.index, layout=self.wide)
        ipywidgets.jsdlink((choice, "index"), (stack, "selected_index"))
        return stack

    def nested(
        self, choices: Sequence[Dropdown], values: Sequence[Sequence[str]], rows: Mapping[str, Any], begun: str = ""
    ) -> Any:
        """Shows the row, named by one value of each choice, that the choices say together."""
        if not choices:
            return rows[begun]
        names = (f"{begun}/{value}" if begun else value for value in values[0])
        return self.stack(choices[0], [self.nested(choices[1:], values[1:], rows, name) for name in names])
