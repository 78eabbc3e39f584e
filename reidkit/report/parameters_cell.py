"""The parameters cell of a chapter: which variables it assigns."""

import ast


def assigned(source: str) -> list[str]:
    """The variables that a cell assigns; none of one that is no Python."""
    try:
        nodes = ast.walk(ast.parse(source))
    except SyntaxError:  # to be told by whoever runs it
        return []
    return list(dict.fromkeys(n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)))
