"""The one exception that a user's mistake raises."""


class UserError(Exception):
    """A mistake that the user can mend.

    The message is one line that names the thing and the remedy. The command line prints it
    and exits with status 2; from Python it is an ordinary exception.
    """
