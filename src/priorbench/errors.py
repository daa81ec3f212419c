"""The one exception a user is meant to see."""

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def reason(error: Exception, most: int = 200) -> str:
    """What a library says that failed, or of which kind its error is, on one line of ``most`` characters."""
    return " ".join(str(error).split())[:most] or type(error).__name__


def out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Whether the memory of the computer or of a GPU was too small, which PyTorch tells by its message alone."""
    return isinstance(error, MemoryError) or any(told in str(error) for told in ("out of memory", "allocate memory"))


class PriorbenchError(Exception):
    """Bad input or an impossible request.

    The message is one line: what is wrong, where, and how to mend it.  The command line prints it as it is and exits
    with code 1; anything else that escapes is a bug and keeps its traceback.
    """

    def __init__(self, message: object = "") -> None:
        # A name may hold line ends or what a terminal acts on; they are shown as they would be written.
        super().__init__(_CONTROL.sub(lambda found: ascii(found[0])[1:-1], str(message)))
