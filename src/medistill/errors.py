"""Errors that one line explains: the user's to mend, or nobody's."""


class UserError(Exception):
    """A slip that one line explains: the thing, its value, and the way out.

    The command line prints the line without a traceback and ends with exit code 2.
    """


class Failure(UserError):
    """What one line explains though nobody slipped: a full disk, or a loss that is no number.

    The command line prints the line likewise and ends with exit code 1.
    """
