"""The AWS Encryption SDK for Python, as it comes, encrypts and decrypts through a running server."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aws_encryption_sdk as sdk
import botocore.session
import pytest
from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders, models
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_encryption_sdk.caches.local import LocalCryptoMaterialsCache
from aws_encryption_sdk.identifiers import AlgorithmSuite, CommitmentPolicy
from cryptography.hazmat.primitives import serialization

from tests.conformance.server import Server
from tests.support.keywheel_server import ACCOUNT, REGION

PLAINTEXT = b"attack at dawn " * 1000
CONTEXT = {"department": "finance", "purpose": "größe"}
NOT_DECRYPTED = "No Configured KMS Key was able to decrypt the Data Key."
ESDK = sdk.EncryptionSDKClient()  # its own default: a signed algorithm suite that commits to the key


@pytest.fixture(scope="module")
def providers() -> AwsCryptographicMaterialProviders:
    """The library that makes keyrings."""
    return AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())


class Rings:
    """Keyrings over the server's keys."""

    def __init__(self, kms: Any, providers: AwsCryptographicMaterialProviders) -> None:
        self.kms = kms
        self.make = providers

    def new(self, **members: Any) -> str:
        """A new key; its ARN."""
        arn: str = self.kms.create_key(**members)["KeyMetadata"]["Arn"]
        return arn

    def of(self, arn: str) -> Any:
        """A keyring of one key."""
        return self.make.create_aws_kms_keyring(models.CreateAwsKmsKeyringInput(kms_key_id=arn, kms_client=self.kms))

    def several(self, first: str, *others: str) -> Any:
        """A keyring that encrypts to each of several keys."""
        children = [self.of(arn) for arn in others]
        return self.make.create_multi_keyring(
            models.CreateMultiKeyringInput(generator=self.of(first), child_keyrings=children)
        )

    def discovery(self, account: str = ACCOUNT) -> Any:
        """A keyring that finds the key by the message."""
        only = models.DiscoveryFilter(account_ids=[account], partition="aws")
        return self.make.create_aws_kms_discovery_keyring(
            models.CreateAwsKmsDiscoveryKeyringInput(kms_client=self.kms, discovery_filter=only)
        )


@pytest.fixture
def rings(kms: Any, providers: AwsCryptographicMaterialProviders) -> Rings:
    """On the running server."""
    return Rings(kms, providers)


def encrypted(keyring: Any, context: dict[str, str] | None = None, source: bytes = PLAINTEXT) -> bytes:
    """A message."""
    message, _ = ESDK.encrypt(source=source, keyring=keyring, encryption_context=context or {})
    return bytes(message)


def opened(message: bytes, keyring: Any, context: dict[str, str] | None = None) -> bytes:
    """What is in a message. `context` must be in it."""
    plaintext, header = ESDK.decrypt(source=message, keyring=keyring, encryption_context=context)
    assert (context or {}).items() <= header.encryption_context.items()
    return bytes(plaintext)


def why_not(message: bytes, keyring: Any, context: dict[str, str] | None = None) -> str:
    """What the SDK says when it cannot decrypt, with the causes it names."""
    with pytest.raises(Exception, match=r".") as refused:  # its classes differ by the depth of the cause
        opened(message, keyring, context)
    return repr(refused.value)


@contextmanager
def refusals(kms: Any) -> Iterator[list[str]]:
    """The codes of the errors that a client is answered with."""
    codes: list[str] = []

    def note(parsed: Any, **_: Any) -> None:
        if "Error" in parsed:
            codes.append(parsed["Error"]["Code"])

    kms.meta.events.register("after-call.kms", note)
    yield codes
    kms.meta.events.unregister("after-call.kms", note)


# --- keyrings ---------------------------------------------------------------------------------------------------------


def test_a_message_is_opened_with_its_context(rings: Rings, kms: Any) -> None:
    """With the one it has, or without saying which; never with another."""
    ring = rings.of(rings.new())
    message = encrypted(ring, CONTEXT)
    assert opened(message, ring, CONTEXT) == PLAINTEXT
    assert opened(message, ring) == PLAINTEXT
    said = why_not(message, ring, CONTEXT | {"department": "sales"})
    assert "encryption context" in said.lower()
    changed = message.replace(b"finance", b"finesse", 1)
    assert changed != message
    with refusals(kms) as codes:
        assert NOT_DECRYPTED in why_not(changed, ring)
    assert codes == ["InvalidCiphertextException"]


def test_a_message_in_frames_is_streamed(rings: Rings) -> None:
    """Through the SDK's file-like objects."""
    ring = rings.of(rings.new())
    source = PLAINTEXT * 10
    with ESDK.stream(mode="e", source=io.BytesIO(source), keyring=ring, frame_length=1024) as stream:
        message = stream.read()
    with ESDK.stream(mode="d", source=io.BytesIO(message), keyring=ring) as stream:
        assert stream.read() == source


def test_a_message_outlives_the_rotation_of_its_key(rings: Rings, kms: Any) -> None:
    """Old ones open, and new ones."""
    arn = rings.new()
    ring = rings.of(arn)
    before = encrypted(ring, CONTEXT)
    kms.rotate_key_on_demand(KeyId=arn)
    after = encrypted(ring, CONTEXT)
    assert {opened(message, ring, CONTEXT) for message in (before, after)} == {PLAINTEXT}
    assert opened(before, rings.discovery()) == PLAINTEXT


def test_either_of_two_keys_opens_a_message(rings: Rings, kms: Any) -> None:
    """One disabled, the other does; both disabled, none does, and the SDK says why."""
    first, second = rings.new(), rings.new()
    both = rings.several(first, second)
    message = encrypted(both)
    kms.disable_key(KeyId=first)
    for ring in (both, rings.of(second), rings.discovery()):
        assert opened(message, ring) == PLAINTEXT
    assert f"{first} is disabled." in why_not(message, rings.of(first))
    kms.disable_key(KeyId=second)
    said = why_not(message, both)
    assert all(f"{arn} is disabled." in said for arn in (first, second))
    with pytest.raises(Exception, match=f"{first} is disabled"):
        encrypted(both)
    kms.enable_key(KeyId=first)
    assert opened(message, both) == PLAINTEXT


def test_a_message_finds_its_key(rings: Rings) -> None:
    """Where the discovery filter has the account; a keyring of another key does not open it."""
    message = encrypted(rings.of(rings.new()), CONTEXT)
    assert opened(message, rings.discovery(), CONTEXT) == PLAINTEXT
    assert "Unable to decrypt" in why_not(message, rings.discovery("210987654321"))
    assert "Unable to decrypt" in why_not(message, rings.of(rings.new()))


def test_a_policy_forbids_by_the_context(rings: Rings, kms: Any) -> None:
    """The refusal reaches the caller as AWS's, and only for the messages that the policy means."""
    arn = rings.new()
    ring = rings.of(arn)
    finance, sales = (encrypted(ring, {"department": name}) for name in ("finance", "sales"))
    everything = {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "kms:*", "Resource": "*"}
    others = {"StringNotEquals": {"kms:EncryptionContext:department": "finance"}}
    denied = {"Effect": "Deny", "Principal": "*", "Action": "kms:Decrypt", "Resource": "*", "Condition": others}
    policy = {"Version": "2012-10-17", "Statement": [everything, denied]}
    kms.put_key_policy(KeyId=arn, Policy=json.dumps(policy))
    assert opened(finance, ring) == PLAINTEXT
    with refusals(kms) as codes:
        assert "with an explicit deny in a resource-based policy" in why_not(sales, ring)
    assert codes == ["AccessDeniedException"]


def test_a_key_pair_encrypts_data_keys(rings: Rings, kms: Any) -> None:
    """RSA: outside of the server with the public key, and opened by the server."""
    arn = rings.new(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")
    public = serialization.load_der_public_key(kms.get_public_key(KeyId=arn)["PublicKey"])
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for algorithm in ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"):
        asked = {"kms_key_id": arn, "kms_client": kms, "encryption_algorithm": algorithm}
        ring = rings.make.create_aws_kms_rsa_keyring(models.CreateAwsKmsRsaKeyringInput(public_key=pem, **asked))
        unsigned = AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
        message, _ = ESDK.encrypt(source=PLAINTEXT, keyring=ring, encryption_context=CONTEXT, algorithm=unsigned)
        assert opened(message, ring, CONTEXT) == PLAINTEXT


def test_two_keys_agree_on_data_keys(rings: Rings, kms: Any) -> None:
    """ECDH: from the sender's key to the recipient's, who finds the sender by the message."""
    pair = {"KeySpec": "ECC_NIST_P256", "KeyUsage": "KEY_AGREEMENT"}
    sender, recipient = rings.new(**pair), rings.new(**pair)
    public = {arn: kms.get_public_key(KeyId=arn)["PublicKey"] for arn in (sender, recipient)}
    static = models.KmsPrivateKeyToStaticPublicKeyInput(
        sender_kms_identifier=sender, sender_public_key=public[sender], recipient_public_key=public[recipient]
    )
    found = models.KmsPublicKeyDiscoveryInput(recipient_kms_identifier=recipient)
    to_recipient, as_recipient = (
        rings.make.create_aws_kms_ecdh_keyring(
            models.CreateAwsKmsEcdhKeyringInput(key_agreement_scheme=scheme, curve_spec="ECC_NIST_P256", kms_client=kms)
        )
        for scheme in (
            models.KmsEcdhStaticConfigurationsKmsPrivateKeyToStaticPublicKey(static),
            models.KmsEcdhStaticConfigurationsKmsPublicKeyDiscovery(found),
        )
    )
    message = encrypted(to_recipient, CONTEXT)
    assert opened(message, as_recipient, CONTEXT) == PLAINTEXT


# --- master key providers, which make clients of their own ------------------------------------------------------------


@pytest.fixture
def surroundings(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What boto3 reads to find the server."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.admin.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.admin.secret)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)


@contextmanager
def counted(session: botocore.session.Session) -> Iterator[list[str]]:
    """The operations that a session's clients ask for."""
    asked: list[str] = []

    def note(model: Any, **_: Any) -> None:
        asked.append(model.name)

    session.register("before-call.kms", note)
    yield asked
    session.unregister("before-call.kms", note)


@pytest.mark.usefixtures("surroundings")
def test_a_cache_keeps_data_keys(rings: Rings) -> None:
    """Ten messages of up to four by one data key ask for three, and for three decryptions at the most."""
    session = botocore.session.Session()
    with counted(session) as asked:  # before there are clients, which copy what is registered
        provider = sdk.StrictAwsKmsMasterKeyProvider(key_ids=[rings.new()], botocore_session=session)
        manager = sdk.CachingCryptoMaterialsManager(
            master_key_provider=provider, cache=LocalCryptoMaterialsCache(10), max_age=600.0, max_messages_encrypted=4
        )
        messages = [
            ESDK.encrypt(source=b"%d" % number, materials_manager=manager, encryption_context=CONTEXT)[0]
            for number in range(10)
        ]
        assert asked == ["GenerateDataKey"] * 3
        found = [ESDK.decrypt(source=message, materials_manager=manager)[0] for message in messages]
    assert found == [b"%d" % number for number in range(10)]
    assert asked[3:] == ["Decrypt"] * 3


@pytest.mark.usefixtures("surroundings")
def test_keyrings_and_master_keys_read_each_others_messages(rings: Rings) -> None:
    """Both generations of the SDK's interface, and a message without commitment."""
    arn = rings.new()
    provider = sdk.StrictAwsKmsMasterKeyProvider(key_ids=[arn], botocore_session=botocore.session.Session())
    old, _ = ESDK.encrypt(source=PLAINTEXT, key_provider=provider, encryption_context=CONTEXT)
    assert opened(old, rings.of(arn), CONTEXT) == PLAINTEXT
    new = encrypted(rings.of(arn), CONTEXT)
    assert ESDK.decrypt(source=new, key_provider=provider)[0] == PLAINTEXT
    lenient = sdk.EncryptionSDKClient(commitment_policy=CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT)
    oldest, _ = lenient.encrypt(source=PLAINTEXT, key_provider=provider)
    assert lenient.decrypt(source=oldest, key_provider=provider)[0] == PLAINTEXT


@pytest.mark.usefixtures("surroundings")
def test_a_provider_discovers_keys(rings: Rings) -> None:
    """By the message, in the account that it is told."""
    message = encrypted(rings.of(rings.new()), CONTEXT)
    only = sdk.key_providers.kms.DiscoveryFilter(account_ids=[ACCOUNT], partition="aws")
    session = botocore.session.Session()
    provider = sdk.DiscoveryAwsKmsMasterKeyProvider(discovery_filter=only, botocore_session=session)
    assert ESDK.decrypt(source=message, key_provider=provider)[0] == PLAINTEXT
