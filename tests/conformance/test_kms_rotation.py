"""Rotation of key material, and its import, over the wire."""

from __future__ import annotations

import datetime as dt
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.server import refusal
from tests.conformance.test_kms_keys import new

KEEPS, EXPIRES = "KEY_MATERIAL_DOES_NOT_EXPIRE", "KEY_MATERIAL_EXPIRES"
MATERIAL = bytes(range(32))


@pytest.fixture
def key(kms: Any) -> dict[str, Any]:
    """A symmetric encryption key of this test's own."""
    return new(kms)


def material_ids(kms: Any, key_id: str) -> list[str]:
    """The ids of a key's materials, oldest first."""
    entries = kms.list_key_rotations(KeyId=key_id, IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]
    return [entry["KeyMaterialId"] for entry in entries]


# --- by the calendar --------------------------------------------------------------------------------------------------


def test_rotation_is_off_until_it_is_switched_on(kms: Any, key: dict[str, Any]) -> None:
    """A year is the period when none is named; another call changes it, and counts from then."""
    status = kms.get_key_rotation_status(KeyId=key["Arn"])
    status.pop("ResponseMetadata")
    assert status == {"KeyId": key["KeyId"], "KeyRotationEnabled": False}
    for members, days in (({}, 365), ({"RotationPeriodInDays": 90}, 90), ({"RotationPeriodInDays": 2560}, 2560)):
        kms.enable_key_rotation(KeyId=key["KeyId"], **members)
        status = kms.get_key_rotation_status(KeyId=key["KeyId"])
        assert (status["KeyRotationEnabled"], status["RotationPeriodInDays"]) == (True, days)
        due = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
        assert abs((status["NextRotationDate"] - due).total_seconds()) < 60
    kms.disable_key_rotation(KeyId=key["KeyId"])
    assert kms.get_key_rotation_status(KeyId=key["KeyId"])["KeyRotationEnabled"] is False


@pytest.mark.parametrize("days", [89, 2561])
def test_a_period_has_90_to_2560_days(kms: Any, key: dict[str, Any], days: int) -> None:
    """In the words of the model."""
    code, text = refusal(kms.enable_key_rotation, KeyId=key["KeyId"], RotationPeriodInDays=days)
    bound = "greater than or equal to 90" if days < 90 else "less than or equal to 2560"
    assert (code, text) == (
        "ValidationException",
        f"1 validation error detected: Value '{days}' at 'rotationPeriodInDays' failed to satisfy constraint: "
        f"Member must have value {bound}",
    )


def test_the_status_waits_with_the_key(kms: Any, key: dict[str, Any]) -> None:
    """A disabled key keeps it; one that is pending deletion has none, until that is called off."""
    kms.enable_key_rotation(KeyId=key["KeyId"])
    kms.disable_key(KeyId=key["KeyId"])
    assert kms.get_key_rotation_status(KeyId=key["KeyId"])["KeyRotationEnabled"] is True
    kms.schedule_key_deletion(KeyId=key["KeyId"])
    assert kms.get_key_rotation_status(KeyId=key["KeyId"])["KeyRotationEnabled"] is False
    kms.cancel_key_deletion(KeyId=key["KeyId"])
    assert kms.get_key_rotation_status(KeyId=key["KeyId"])["KeyRotationEnabled"] is True


@pytest.mark.parametrize(
    ("spec", "usage"), [("ECC_NIST_P256", "SIGN_VERIFY"), ("HMAC_256", "GENERATE_VERIFY_MAC")], ids=["ecc", "hmac"]
)
def test_only_symmetric_encryption_keys_rotate(kms: Any, spec: str, usage: str) -> None:
    """The others say so, without a text. Whether they do is answered all the same, and is no."""
    key_id = new(kms, KeySpec=spec, KeyUsage=usage)["KeyId"]
    for call in (kms.enable_key_rotation, kms.disable_key_rotation, kms.rotate_key_on_demand):
        assert refusal(call, KeyId=key_id) == ("UnsupportedOperationException", "")
    refused = refusal(kms.list_key_rotations, KeyId=key_id, IncludeKeyMaterial="ALL_KEY_MATERIAL")
    assert refused[0] == "UnsupportedOperationException"
    assert kms.get_key_rotation_status(KeyId=key_id)["KeyRotationEnabled"] is False
    assert kms.list_key_rotations(KeyId=key_id)["Rotations"] == []


# --- on demand --------------------------------------------------------------------------------------------------------


def test_a_rotation_changes_the_material_and_nothing_else(kms: Any, key: dict[str, Any]) -> None:
    """New ciphertexts are of the new material; the old ones open still, and each says which it was."""
    old = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"old")["CiphertextBlob"]
    answer = kms.rotate_key_on_demand(KeyId=key["Arn"])
    assert answer["KeyId"] == key["KeyId"]
    described = kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]
    before, after = key["CurrentKeyMaterialId"], described["CurrentKeyMaterialId"]
    assert before != after
    assert {**described, "CurrentKeyMaterialId": before} == key
    new_one = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"new")["CiphertextBlob"]
    for blob, plaintext, material in ((old, b"old", before), (new_one, b"new", after)):
        opened = kms.decrypt(CiphertextBlob=blob)
        assert (opened["Plaintext"], opened["KeyMaterialId"]) == (plaintext, material)
    moved = kms.re_encrypt(CiphertextBlob=old, DestinationKeyId=key["KeyId"])
    assert (moved["SourceKeyMaterialId"], moved["DestinationKeyMaterialId"]) == (before, after)


def test_rotations_are_listed(kms: Any, key: dict[str, Any]) -> None:
    """Those that were; with all material, the first one, too. By pages."""
    kms.enable_key_rotation(KeyId=key["KeyId"])
    for _ in range(3):
        kms.rotate_key_on_demand(KeyId=key["KeyId"])
    status = kms.get_key_rotation_status(KeyId=key["KeyId"])
    year = dt.datetime.now(dt.UTC) + dt.timedelta(days=365)
    assert abs((status["NextRotationDate"] - year).total_seconds()) < 60
    rotations = kms.list_key_rotations(KeyId=key["KeyId"])["Rotations"]
    assert [(entry["KeyId"], entry["RotationType"]) for entry in rotations] == [(key["KeyId"], "ON_DEMAND")] * 3
    assert all(abs((entry["RotationDate"] - dt.datetime.now(dt.UTC)).total_seconds()) < 60 for entry in rotations)
    pages = list(
        kms.get_paginator("list_key_rotations").paginate(
            KeyId=key["KeyId"], IncludeKeyMaterial="ALL_KEY_MATERIAL", PaginationConfig={"PageSize": 3}
        )
    )
    everything = [entry for page in pages for entry in page["Rotations"]]
    assert [len(page["Rotations"]) for page in pages] == [3, 1]
    assert {entry["KeyMaterialState"] for entry in everything[:3]} == {"NON_CURRENT"}
    assert everything[3]["KeyMaterialState"] == "CURRENT"
    assert everything[0]["KeyMaterialId"] == key["CurrentKeyMaterialId"]
    assert "RotationDate" not in everything[0]
    assert all(re.fullmatch("[0-9a-f]{64}", entry["KeyMaterialId"]) for entry in everything)
    marker = pages[0]["NextMarker"]
    assert refusal(kms.list_key_rotations, KeyId=key["KeyId"], Marker=marker)[0] == "InvalidMarkerException"


def test_a_key_is_rotated_on_demand_25_times(kms: Any, key: dict[str, Any]) -> None:
    """What the first material encrypted opens after all of them."""
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    for _ in range(25):
        kms.rotate_key_on_demand(KeyId=key["KeyId"])
    assert refusal(kms.rotate_key_on_demand, KeyId=key["KeyId"]) == (
        "LimitExceededException",
        "The on-demand rotations limit has been reached for the given keyId. "
        f"No more on-demand rotations can be performed for this key: {key['Arn']}",
    )
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    assert len(set(material_ids(kms, key["KeyId"]))) == 26


# --- import -----------------------------------------------------------------------------------------------------------


def wrapped_by_openssl(directory: Path, public: bytes, material: bytes) -> bytes:
    """`material` encrypted to a wrapping key with RSAES_OAEP_SHA_256, as the KMS guide does it."""
    key, plain = directory / "wrapping-key", directory / "material"
    key.write_bytes(public)
    plain.write_bytes(material)
    options = ("rsa_padding_mode:oaep", "rsa_oaep_md:sha256", "rsa_mgf1_md:sha256")
    done = subprocess.run(
        ["openssl", "pkeyutl", "-encrypt", "-in", str(plain), "-inkey", str(key), "-keyform", "DER", "-pubin",
         *(word for option in options for word in ("-pkeyopt", option))],
        capture_output=True,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


class Importing:
    """A key of origin EXTERNAL, and who imports its material."""

    def __init__(self, kms: Any, directory: Path) -> None:
        self.kms = kms
        self.key = new(kms, Origin="EXTERNAL")
        self.key_id = self.key["KeyId"]
        self.parameters = kms.get_parameters_for_import(
            KeyId=self.key_id, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048"
        )
        self._directory = directory

    def members(self, material: bytes = MATERIAL, **more: Any) -> dict[str, Any]:
        """An ImportKeyMaterial request."""
        wrapped = wrapped_by_openssl(self._directory, self.parameters["PublicKey"], material)
        token = self.parameters["ImportToken"]
        kept = {"ExpirationModel": KEEPS} if "ExpirationModel" not in more else {}
        return {"KeyId": self.key_id, "ImportToken": token, "EncryptedKeyMaterial": wrapped, **kept, **more}

    def __call__(self, material: bytes = MATERIAL, **more: Any) -> dict[str, Any]:
        """Import it."""
        answer: dict[str, Any] = self.kms.import_key_material(**self.members(material, **more))
        return answer

    @property
    def now(self) -> dict[str, Any]:
        """The key as it is described."""
        metadata: dict[str, Any] = self.kms.describe_key(KeyId=self.key_id)["KeyMetadata"]
        return metadata


@pytest.fixture
def importing(kms: Any, tmp_path: Path) -> Importing:
    """A key that waits for material."""
    return Importing(kms, tmp_path)


def test_imported_material_makes_a_key_of_it(importing: Importing) -> None:
    """It is wrapped by openssl, and the key encrypts. Deleted, the key waits; imported again, everything opens."""
    kms = importing.kms
    assert importing.parameters["KeyId"] == importing.key["Arn"]
    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    assert abs((importing.parameters["ParametersValidTo"] - tomorrow).total_seconds()) < 60
    answer = importing()
    assert (answer["KeyId"], len(answer["KeyMaterialId"])) == (importing.key["Arn"], 64)
    now = importing.now
    assert (now["KeyState"], now["Enabled"], now["ExpirationModel"]) == ("Enabled", True, KEEPS)
    assert now["CurrentKeyMaterialId"] == answer["KeyMaterialId"]
    blob = kms.encrypt(KeyId=importing.key_id, Plaintext=b"x")["CiphertextBlob"]

    deleted = kms.delete_imported_key_material(KeyId=importing.key_id)
    assert (deleted["KeyId"], deleted["KeyMaterialId"]) == (importing.key["Arn"], answer["KeyMaterialId"])
    assert importing.now["KeyState"] == "PendingImport"
    assert refusal(kms.decrypt, CiphertextBlob=blob) == (
        "KMSInvalidStateException",
        f"{importing.key['Arn']} is pending import.",
    )
    importing()
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_other_material_is_not_taken_in_its_place(importing: Importing) -> None:
    """Nor what is of another length, was wrapped for another key, or is no wrapping at all."""
    kms = importing.kms
    importing()
    kms.delete_imported_key_material(KeyId=importing.key_id)
    other = importing.members(MATERIAL[::-1], ImportType="EXISTING_KEY_MATERIAL")
    assert refusal(kms.import_key_material, **other)[0] == "IncorrectKeyMaterialException"
    assert refusal(kms.import_key_material, **importing.members(b"short"))[0] == "IncorrectKeyMaterialException"
    garbage = {**importing.members(), "EncryptedKeyMaterial": bytes(256)}
    assert refusal(kms.import_key_material, **garbage)[0] == "InvalidCiphertextException"
    spoiled = {**importing.members(), "ImportToken": importing.parameters["ImportToken"][:-1] + b"x"}
    assert refusal(kms.import_key_material, **spoiled)[0] == "InvalidImportTokenException"
    assert refusal(kms.import_key_material, **{**spoiled, "ImportToken": b"x"})[0] == "InvalidImportTokenException"
    elsewhere = {**importing.members(), "KeyId": new(kms, Origin="EXTERNAL")["KeyId"]}
    assert refusal(kms.import_key_material, **elsewhere)[0] == "InvalidImportTokenException"
    assert importing.now["KeyState"] == "PendingImport"


def test_material_expires_when_it_was_said(importing: Importing) -> None:
    """Within a year; and unless it is kept, it must be said."""
    kms = importing.kms
    refused = ("ValidationException", "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES")
    for model in ({"ExpirationModel": EXPIRES}, {"ExpirationModel": None}):
        members = {name: value for name, value in importing.members(**model).items() if value is not None}
        assert refusal(kms.import_key_material, **members) == refused
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    for wrong in (now - dt.timedelta(days=1), now + dt.timedelta(days=366)):
        members = importing.members(ExpirationModel=EXPIRES, ValidTo=wrong)
        assert refusal(kms.import_key_material, **members)[0] == "ValidationException"
    end = now + dt.timedelta(days=30)
    importing(ExpirationModel=EXPIRES, ValidTo=end)
    assert (importing.now["ExpirationModel"], importing.now["ValidTo"]) == (EXPIRES, end)


def test_a_second_material_waits_for_a_rotation(importing: Importing) -> None:
    """It becomes current on demand, and one waits at a time."""
    kms, key_id = importing.kms, importing.key_id
    first = importing(KeyMaterialDescription="the first")["KeyMaterialId"]
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    assert refusal(kms.rotate_key_on_demand, KeyId=key_id) == (
        "KMSInvalidStateException",
        f"No available key material pending rotation for the key: {importing.key['Arn']}.",
    )
    second = importing(MATERIAL[::-1], ImportType="NEW_KEY_MATERIAL")["KeyMaterialId"]
    assert importing.now["CurrentKeyMaterialId"] == first
    third = importing.members(MATERIAL[:31] + b"x", ImportType="NEW_KEY_MATERIAL")
    code, text = refusal(kms.import_key_material, **third)
    assert code == "KMSInvalidStateException"
    assert re.fullmatch(
        rf"New key material \(id: [0-9a-f]{{64}}\) cannot be imported into KMS key {key_id}, because another key "
        rf"material \(id: {second}\) is pending rotation\.",
        text,
    )
    entries = kms.list_key_rotations(KeyId=key_id, IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]
    assert [(entry["KeyMaterialState"], entry["ImportState"]) for entry in entries] == [
        ("CURRENT", "IMPORTED"),
        ("PENDING_ROTATION", "IMPORTED"),
    ]
    assert (entries[0]["KeyMaterialDescription"], entries[0]["ExpirationModel"]) == ("the first", KEEPS)
    kms.rotate_key_on_demand(KeyId=key_id)
    assert importing.now["CurrentKeyMaterialId"] == second
    assert kms.decrypt(CiphertextBlob=blob)["KeyMaterialId"] == first
    kms.delete_imported_key_material(KeyId=key_id, KeyMaterialId=first)
    assert importing.now["KeyState"] == "PendingImport"


def test_a_key_with_material_of_ours_takes_none(kms: Any, key: dict[str, Any]) -> None:
    """The text names its origin."""
    refused = (
        "UnsupportedOperationException",
        f"{key['Arn']} origin is AWS_KMS which is not valid for this operation.",
    )
    asked = {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}
    assert refusal(kms.get_parameters_for_import, KeyId=key["KeyId"], **asked) == refused
    assert refusal(kms.delete_imported_key_material, KeyId=key["KeyId"]) == refused
    given = {"ImportToken": b"x", "EncryptedKeyMaterial": b"x", "ExpirationModel": KEEPS}
    assert refusal(kms.import_key_material, KeyId=key["KeyId"], **given) == refused


def test_some_wrappings_are_not_offered(importing: Importing) -> None:
    """PKCS #1 v1.5, which AWS has ended, and SM2."""
    for algorithm, spec in (("RSAES_PKCS1_V1_5", "RSA_2048"), ("SM2PKE", "SM2")):
        refused = refusal(
            importing.kms.get_parameters_for_import,
            KeyId=importing.key_id,
            WrappingAlgorithm=algorithm,
            WrappingKeySpec=spec,
        )
        assert refused[0] == "UnsupportedOperationException"
