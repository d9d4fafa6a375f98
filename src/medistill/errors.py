"""The one kind of error that is the user's to mend."""


class UserError(Exception):
    """A slip that one line explains: the thing, its value, and the way out.

    The command line prints the line without a traceback and ends with exit code 2.
    """
