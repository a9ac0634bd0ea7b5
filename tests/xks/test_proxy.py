"""Both sides of AWS's External Key Store Proxy API, over TLS: our proxy as AWS calls it, and as our KMS calls it."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from botocore.exceptions import ClientError

from tests.conformance.server import until
from tests.support.servers import Authority
from tests.xks.stand import HOST, PATH, Pair, Stand, new_pair, text, told


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    authority = Authority()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_CA_BUNDLE", str(authority.path))
        stand = Stand(tmp_path_factory.mktemp("xks"), authority)
        with stand.server:
            yield stand
        stand.client.close()
    log = stand.server.log.read_text(encoding="utf-8")
    assert "api.fault" not in log
    assert "xks.fault" not in log
    assert "Traceback" not in log
    for path in stand.server.data.rglob("*"):
        if path.is_file() and path.name != "xks.toml":
            for pair in stand.pairs:
                assert pair.secret.encode() not in path.read_bytes(), path


@pytest.fixture
def key(stand: Stand) -> str:
    """A key that the proxy serves."""
    key_id: str = stand.kms().create_key()["KeyMetadata"]["KeyId"]
    stand.register(key_id)
    return key_id


# --- our proxy, as AWS calls it


def test_the_metadata_of_a_key_are_those_that_aws_asks_for(stand: Stand, key: str) -> None:
    """And say when it is disabled."""
    ask = {"requestMetadata": told("CreateKey")}
    fit = {"keySpec": "AES_256", "keyUsage": ["ENCRYPT", "DECRYPT"], "keyStatus": "ENABLED"}
    assert stand.call(f"/keys/{key}/metadata", ask) == (200, fit)
    stand.kms().disable_key(KeyId=key)
    assert stand.call(f"/keys/{key}/metadata", ask) == (200, {**fit, "keyStatus": "DISABLED"})
    assert stand.encrypt(key, b"x").error == (400, "InvalidStateException")


def test_the_health_of_the_proxy(stand: Stand) -> None:
    """One proxy, one key manager, active."""
    status, body = stand.call("/health", {"requestMetadata": {"kmsOperation": "KmsHealthCheck", "kmsRequestId": "1"}})
    assert status == 200
    assert body["xksProxyFleetSize"] >= 1
    assert [each["healthStatus"] for each in body["ekmFleetDetails"]] == ["ACTIVE"]
    assert {"xksProxyVendor", "xksProxyModel", "ekmVendor"} < set(body)


@pytest.mark.parametrize("context", [None, b"", b"project=nile", b"x" * 8192])
@pytest.mark.parametrize("size", [1, 4300])
def test_what_is_encrypted_opens_with_the_same_context(
    stand: Stand, key: str, size: int, context: bytes | None
) -> None:
    """The ciphertext is as long as the plaintext, and the digest is of the parts in their order."""
    plaintext = os.urandom(size)
    status, body = stand.encrypt(key, plaintext, context, digest=True)
    assert status == 200
    parts = {name: base64.b64decode(value) for name, value in body.items()}
    assert len(parts["ciphertext"]) == size
    assert (len(parts["initializationVector"]), len(parts["authenticationTag"])) == (12, 16)
    assert len(parts["ciphertextMetadata"]) <= 20
    order = ("ciphertextMetadata", "initializationVector", "ciphertext", "authenticationTag")
    whole = (context or b"") + b"".join(parts[name] for name in order)
    assert parts["ciphertextDataIntegrityValue"] == hashlib.sha256(whole).digest()
    assert stand.decrypt(key, body, context) == (200, {"plaintext": text(plaintext)})
    assert stand.decrypt(key, body, b"another").error == (400, "InvalidCiphertextException")


def test_nothing_of_a_ciphertext_may_be_changed(stand: Stand, key: str) -> None:
    """Nor moved from the metadata to the context, nor taken to another key."""
    _, body = stand.encrypt(key, b"plain")
    assert "ciphertextDataIntegrityValue" not in body
    for name, value in body.items():
        raw = bytearray(base64.b64decode(value))
        for at in (0, len(raw) - 1):
            spoiled = bytearray(raw)
            spoiled[at] ^= 1
            answer = stand.decrypt(key, {**body, name: text(bytes(spoiled))})
            assert answer.error == (400, "InvalidCiphertextException"), (name, at)
        if name != "ciphertext":
            assert stand.decrypt(key, {**body, name: ""}).error == (400, "InvalidCiphertextException"), name
    moved = {name: value for name, value in body.items() if name != "ciphertextMetadata"}
    answer = stand.decrypt(key, moved, base64.b64decode(body["ciphertextMetadata"]))
    assert answer.error == (400, "InvalidCiphertextException")
    other = stand.kms().create_key()["KeyMetadata"]["KeyId"]
    stand.register(key, other)
    assert stand.decrypt(other, body).error == (400, "InvalidCiphertextException")
    assert stand.decrypt(key, body).status == 200


def test_a_key_rotates_and_nothing_of_that_is_seen(stand: Stand, key: str) -> None:
    """What was encrypted before opens, and what is encrypted is newer material's."""
    _, before = stand.encrypt(key, b"before")
    stand.kms().rotate_key_on_demand(KeyId=key)
    _, after = stand.encrypt(key, b"after")
    assert before["ciphertextMetadata"] != after["ciphertextMetadata"]
    assert stand.decrypt(key, before).body == {"plaintext": text(b"before")}
    assert stand.decrypt(key, after).body == {"plaintext": text(b"after")}
    crossed = {**after, "ciphertextMetadata": before["ciphertextMetadata"]}
    assert stand.decrypt(key, crossed).error == (400, "InvalidCiphertextException")


def test_only_keys_that_the_file_names_are_served(stand: Stand, key: str) -> None:
    """Others are not there, whether they exist or not; one of another kind is of no use."""
    kms = stand.kms()
    unnamed = kms.create_key()["KeyMetadata"]["KeyId"]
    for absent in (unnamed, "00000000-0000-4000-8000-000000000000", "foo", "alias"):
        assert stand.encrypt(absent, b"x").error == (404, "KeyNotFoundException")
        ask = {"requestMetadata": told("CreateKey")}
        assert stand.call(f"/keys/{absent}/metadata", ask).error == (404, "KeyNotFoundException")
    signing = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    stand.register(key, signing, "not-a-key")
    assert stand.encrypt(signing, b"x").error == (400, "InvalidKeyUsageException")
    assert stand.encrypt("not-a-key", b"x").error == (404, "KeyNotFoundException")


def test_a_ciphertext_of_the_proxy_is_none_of_kms(stand: Stand, key: str) -> None:
    """Not even when it is put together like one."""
    _, body = stand.encrypt(key, b"plain")
    kms = stand.kms()
    own = kms.encrypt(KeyId=key, Plaintext=b"plain")["CiphertextBlob"]
    parts = [base64.b64decode(body[name]) for name in ("initializationVector", "ciphertext", "authenticationTag")]
    with pytest.raises(ClientError) as error:
        kms.decrypt(KeyId=key, CiphertextBlob=own[:21] + b"".join(parts))
    assert error.value.response["Error"]["Code"] == "InvalidCiphertextException"


def test_only_signed_requests_are_served(stand: Stand, key: str) -> None:
    """For this service, of now, with a secret that the file has, as they were sent."""
    place = f"/keys/{key}/metadata"
    ask: dict[str, Any] = {"requestMetadata": told("CreateKey")}
    refused = (401, "AuthenticationFailedException")
    known = stand.pairs[-1]
    assert stand.call(place, ask, pair=new_pair()).error == refused
    assert stand.call(place, ask, pair=Pair(known.access_key_id, new_pair().secret)).error == refused
    assert stand.call(place, ask, service="kms").error == refused
    for minutes in (-6, 6):
        assert stand.call(place, ask, now=datetime.now(UTC) + timedelta(minutes=minutes)).error == refused
    assert stand.call(place, ask, changed=b'{"requestMetadata": {}}').error == refused
    response = stand.client.post(f"https://127.0.0.1:{stand.port}{PATH}{place}", json=ask)
    assert (response.status_code, response.json()["errorName"]) == refused
    assert stand.call(place, ask).status == 200


def test_two_credentials_are_good_at_once_and_the_file_is_read_again(stand: Stand, key: str) -> None:
    """The new one at once, the old one until it is taken out; a spoiled file changes nothing."""
    place, ask = f"/keys/{key}/metadata", {"requestMetadata": told("CreateKey")}
    old, new = stand.pairs[-1], new_pair()
    stand.pairs.append(new)
    stand.register(key)
    for _ in range(8):  # whichever worker answers
        assert stand.call(place, ask, pair=old).status == stand.call(place, ask, pair=new).status == 200
    file = stand.server.data / "xks.toml"
    whole = file.read_text()
    file.write_text("nonsense")
    for _ in range(8):
        assert stand.call(place, ask, pair=new).status == 200
    file.write_text(whole)
    stand.pairs.remove(old)
    stand.register(key)
    for _ in range(8):
        assert stand.call(place, ask, pair=old).error == (401, "AuthenticationFailedException")
        assert stand.call(place, ask, pair=new).status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff",
        b"{" * 5000,
        b"{}",
        b'{"requestMetadata": {}}',
        b'{"requestMetadata": {"kmsOperation": "Encrypt", "kmsRequestId": "1"}}',
        b'{"requestMetadata": null, "plaintext": "eA==", "encryptionAlgorithm": "AES_GCM"}',
    ],
)
@pytest.mark.parametrize("operation", ["metadata", "encrypt", "decrypt"])
def test_a_request_that_is_none_is_refused(stand: Stand, key: str, operation: str, body: bytes) -> None:
    """ValidationException, and nothing of the body in the answer."""
    answer = stand.call(f"/keys/{key}/{operation}", body)
    assert answer.error == (400, "ValidationException")


def test_a_member_that_is_not_valid_is_refused(stand: Stand, key: str) -> None:
    """Too long, no Base64, another algorithm."""
    good = {"requestMetadata": told("Encrypt"), "plaintext": text(b"x"), "encryptionAlgorithm": "AES_GCM"}
    assert stand.call(f"/keys/{key}/encrypt", good).status == 200
    for change in (
        {"plaintext": text(bytes(4301))},
        {"plaintext": "no Base64!"},
        {"additionalAuthenticatedData": text(bytes(8193))},
        {"encryptionAlgorithm": "AES_CBC"},
        {"ciphertextDataIntegrityValueAlgorithm": "MD5"},
    ):
        assert stand.call(f"/keys/{key}/encrypt", {**good, **change}).error == (400, "ValidationException"), change


def test_other_paths_and_methods_are_refused(stand: Stand, key: str) -> None:
    """InvalidUriPathException; 405 for a GET. The API and its probes stay where they are."""
    ask = {"requestMetadata": told("CreateKey")}
    for path in ("/kms/xks/v1", "/team/b/kms/xks/v1", "/team/a/invalid/kms/xks/v1", f"{PATH}/x"):
        assert stand.call(f"/keys/{key}/metadata", ask, path=path).error == (404, "InvalidUriPathException")
    for operation in ("", "/", "/keys", f"/keys/{key}", f"/keys/{key}/sign", f"/keys/{key}/encrypt/", "/keys//encrypt"):
        assert stand.call(operation, ask).error == (404, "InvalidUriPathException"), operation
    assert stand.call(f"/keys/{key}/metadata", b"", method="GET").status == 405
    assert stand.client.get(f"https://127.0.0.1:{stand.port}/health").text == "live\n"
    with pytest.raises(httpx2.HTTPError):  # too large to be read
        stand.client.post(f"https://127.0.0.1:{stand.port}{PATH}/health", content=bytes(5_000_000)).raise_for_status()


def test_calls_of_the_proxy_are_in_the_audit_ledger(stand: Stand, key: str) -> None:
    """Who, which key, for which call of AWS KMS, and no plaintext."""
    plaintext, request_id = os.urandom(24), "kms-request-of-this-test"
    body = {
        "requestMetadata": told("GenerateDataKey") | {"kmsRequestId": request_id},
        "plaintext": text(plaintext),
        "encryptionAlgorithm": "AES_GCM",
    }
    assert stand.call(f"/keys/{key}/encrypt", body).status == 200
    written = b"".join(path.read_bytes() for path in (stand.server.data / "audit").rglob("*") if path.is_file())
    line = next(each for each in written.splitlines() if request_id.encode() in each)
    for part in (b'"kms-xks-proxy"', b'"Encrypt"', key.encode(), stand.pairs[-1].access_key_id.encode()):
        assert part in line
    assert text(plaintext).encode() not in written


# --- our KMS, as it calls a proxy


def external_store(stand: Stand, kms: Any, name: str) -> str:
    """A key store behind the proxy, connected."""
    pair = stand.pairs[-1]
    made = kms.create_custom_key_store(
        CustomKeyStoreName=name,
        CustomKeyStoreType="EXTERNAL_KEY_STORE",
        XksProxyConnectivity="PUBLIC_ENDPOINT",
        XksProxyUriEndpoint=f"https://{HOST}",
        XksProxyUriPath=PATH,
        XksProxyAuthenticationCredential={"AccessKeyId": pair.access_key_id, "RawSecretAccessKey": pair.secret},
    )
    store_id: str = made["CustomKeyStoreId"]
    kms.connect_custom_key_store(CustomKeyStoreId=store_id)
    return store_id


@pytest.fixture(scope="module")
def store(stand: Stand) -> str:
    """A connected key store behind the proxy."""
    kms = stand.kms()
    store_id = external_store(stand, kms, "external")
    entry = kms.describe_custom_key_stores(CustomKeyStoreId=store_id)["CustomKeyStores"][0]
    assert entry["ConnectionState"] == "CONNECTED"
    assert entry["XksProxyConfiguration"] == {
        "Connectivity": "PUBLIC_ENDPOINT",
        "AccessKeyId": stand.pairs[-1].access_key_id,
        "UriEndpoint": f"https://{HOST}",
        "UriPath": PATH,
    }
    return store_id


def refused(kms: Any, operation: str, **members: Any) -> str:
    """The code of the error that a call ends with."""
    with pytest.raises(ClientError) as error:
        getattr(kms, operation)(**members)
    code: str = error.value.response["Error"]["Code"]
    return code


def test_a_key_on_an_external_key_encrypts_twice(stand: Stand, key: str, store: str) -> None:
    """Neither the external key nor our own material alone opens anything; contexts and spoils are told apart."""
    kms = stand.kms()
    where = {"Origin": "EXTERNAL_KEY_STORE", "CustomKeyStoreId": store}
    made = kms.create_key(**where, XksKeyId=key)["KeyMetadata"]
    key_id = made["KeyId"]
    assert (made["Origin"], made["KeyState"]) == ("EXTERNAL_KEY_STORE", "Enabled")
    assert made["XksKeyConfiguration"] == {"Id": key}
    assert refused(kms, "create_key", **where, XksKeyId=key) == "XksKeyAlreadyInUseException"
    assert refused(kms, "create_key", **where) == "ValidationException"
    assert refused(kms, "create_key", **where, XksKeyId="nobody") == "XksKeyNotFoundException"
    context = {"tenant": "a"}
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"p" * 4096, EncryptionContext=context)["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == b"p" * 4096
    data_key = kms.generate_data_key(KeyId=key_id, NumberOfBytes=32)
    assert kms.decrypt(CiphertextBlob=data_key["CiphertextBlob"])["Plaintext"] == data_key["Plaintext"]
    assert refused(kms, "decrypt", CiphertextBlob=blob) == "KMSInvalidStateException"  # the proxy refuses it first
    assert refused(kms, "decrypt", CiphertextBlob=blob[:-1]) == "KMSInvalidStateException"
    assert refused(kms, "decrypt", CiphertextBlob=blob[:30]) == "InvalidCiphertextException"
    # The proxy sees what our own material has encrypted.
    _, inner = stand.encrypt(key, b"x")
    assert len(base64.b64decode(inner["ciphertext"])) == 1
    assert len(blob) > 4096 + 21 + 12 + 16 + 12 + 16

    kms.disable_key(KeyId=key)  # by its owner, in its key manager
    assert refused(kms, "decrypt", CiphertextBlob=blob, EncryptionContext=context) == "KMSInvalidStateException"
    assert refused(kms, "create_key", **where, XksKeyId=key) in (
        "XksKeyAlreadyInUseException",
        "XksKeyInvalidConfigurationException",
    )
    kms.enable_key(KeyId=key)
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == b"p" * 4096
    for operation in ("enable_key_rotation", "rotate_key_on_demand"):
        assert refused(kms, operation, KeyId=key_id) == "UnsupportedOperationException"
    assert refused(kms, "generate_random", NumberOfBytes=8, CustomKeyStoreId=store) == "UnsupportedOperationException"


def test_the_credential_of_a_proxy_rotates_without_a_gap(stand: Stand, key: str, store: str) -> None:
    """Added at the proxy, told to KMS while it is connected, taken out at the proxy."""
    kms = stand.kms()
    where = {"Origin": "EXTERNAL_KEY_STORE", "CustomKeyStoreId": store}
    key_id = kms.create_key(**where, XksKeyId=key)["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"plain")["CiphertextBlob"]
    old, new = stand.pairs[-1], new_pair()
    members = {"AccessKeyId": new.access_key_id, "RawSecretAccessKey": new.secret}
    update = {"CustomKeyStoreId": store, "XksProxyAuthenticationCredential": members}
    assert refused(kms, "update_custom_key_store", **update) == "XksProxyIncorrectAuthenticationCredentialException"
    stand.pairs.append(new)
    stand.register(key)
    kms.update_custom_key_store(**update)
    stand.pairs.remove(old)
    stand.register(key)
    for _ in range(8):
        assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"plain"
    path = {"CustomKeyStoreId": store, "XksProxyUriPath": "/nowhere/kms/xks/v1"}
    assert refused(kms, "update_custom_key_store", **path) == "XksProxyInvalidConfigurationException"


def test_a_proxy_that_refuses_or_is_away_is_a_state_of_the_key(stand: Stand, key: str, store: str) -> None:
    """KMSInvalidStateException while it lasts; the key store does not connect, and says why."""
    kms = stand.kms()
    where = {"Origin": "EXTERNAL_KEY_STORE", "CustomKeyStoreId": store}
    key_id = kms.create_key(**where, XksKeyId=key)["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"plain")["CiphertextBlob"]
    pairs, stand.pairs = stand.pairs, [new_pair()]
    stand.register(key)
    assert refused(kms, "decrypt", CiphertextBlob=blob) == "KMSInvalidStateException"
    assert refused(kms, "create_key", **where, XksKeyId="another") == "CustomKeyStoreInvalidStateException"
    kms.disconnect_custom_key_store(CustomKeyStoreId=store)
    kms.connect_custom_key_store(CustomKeyStoreId=store)
    entry = kms.describe_custom_key_stores(CustomKeyStoreId=store)["CustomKeyStores"][0]
    assert (entry["ConnectionState"], entry["ConnectionErrorCode"]) == ("FAILED", "INVALID_CREDENTIALS")
    assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] == "Unavailable"
    stand.pairs = pairs
    stand.register(key)
    kms.disconnect_custom_key_store(CustomKeyStoreId=store)
    kms.connect_custom_key_store(CustomKeyStoreId=store)
    until(lambda: kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"plain")
