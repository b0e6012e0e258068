"""What a command cannot do, in words for the terminal."""


class Fault(Exception):
    """Ends a command with a message and the exit status 1."""
