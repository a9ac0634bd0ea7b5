"""Key specs: what each is for, by which algorithms, and how much they take. One table; no I/O.

A spec or an algorithm that AWS KMS knows and this house cannot do is in the table, too: it is refused by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from keywheel.errors import UnsupportedOperation, ValidationFailed
from keywheel.keys.errors import InvalidKeyUsage

Kind = Literal["symmetric", "asymmetric", "hmac"]

ENCRYPT, SIGN, MAC = "ENCRYPT_DECRYPT", "SIGN_VERIFY", "GENERATE_VERIFY_MAC"
AGREE, ENCAPSULATE = "KEY_AGREEMENT", "ENCAPSULATE_DECAPSULATE"
SYMMETRIC = "SYMMETRIC_DEFAULT"  # the spec, and its only algorithm
OAEP_1, OAEP_256 = "RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"
ED25519_PH = "ED25519_PH_SHA_512"
PLAINTEXT_LIMIT = 4096  # of symmetric encryption

# The member of a key's metadata that lists the algorithms of its usage.
ALGORITHM_MEMBER: Mapping[str, str] = MappingProxyType(
    {
        ENCRYPT: "EncryptionAlgorithms",
        SIGN: "SigningAlgorithms",
        MAC: "MacAlgorithms",
        AGREE: "KeyAgreementAlgorithms",
        ENCAPSULATE: "EncapsulationAlgorithms",
    }
)


@dataclass(frozen=True, slots=True)
class Spec:
    """What keys of one spec can do."""

    name: str
    kind: Kind
    by_usage: Mapping[str, tuple[str, ...]]
    size: int = 0  # of the material in bytes where it is a secret number, of the modulus in bits where it is RSA
    served: bool = True
    unserved: frozenset[str] = frozenset()  # algorithms that AWS KMS has for this spec and this house has not

    @property
    def usages(self) -> tuple[str, ...]:
        """What a key of this spec may be for."""
        return tuple(self.by_usage)

    def algorithms(self, usage: str) -> tuple[str, ...]:
        """The algorithms of a key of this spec and usage."""
        return self.by_usage.get(usage, ())

    def require(self, algorithm: str, usage: str) -> None:
        """Nothing, when a key of this spec and usage can do `algorithm`.

        Raises:
            InvalidKeyUsage: it is an algorithm of other keys.
            UnsupportedOperation: AWS KMS can do it, and this house cannot.
        """
        if algorithm in self.by_usage.get(usage, ()):
            return
        if algorithm in self.unserved:
            raise UnsupportedOperation(f"Algorithm {algorithm} is not supported by this server.")
        raise InvalidKeyUsage(f"Algorithm {algorithm} is incompatible with key spec {self.name}.")


_RSA_SIGNING = (
    *(f"RSASSA_PSS_SHA_{bits}" for bits in (256, 384, 512)),
    *(f"RSASSA_PKCS1_V1_5_SHA_{bits}" for bits in (256, 384, 512)),
)


def _rsa(bits: int) -> Spec:
    return Spec(f"RSA_{bits}", "asymmetric", {ENCRYPT: (OAEP_1, OAEP_256), SIGN: _RSA_SIGNING}, bits)


def _curve(name: str, bits: int, *, agrees: bool = True) -> Spec:
    usages: dict[str, tuple[str, ...]] = {SIGN: (f"ECDSA_SHA_{bits}",)}
    return Spec(name, "asymmetric", usages | ({AGREE: ("ECDH",)} if agrees else {}))


def _hmac(bits: int) -> Spec:
    return Spec(f"HMAC_{bits}", "hmac", {MAC: (f"HMAC_SHA_{bits}",)}, bits // 8)


def _lattice(name: str, usage: str, algorithm: str, *, served: bool = True) -> Spec:
    return Spec(name, "asymmetric", {usage: (algorithm,)}, served=served)


SPECS: Mapping[str, Spec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            Spec(SYMMETRIC, "symmetric", {ENCRYPT: (SYMMETRIC,)}, 32),
            *(_rsa(bits) for bits in (2048, 3072, 4096)),
            _curve("ECC_NIST_P256", 256),
            _curve("ECC_NIST_P384", 384),
            _curve("ECC_NIST_P521", 512),
            _curve("ECC_SECG_P256K1", 256, agrees=False),
            # The library signs no digest with Ed25519, and arithmetic on a private key is not written here.
            Spec(
                "ECC_NIST_EDWARDS25519",
                "asymmetric",
                {SIGN: ("ED25519_SHA_512",)},
                unserved=frozenset({ED25519_PH}),
            ),
            *(_lattice(f"ML_DSA_{size}", SIGN, "ML_DSA_SHAKE_256") for size in (44, 65, 87)),
            _lattice("ML_KEM_512", ENCAPSULATE, "ML_KEM", served=False),  # the library begins with 768
            *(_lattice(f"ML_KEM_{size}", ENCAPSULATE, "ML_KEM") for size in (768, 1024)),
            *(_hmac(bits) for bits in (224, 256, 384, 512)),
            Spec(
                "SM2",
                "asymmetric",
                {ENCRYPT: ("SM2PKE",), SIGN: ("SM2DSA",), AGREE: ("ECDH",)},
                served=False,
            ),
        )
    }
)

# How many bytes RSA encrypts: the modulus less twice the hash and two (RFC 8017, 7.1.1).
_HASH_BYTES = {OAEP_1: 20, OAEP_256: 32}


def plaintext_limit(spec: str, algorithm: str) -> int:
    """How many bytes `algorithm` encrypts with a key of `spec`."""
    return PLAINTEXT_LIMIT if algorithm == SYMMETRIC else SPECS[spec].size // 8 - 2 * _HASH_BYTES[algorithm] - 2


def require_plaintext(spec: str, algorithm: str, length: int) -> None:
    """Nothing, when `algorithm` encrypts so many bytes with a key of `spec`.

    Raises:
        ValidationFailed: it encrypts fewer.
    """
    most = plaintext_limit(spec, algorithm)
    if length > most:
        raise ValidationFailed(
            f"Algorithm {algorithm} and key spec {spec} cannot encrypt data larger than {most} bytes."
        )


def choose(spec: str | None, usage: str | None) -> tuple[str, str]:
    """The spec and the usage of a new key, of which either may be left out.

    Raises:
        ValidationFailed: they do not go together, or the usage cannot be guessed.
        UnsupportedOperation: such keys cannot be made here.
    """
    name = spec or SYMMETRIC
    found = SPECS.get(name)
    if found is None:
        raise ValidationFailed(f"There is no key spec {name}.")
    if usage is None:
        if name != SYMMETRIC:
            raise ValidationFailed(
                "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys."
            )
        usage = ENCRYPT
    if usage not in found.by_usage:
        raise ValidationFailed(f"KeyUsage {usage} is not compatible with KeySpec {name}")
    require_served(name)
    return name, usage


def require_served(spec: str) -> None:
    """Nothing, when keys of `spec` can be made here.

    Raises:
        UnsupportedOperation: they cannot.
    """
    if not SPECS[spec].served:
        raise UnsupportedOperation(f"KeySpec {spec} is not supported by this server.")
