"""The templates of the markup that pages are made of."""

from typing import Any

import jinja2
from markupsafe import Markup

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("reidkit.report"),
    autoescape=True,  # what is no markup yet becomes text
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def markup(template: str, **values: Any) -> Markup:
    """A file of `templates/`, filled in, on one line: a blank one would end the HTML within a Markdown page."""
    return Markup(" ".join(_TEMPLATES.get_template(template).render(**values).split()))
