"""The one error that every reader of a data set raises."""


class DatasetError(Exception):
    """A data set on disk is not what it should be; the message names the path and what was expected there."""
