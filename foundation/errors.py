"""What a user is meant to read: the one exception for bad input, and word of what needs no doing."""


class UserError(Exception):
    """Bad input, said in one line: what was found, where (file, field), and what to do about it.

    Commands print the line after `error:` and exit with code 2; anything else that escapes is a defect and shows its
    traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))  # a parser's own words, quoted inside, may hold line breaks


class Stopped(UserError):  # noqa: N818 (somebody's wish)
    """A run that was told to stop, and stopped in order; a sweep does not go on with its next job."""


NOT_DUE = "not due: "  # begins the line of a run that waits, also where another process has it


class NotDue(UserError):  # noqa: N818 (nobody erred)
    """A recurring run that waits, for too few hospitals have enough that is new."""


class AlreadyFinished(Exception):  # noqa: N818 (no error: there is nothing to do)
    """A run that is to go on has come to its end; commands print the line and exit with code 0."""
