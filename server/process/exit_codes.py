"""The exit codes of ``tensorferry serve``, also of a worker process."""

#: Every accepted request was answered; the server could not start, for a reason that it has logged.
ANSWERED, FAILED = 0, 1
