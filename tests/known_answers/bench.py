"""Keys of a running server, made or imported once; and the `openssl` command, which knows nothing of keywheel."""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path
from typing import Any

OAEP_SHA256 = ("rsa_padding_mode:oaep", "rsa_oaep_md:sha256", "rsa_mgf1_md:sha256")
_MOST_BY_OAEP = 190  # bytes, with SHA-256 and RSA_2048
_WRAP_IV = "A65959A6"  # the constant of RFC 5649


class Bench:
    """What the tests of known answers share."""

    def __init__(self, kms: Any, directory: Path) -> None:
        self.kms = kms
        self.directory = directory
        self._made: dict[tuple[str, str], str] = {}
        self._imported: dict[tuple[str, str, bytes], str] = {}

    # --- openssl

    def file(self, contents: bytes = b"") -> str:
        """A new file with these contents."""
        path = self.directory / secrets.token_hex(8)
        path.write_bytes(contents)
        return str(path)

    def openssl(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """What `openssl` writes to its standard output."""
        done = subprocess.run(["openssl", *arguments], input=stdin, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def openssl_takes(self, *arguments: str) -> bool:
        """Whether openssl says that a signature is good; any other complaint is a fault of the test."""
        done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=60)
        said = done.stdout + done.stderr
        assert done.returncode == 0 or "Verification failure" in said or "Verification Failure" in said, said
        return done.returncode == 0

    # --- keys

    def key(self, spec: str, usage: str) -> str:
        """The id of the one key of this spec and usage that the server made itself."""
        if (spec, usage) not in self._made:
            self._made[spec, usage] = self.kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["KeyId"]
        return self._made[spec, usage]

    def public(self, key_id: str) -> bytes:
        """Its public half as a SubjectPublicKeyInfo."""
        public: bytes = self.kms.get_public_key(KeyId=key_id)["PublicKey"]
        return public

    def imported(self, spec: str, usage: str, material: bytes) -> str:
        """The id of the one key with this material, which openssl wrapped."""
        place = spec, usage, material
        if place not in self._imported:
            direct = len(material) <= _MOST_BY_OAEP and not spec.startswith(("RSA_", "ML_"))
            self._imported[place] = self._import(spec, usage, material, direct=direct)
        return self._imported[place]

    def _import(self, spec: str, usage: str, material: bytes, *, direct: bool) -> str:
        key_id = self.waiting(spec, usage)
        algorithm = "RSAES_OAEP_SHA_256" if direct else "RSA_AES_KEY_WRAP_SHA_256"
        parameters = self.parameters(key_id, algorithm)
        public = parameters["PublicKey"]
        wrapped = self.encrypted(public, material) if direct else self.wrapped_in_two_steps(public, material)
        self.send(key_id, parameters, wrapped)
        return key_id

    def waiting(self, spec: str, usage: str) -> str:
        """A new key that waits for material."""
        made = self.kms.create_key(KeySpec=spec, KeyUsage=usage, Origin="EXTERNAL")
        key_id: str = made["KeyMetadata"]["KeyId"]
        return key_id

    def parameters(self, key_id: str, algorithm: str) -> dict[str, Any]:
        """A wrapping key and its token."""
        asked = {"WrappingAlgorithm": algorithm, "WrappingKeySpec": "RSA_2048"}
        answer: dict[str, Any] = self.kms.get_parameters_for_import(KeyId=key_id, **asked)
        return answer

    def send(self, key_id: str, parameters: dict[str, Any], wrapped: bytes) -> None:
        """Import wrapped material."""
        self.kms.import_key_material(
            KeyId=key_id,
            ImportToken=parameters["ImportToken"],
            EncryptedKeyMaterial=wrapped,
            ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE",
        )

    def encrypted(self, public: bytes, plaintext: bytes, options: tuple[str, ...] = OAEP_SHA256) -> bytes:
        """`plaintext`, encrypted to a public key by openssl."""
        chosen = [word for option in options for word in ("-pkeyopt", option)]
        key = self.file(public)
        arguments = ("pkeyutl", "-encrypt", "-inkey", key, "-keyform", "DER", "-pubin", *chosen)
        return self.openssl(*arguments, "-in", self.file(plaintext))

    def wrapped_in_two_steps(self, public: bytes, material: bytes) -> bytes:
        """`material` by RSA_AES_KEY_WRAP_SHA_256, as the KMS guide does it with openssl."""
        ephemeral = secrets.token_bytes(32)
        wrap = ("enc", "-id-aes256-wrap-pad", "-iv", _WRAP_IV, "-K", ephemeral.hex())
        return self.encrypted(public, ephemeral) + self.openssl(*wrap, "-in", self.file(material))
