"""The list of references labelled as the text cites them, by author and year, as a Sphinx extension."""

from collections import Counter
from collections.abc import Iterator, Sequence

from pybtex.database import Entry
from pybtex.plugin import register_plugin
from pybtex.style.formatting.alpha import Style
from pybtex.style.labels import BaseLabelStyle
from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, bool]:
    register_plugin("pybtex.style.formatting", "author_year", Labelled, force=True)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class AuthorYear(BaseLabelStyle):  # type: ignore[misc]
    def format_labels(self, sorted_entries: Sequence[Entry]) -> Iterator[str]:
        """Hermans et al., 2017; a letter after the year tells those apart that would read alike."""
        labels = [f"{authors(entry)}, {entry.fields.get('year', 'n.d.')}" for entry in sorted_entries]
        alike, seen = Counter(labels), Counter[str]()
        for label in labels:
            yield label + ("abcdefghij"[seen[label]] if alike[label] > 1 else "")
            seen[label] += 1


class Labelled(Style):  # type: ignore[misc]
    default_label_style = AuthorYear
    default_sorting_style = "author_year_title"


def authors(entry: Entry) -> str:
    people = entry.persons.get("author") or entry.persons.get("editor") or []
    names = [" ".join(map(str, [*person.rich_prelast_names, *person.rich_last_names])) for person in people]
    return f"{names[0]} et al." if len(names) > 2 else " and ".join(names) or entry.fields.get("title", entry.key)
