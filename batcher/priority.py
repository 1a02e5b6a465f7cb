"""
How much a request matters beside others: three levels, served in shares.

Plain data.  Imports nothing of ours.
"""

from enum import IntEnum


class Priority(IntEnum):
    """The level of a request; the least number goes first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


#: Rows of each level that leave where all of them wait: none is ever passed over for good.
SHARES = {Priority.HIGH: 16, Priority.NORMAL: 4, Priority.LOW: 1}
