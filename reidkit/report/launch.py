"""Launch buttons that open the text notebook, as a Sphinx extension of books whose repository is known.

The theme points them to the page's source, an executed .ipynb that lies in the build folder and in no repository.
Where the server is started in the repository's folder, as Binder does, `.jupyter/` there opens text as notebooks.
"""

import re
from typing import Any

from sphinx.application import Sphinx

GITHUB = re.compile(r"(?:(?:https?|ssh|git)://)?(?:[^/@]+@)?(?:www\.)?github\.com[/:]([\w.-]+)/([\w.-]+?)(?:\.git)?/*")


def github_address(repository: str) -> str | None:
    """A repository's address as the theme's buttons need it, however it is given; None where it is not GitHub's."""
    found = GITHUB.fullmatch(repository.strip())
    return found and f"https://github.com/{found[1]}/{found[2]}"


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", open_text_notebook, priority=900)  # after the theme has made the buttons
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def open_text_notebook(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Ends the address of every launch button of a page in .md."""
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            url = button.get("url", "")
            if url.startswith("http") and url.endswith(f"/{page}.ipynb"):  # others lead to the site's own copy
                button["url"] = url.removesuffix(".ipynb") + ".md"
