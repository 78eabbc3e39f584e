"""What went wrong and can be mended by whoever asked: told in words, without a traceback."""


class UserError(Exception):
    """Its message names the thing, where it was looked for, what was expected and what to do."""
