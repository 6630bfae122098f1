"""The errors that a user can act upon.

Every message says what was expected, what was found and what to do, with the file, key and unit.
"""


class NearsightError(Exception):
    """An error with a message for the user; a job prints it without a traceback and stops."""


class ConfigError(NearsightError):
    """A configuration that breaks the schema or contradicts itself."""


class InputError(NearsightError):
    """A file or an argument whose content cannot be used."""


class MissingProgramError(NearsightError):
    """A program or library that has to be installed first."""


class StorageError(NearsightError):
    """A file that the machine does not let us write: a full disk, a quota, a read-only folder."""


class ConvergenceError(NearsightError):
    """A self-consistent field or a root search that did not converge."""
