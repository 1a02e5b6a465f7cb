"""
The certificate of the server, for the addresses that have none of their own.

TLS 1.2 or later, and HTTP/1.1 alone (ALPN).  Decides what is read again and when it is used: a
connection keeps the certificate with which it began.  Runs on the reactor thread.
"""

from collections.abc import Iterable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from OpenSSL.crypto import X509, PKey
from OpenSSL.SSL import Connection, Context, Error
from twisted.internet.interfaces import (
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IReactorTime,
)
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from server.http.listen_addresses import takes_certificate
from server.lifecycle import StartError
from server.settings.http_settings import HTTPSettings

_log = Logger()


class CertificateError(Exception):
    """A certificate or key that cannot be used; the message gives the reason in one line."""


@implementer(IOpenSSLServerConnectionCreator)
class ServerCertificate:
    """A certificate chain and its private key, each in a file of PEM."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Read both; raises `StartError`."""
        self._certificate = certificate
        self._key = key
        try:
            self._context = read_context(certificate, key)
        except CertificateError as error:
            raise StartError(str(error)) from error

    def reload(self) -> None:
        """Read both again, for new connections; on an error, which is logged, keep the old ones."""
        try:
            self._context = read_context(self._certificate, self._key)
        except CertificateError as error:
            _log.error("the certificate stays as it was: {error}", error=error)
        else:
            _log.info("the certificate is read again; new connections get it")

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> Connection:
        """Return the TLS state of a new connection; called by Twisted."""
        return Connection(self._context, None)


def certificate_of(settings: HTTPSettings) -> ServerCertificate | None:
    """Read the certificate of *settings*, if there is one; raises `StartError`."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return ServerCertificate(settings.tls_cert, settings.tls_key)


def secured(
    sites: Iterable[tuple[str, IProtocolFactory]],
    certificate: ServerCertificate | None,
    clock: IReactorTime,
) -> list[tuple[str, IProtocolFactory]]:
    """
    Return *sites*, each with the description of its endpoint, with TLS where they take it.

    Without a *certificate* none does.
    """
    if certificate is None:
        return list(sites)
    return [
        (where, TLSMemoryBIOFactory(certificate, False, site, clock))
        if takes_certificate(where)
        else (where, site)
        for where, site in sites
    ]


def read_context(certificate: Path, key: Path) -> Context:
    """Return the context for the chain *certificate* and its *key*; raises `CertificateError`."""
    try:
        chain = [
            X509.from_cryptography(it) for it in load_pem_x509_certificates(_read(certificate))
        ]
    except ValueError as error:
        raise CertificateError(f"{certificate} holds no certificate in PEM") from error
    try:
        private = PKey.from_cryptography_key(load_pem_private_key(_read(key), None))  # type: ignore[arg-type]  # other types raise TypeError
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"{key} holds no private key in PEM") from error
    except TypeError as error:  # a passphrase is needed, or the key is of another kind
        raise CertificateError(f"{key} is encrypted, or no key for TLS") from error
    options = CertificateOptions(
        private,
        chain[0],
        extraCertChain=chain[1:],
        insecurelyLowerMinimumTo=TLSVersion.TLSv1_2,
        acceptableProtocols=[b"http/1.1"],
    )
    try:
        return options.getContext()
    except Error as error:
        raise CertificateError(
            f"the key in {key} does not belong to the certificate in {certificate}"
        ) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror}") from error
