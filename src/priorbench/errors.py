"""The one exception a user is meant to see."""


class PriorbenchError(Exception):
    """Bad input or an impossible request.

    The message is one line: what is wrong, where, and how to mend it.  The command line prints it as it is and exits
    with code 1; anything else that escapes is a bug and keeps its traceback.
    """
