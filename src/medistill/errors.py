"""Errors that one line explains: the user's to mend, or nobody's."""


class UserError(Exception):
    """A slip that one line explains: the thing, its value, and the way out.

    The command line prints the line without a traceback and ends with exit code 2.
    """


class Failure(UserError):
    """What one line explains though nobody slipped: a full disk, or a loss that is no number.

    The command line prints the line likewise and ends with exit code 1.
    """


class Advice(UserWarning):
    """What a person should know of a choice that works, but not as its name promises.

    In Python it is a warning like any other; the command line prints it as a line of its own.
    """
