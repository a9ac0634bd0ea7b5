"""Custom key stores over the wire: a token of SoftHSM2 behind a whole server."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pkcs11
import pytest
from botocore.exceptions import ClientError
from pkcs11 import Attribute

from tests.conformance import answers
from tests.conformance.server import until
from tests.support.keywheel_server import ACCOUNT, REGION, KeywheelServer
from tests.support.tokens import LABEL, LIBRARY, SoftToken

CLUSTER = "cluster-2222keywheel"
CERTIFICATE = "-----BEGIN CERTIFICATE-----"
BOTH = pytest.mark.parametrize("stand", ["sqlite", "postgresql"], indirect=True)


class Stand:
    """A server with a token, and a client of its KMS."""

    def __init__(self, server: KeywheelServer, token: SoftToken) -> None:
        self.server = server
        self.token = token
        self.kms = server.client("kms")
        self.kms.meta.events.register("after-call.kms", answers.check, unique_id="answers")

    def store(self, name: str = "hsm", password: str | None = None) -> str:
        """A new key store on the token."""
        answer = self.kms.create_custom_key_store(
            CustomKeyStoreName=name,
            CloudHsmClusterId=CLUSTER,
            KeyStorePassword=password or self.token.pin.reveal(),
            TrustAnchorCertificate=CERTIFICATE,
        )
        store_id: str = answer["CustomKeyStoreId"]
        return store_id

    def connected(self) -> str:
        """A new key store that is connected."""
        store_id = self.store()
        self.kms.connect_custom_key_store(CustomKeyStoreId=store_id)
        assert self.described(store_id)["ConnectionState"] == "CONNECTED"
        return store_id

    def key(self, store_id: str, **more: Any) -> str:
        """A new key in the key store."""
        made = self.kms.create_key(Origin="AWS_CLOUDHSM", CustomKeyStoreId=store_id, **more)["KeyMetadata"]
        key_id: str = made["KeyId"]
        return key_id

    def described(self, store_id: str) -> dict[str, Any]:
        """The key store as it is listed."""
        entries: list[dict[str, Any]] = self.kms.describe_custom_key_stores(CustomKeyStoreId=store_id)[
            "CustomKeyStores"
        ]
        return entries[0]

    def refused(self, operation: str, **members: Any) -> str:
        """The code of the error that a call ends with."""
        with pytest.raises(ClientError) as error:
            getattr(self.kms, operation)(**members)
        assert self.token.pin.reveal() not in str(error.value)
        code: str = error.value.response["Error"]["Code"]
        return code

    def objects(self) -> list[Any]:
        """What the token holds."""
        library = pkcs11.lib(LIBRARY)
        with library.get_token(token_label=LABEL).open(user_pin=self.token.pin.reveal()) as session:
            found = [(each[Attribute.ID], each[Attribute.EXTRACTABLE]) for each in session.get_objects()]
        library.finalize()
        return found


@pytest.fixture
def stand(request: pytest.FixtureRequest, soft_token: SoftToken, tmp_path: Path) -> Iterator[Stand]:
    """On SQLite, unless a test says `BOTH`."""
    database_url = request.getfixturevalue("postgresql_url") if getattr(request, "param", "") == "postgresql" else None
    place = tmp_path / "server"
    server = KeywheelServer(place, database_url, ["--workers", "2"], environment=soft_token.environment)
    server.data.mkdir(parents=True)
    (server.data / "keywheel.toml").write_text(f'[hsm.{CLUSTER}]\nmodule = "{LIBRARY}"\ntoken = "{LABEL}"\n')
    with server:
        yield Stand(server, soft_token)
    assert soft_token.pin.reveal() not in server.log.read_text(encoding="utf-8")
    for path in server.data.rglob("*"):
        if path.is_file():
            assert soft_token.pin.reveal().encode() not in path.read_bytes(), path


@BOTH
def test_the_life_of_a_key_store_and_of_a_key_in_it(stand: Stand) -> None:
    """Made, connected, used, disconnected, connected again, emptied and forgotten."""
    kms = stand.kms
    store_id = stand.store()
    assert re.fullmatch(r"cks-[0-9a-f]{17}", store_id)
    entry = stand.described(store_id)
    assert entry.pop("CreationDate")
    assert entry == {
        "CustomKeyStoreId": store_id,
        "CustomKeyStoreName": "hsm",
        "CloudHsmClusterId": CLUSTER,
        "TrustAnchorCertificate": CERTIFICATE,
        "ConnectionState": "DISCONNECTED",
        "CustomKeyStoreType": "AWS_CLOUDHSM",
    }
    assert stand.refused("create_key", Origin="AWS_CLOUDHSM", CustomKeyStoreId=store_id) == (
        "CustomKeyStoreInvalidStateException"
    )
    kms.connect_custom_key_store(CustomKeyStoreId=store_id)
    assert stand.described(store_id)["ConnectionState"] == "CONNECTED"

    made = kms.create_key(Origin="AWS_CLOUDHSM", CustomKeyStoreId=store_id, Description="in a token")["KeyMetadata"]
    key_id = made["KeyId"]
    assert (made["KeyState"], made["Origin"], made["KeySpec"]) == ("Enabled", "AWS_CLOUDHSM", "SYMMETRIC_DEFAULT")
    assert (made["CustomKeyStoreId"], made["CloudHsmClusterId"]) == (store_id, CLUSTER)
    assert "CurrentKeyMaterialId" not in made
    assert [extractable for _, extractable in stand.objects()] == [False]

    context = {"tenant": "a"}
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"plain", EncryptionContext=context)["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == b"plain"
    assert stand.refused("decrypt", CiphertextBlob=blob) == "InvalidCiphertextException"
    data_key = kms.generate_data_key(KeyId=key_id, KeySpec="AES_256")
    assert kms.decrypt(CiphertextBlob=data_key["CiphertextBlob"])["Plaintext"] == data_key["Plaintext"]
    assert len(kms.generate_random(NumberOfBytes=33, CustomKeyStoreId=store_id)["Plaintext"]) == 33

    assert stand.refused("delete_custom_key_store", CustomKeyStoreId=store_id) == "CustomKeyStoreInvalidStateException"
    kms.disconnect_custom_key_store(CustomKeyStoreId=store_id)
    described = kms.describe_key(KeyId=key_id)["KeyMetadata"]
    assert (described["KeyState"], described["Enabled"]) == ("Unavailable", False)
    for _ in range(8):  # whichever worker answers
        assert stand.refused("decrypt", CiphertextBlob=blob, EncryptionContext=context) == "KMSInvalidStateException"
    assert stand.refused("delete_custom_key_store", CustomKeyStoreId=store_id) == "CustomKeyStoreHasCMKsException"
    kms.connect_custom_key_store(CustomKeyStoreId=store_id)
    for _ in range(8):
        assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == b"plain"


def test_what_keys_in_a_key_store_cannot_do(stand: Stand) -> None:
    """They are symmetric, of one Region, and do not rotate by themselves."""
    store_id = stand.connected()
    key_id = stand.key(store_id)
    where = {"Origin": "AWS_CLOUDHSM", "CustomKeyStoreId": store_id}
    for more in (
        {"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"},
        {"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"},
        {"MultiRegion": True},
    ):
        assert stand.refused("create_key", **where, **more) == "UnsupportedOperationException"
    for members in (
        {"Origin": "AWS_CLOUDHSM"},
        {"CustomKeyStoreId": store_id},
        {"Origin": "AWS_KMS", "CustomKeyStoreId": store_id},
        {"Origin": "EXTERNAL_KEY_STORE", "CustomKeyStoreId": store_id, "XksKeyId": "x"},
        {**where, "XksKeyId": "x"},
    ):
        assert stand.refused("create_key", **members) == "ValidationException"
    for operation in ("enable_key_rotation", "rotate_key_on_demand", "get_key_rotation_status", "list_key_rotations"):
        assert stand.refused(operation, KeyId=key_id) == "UnsupportedOperationException"
    assert stand.refused("generate_data_key_pair", KeyId=key_id, KeyPairSpec="ECC_NIST_P256") == (
        "UnsupportedOperationException"
    )
    assert stand.refused(
        "get_parameters_for_import", KeyId=key_id, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048"
    ) == ("UnsupportedOperationException")
    assert len(stand.objects()) == 1


@BOTH
def test_a_server_whose_token_is_away_says_so_and_recovers(stand: Stand) -> None:
    """Also one that was started without it. What does not need the token goes on."""
    store_id = stand.connected()
    key_id = stand.key(store_id)
    blob = stand.kms.encrypt(KeyId=key_id, Plaintext=b"plain")["CiphertextBlob"]

    def answer() -> str:
        try:
            return str(stand.kms.decrypt(CiphertextBlob=blob)["Plaintext"], "ascii")
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            return f"{status} {error.response['Error']['Code']} {error.response['Error']['Message']}"

    def heard() -> set[str]:
        return {answer() for _ in range(8)}  # whichever worker answers

    away = f"500 KeyUnavailableException The token {LABEL} is not available."  # of which SDKs try again
    assert heard() == {"plain"}
    stand.token.take_away()
    assert heard() == {away}
    other = stand.kms.create_key()["KeyMetadata"]["KeyId"]
    assert stand.kms.encrypt(KeyId=other, Plaintext=b"x")["CiphertextBlob"]
    stand.server.restart()
    assert heard() == {away}
    assert stand.refused("create_key", Origin="AWS_CLOUDHSM", CustomKeyStoreId=store_id) == "KeyUnavailableException"
    stand.token.put_back()
    until(lambda: heard() == {"plain"})
    assert stand.described(store_id)["ConnectionState"] == "CONNECTED"


def test_a_secret_may_be_protected_by_a_key_in_a_token(stand: Stand) -> None:
    """It is read as long as the key store is connected."""
    store_id = stand.connected()
    secrets = stand.server.client()
    secrets.create_secret(Name="s", SecretString="kept in a token", KmsKeyId=stand.key(store_id))
    assert secrets.get_secret_value(SecretId="s")["SecretString"] == "kept in a token"
    stand.kms.disconnect_custom_key_store(CustomKeyStoreId=store_id)
    with pytest.raises(ClientError) as error:
        secrets.get_secret_value(SecretId="s")
    assert error.value.response["Error"]["Code"] == "DecryptionFailure"
    with pytest.raises(ClientError) as error:
        secrets.put_secret_value(SecretId="s", SecretString="another")
    assert error.value.response["Error"]["Code"] == "EncryptionFailure"
    stand.kms.connect_custom_key_store(CustomKeyStoreId=store_id)
    assert secrets.get_secret_value(SecretId="s")["SecretString"] == "kept in a token"


def test_a_key_store_that_does_not_connect_says_why(stand: Stand) -> None:
    """It is disconnected and corrected before it is tried again."""
    store_id = stand.store(password="not the PIN")
    for _ in range(3):
        stand.kms.connect_custom_key_store(CustomKeyStoreId=store_id)
        entry = stand.described(store_id)
        assert (entry["ConnectionState"], entry["ConnectionErrorCode"]) == ("FAILED", "INVALID_CREDENTIALS")
        assert stand.refused("connect_custom_key_store", CustomKeyStoreId=store_id) == (
            "CustomKeyStoreInvalidStateException"
        )
        stand.kms.disconnect_custom_key_store(CustomKeyStoreId=store_id)
    stand.kms.update_custom_key_store(CustomKeyStoreId=store_id, KeyStorePassword=stand.token.pin.reveal())
    stand.token.take_away()
    stand.kms.connect_custom_key_store(CustomKeyStoreId=store_id)
    assert stand.described(store_id)["ConnectionErrorCode"] == "INSUFFICIENT_CLOUDHSM_HSMS"
    stand.kms.disconnect_custom_key_store(CustomKeyStoreId=store_id)
    stand.token.put_back()
    stand.kms.connect_custom_key_store(CustomKeyStoreId=store_id)
    assert stand.described(store_id)["ConnectionState"] == "CONNECTED"


def test_what_is_refused_of_key_stores(stand: Stand) -> None:
    """Names and tokens that are taken, places nobody configured, members that do not go together."""
    password = {"KeyStorePassword": stand.token.pin.reveal()}
    store_id = stand.store()
    create = {"CustomKeyStoreName": "another", "CloudHsmClusterId": CLUSTER, **password}
    unknown = "cks-00000000000000000"
    assert stand.refused("create_custom_key_store", **{**create, "CustomKeyStoreName": "hsm"}) == (
        "CustomKeyStoreNameInUseException"
    )
    assert stand.refused("create_custom_key_store", **create) == "CloudHsmClusterInUseException"
    elsewhere = {**create, "CloudHsmClusterId": "cluster-3333elsewhere"}
    assert stand.refused("create_custom_key_store", **elsewhere) == "CloudHsmClusterNotFoundException"
    assert stand.refused("create_custom_key_store", CustomKeyStoreName="another", **password) == "ValidationException"
    proxy = {
        "XksProxyUriEndpoint": "https://xks.example.com",
        "XksProxyUriPath": "/kms/xks/v1",
        "XksProxyConnectivity": "PUBLIC_ENDPOINT",
        "XksProxyAuthenticationCredential": {"AccessKeyId": "A" * 20, "RawSecretAccessKey": "s" * 43},
    }
    external = {"CustomKeyStoreName": "another", "CustomKeyStoreType": "EXTERNAL_KEY_STORE"}
    assert stand.refused("create_custom_key_store", **create, **proxy) == "ValidationException"
    assert stand.refused("create_custom_key_store", **external, **password) == "ValidationException"
    # The server calls nobody whom the operator has not named.
    assert stand.refused("create_custom_key_store", **external, **proxy) == "XksProxyUriUnreachableException"
    behind = {**external, **proxy, "XksProxyConnectivity": "VPC_ENDPOINT_SERVICE"}
    assert stand.refused("create_custom_key_store", **behind) == "XksProxyVpcEndpointServiceNotFoundException"
    for operation in ("connect", "disconnect", "delete", "update"):
        assert stand.refused(f"{operation}_custom_key_store", CustomKeyStoreId=unknown) == (
            "CustomKeyStoreNotFoundException"
        )
    assert stand.refused("describe_custom_key_stores", CustomKeyStoreName="nobody") == "CustomKeyStoreNotFoundException"
    assert stand.refused("disconnect_custom_key_store", CustomKeyStoreId=store_id) == (
        "CustomKeyStoreInvalidStateException"
    )
    stand.kms.update_custom_key_store(CustomKeyStoreId=store_id, NewCustomKeyStoreName="renamed")
    stand.kms.connect_custom_key_store(CustomKeyStoreId=store_id)
    assert stand.refused("update_custom_key_store", CustomKeyStoreId=store_id, NewCustomKeyStoreName="again") == (
        "CustomKeyStoreInvalidStateException"
    )
    assert stand.described(store_id)["CustomKeyStoreName"] == "renamed"
    stand.kms.disconnect_custom_key_store(CustomKeyStoreId=store_id)
    stand.kms.delete_custom_key_store(CustomKeyStoreId=store_id)
    assert stand.kms.describe_custom_key_stores()["CustomKeyStores"] == []
    assert stand.store("hsm")  # on the same token


def test_a_spoiled_ciphertext_of_a_token_is_refused_like_any(stand: Stand) -> None:
    """InvalidCiphertextException with an empty message; the session in the token goes on."""
    key_id = stand.key(stand.connected())
    blob = stand.kms.encrypt(KeyId=key_id, Plaintext=os.urandom(4096))["CiphertextBlob"]
    for at in (21, 32, 40, len(blob) - 1):
        spoiled = bytearray(blob)
        spoiled[at] ^= 1
        with pytest.raises(ClientError) as error:
            stand.kms.decrypt(CiphertextBlob=bytes(spoiled))
        assert error.value.response["Error"]["Code"] == "InvalidCiphertextException"
        assert error.value.response["Error"]["Message"] == ""
    arn = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{key_id}"
    assert stand.kms.decrypt(CiphertextBlob=blob)["KeyId"] == arn
