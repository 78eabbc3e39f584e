"""The one error that every reader of a data set raises."""

from reidkit.errors import UserError


class DatasetError(UserError):
    """A data set on disk is not what it should be; the message names the path and what was expected there."""
