"""
Addresses of machines.

Pure.  Imports nothing of ours.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address


def plain_address(text: str) -> IPv4Address | IPv6Address:
    """
    Return the address in *text*; an IPv4 address that is written as one of IPv6 is IPv4.

    A socket of IPv6 states so those of its IPv4 clients.  Raises ValueError for what is no address.
    """
    address = ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address
