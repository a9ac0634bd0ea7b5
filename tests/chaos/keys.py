"""The load of keys, and the observer that reads back what they made: decrypts, verifies, looks at key sets."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import psycopg
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from tests.chaos.ledger import CIPHERTEXT, MAC_, SIGNATURE, KeyLedger, Made
from tests.chaos.load import AWAY, OUR_FAULT, Caller, Hands
from tests.chaos.site import MAC, SIGNING, SYMMETRIC, Replica, Site
from tests.support.keywheel_server import ACCOUNT, REGION

_SIGNED_BY, _MAC_BY = "ECDSA_SHA_256", "HMAC_SHA_256"
_ON_DEMAND = SYMMETRIC[: len(SYMMETRIC) // 2]  # the others rotate by themselves
_LIMITED = ("LimitExceededException", "ConflictException")  # 25 times a key, as at AWS
_PAUSE = 0.03
_KEY_SET_EVERY, _STORE_EVERY = 15, 10  # samples
_SILENCE = 5.0
_LATE = 6.0  # seconds that an answer with a key set may be old: as long as a client waits for it, and one
_NAMED = """
    SELECT a.name, coalesce(k.state, 'missing') FROM kms_alias a
    LEFT JOIN kms_key k ON k.account = a.account AND k.region = a.region AND k.key_id = a.key_id
    WHERE a.name LIKE 'alias/chaos/%' AND k.state IS DISTINCT FROM 'Enabled'"""


class KeyLoad(Hands):
    """The clients of keys: each answer is kept, to be read back.

    Args:
        since: seconds since the run began.
        uses: uses a second at each replica.
        rotations: rotations a second that are asked for.
    """

    def __init__(self, site: Site, since: Callable[[], float], *, seed: int, uses: float, rotations: float) -> None:
        self.ledger = KeyLedger()
        self._since = since
        self._uses = (self._encrypt, self._data_key, self._sign, self._mac)
        paces = [(self._use, 1.0 / uses), (self._rotate, len(site.replicas) / rotations), (self._rotate_in_place, 6.0)]
        super().__init__(site, paces, seed=seed, wrong=self.ledger.wrong)

    def _use(self, caller: Caller, _: Replica, draw: random.Random) -> str | None:
        return draw.choice(self._uses)(caller, draw)

    def _encrypt(self, caller: Caller, draw: random.Random) -> str | None:
        alias, plaintext = draw.choice(SYMMETRIC), draw.randbytes(32)
        members = {"Plaintext": _text(plaintext), "EncryptionContext": {"alias": alias}}
        return self._asked(caller, "Encrypt", CIPHERTEXT, alias, members, digest=_digest(plaintext))

    def _data_key(self, caller: Caller, draw: random.Random) -> str | None:
        alias = draw.choice(SYMMETRIC)
        members = {"KeySpec": "AES_256", "EncryptionContext": {"alias": alias}}
        return self._asked(caller, "GenerateDataKey", CIPHERTEXT, alias, members)

    def _sign(self, caller: Caller, draw: random.Random) -> str | None:
        message = draw.randbytes(24).hex()
        members = {"Message": _text(message.encode()), "SigningAlgorithm": _SIGNED_BY}
        return self._asked(caller, "Sign", SIGNATURE, draw.choice(SIGNING), members, digest=message)

    def _mac(self, caller: Caller, draw: random.Random) -> str | None:
        message = draw.randbytes(24).hex()
        members = {"Message": _text(message.encode()), "MacAlgorithm": _MAC_BY}
        return self._asked(caller, "GenerateMac", MAC_, draw.choice(MAC), members, digest=message)

    def _asked(
        self, caller: Caller, operation: str, kind: str, alias: str, members: dict[str, Any], *, digest: str = ""
    ) -> str | None:
        begun = self._since()
        code, answer = caller.ask_keys(operation, KeyId=alias, **members)
        self.ledger.count(self.ledger.asked, f"{operation} {code or 'done'}")
        if code is None:
            result = answer.get("CiphertextBlob") or answer.get("Signature") or answer["Mac"]
            text = digest or _digest(base64.b64decode(answer["Plaintext"]))
            key_id = answer["KeyId"].rpartition("/")[2]
            self.ledger.add(Made(kind, alias, key_id, text, result, begun, self._since()))
        elif code not in (AWAY, *OUR_FAULT):
            self.ledger.wrong.append(f"at {begun:.1f} s {operation} by {alias} was refused: {code}")
        return code

    def _rotate(self, caller: Caller, _: Replica, draw: random.Random) -> str | None:
        alias = draw.choice(SIGNING + MAC)
        code, answer = caller.ask_house("StartAliasRotation", AliasName=alias)
        self.ledger.count(self.ledger.asked, f"StartAliasRotation {code or 'done'}")
        if code is None:
            self.ledger.runs[answer["RotationId"]] = alias
        elif code not in (AWAY, *OUR_FAULT):
            self.ledger.wrong.append(f"StartAliasRotation of {alias} was refused: {code}")
        return code

    def _rotate_in_place(self, caller: Caller, _: Replica, draw: random.Random) -> str | None:
        alias = draw.choice(_ON_DEMAND)
        code, answer = caller.ask_keys("DescribeKey", KeyId=alias)
        if code is not None:
            return code
        code, _answer = caller.ask_keys("RotateKeyOnDemand", KeyId=answer["KeyMetadata"]["KeyId"])
        self.ledger.count(self.ledger.asked, f"RotateKeyOnDemand {code or 'done'}")
        if code is None:
            self.ledger.count(self.ledger.in_place, alias)
        elif code in (AWAY, *OUR_FAULT):
            self.ledger.count(self.ledger.doubtful, alias)
        elif code not in _LIMITED:
            self.ledger.wrong.append(f"RotateKeyOnDemand of {alias} was refused: {code}")
        return code


class KeyObserver:
    """A thread that reads back what was made, as long as the run lasts, and looks at what the aliases name."""

    def __init__(self, site: Site, since: Callable[[], float], ledger: KeyLedger, *, seed: int) -> None:
        self._site = site
        self._since = since
        self._ledger = ledger
        self._draw = random.Random(seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        callers = [Caller(self._site, replica) for replica in self._site.replicas]
        turn = 0
        while not self._over.wait(_PAUSE):
            turn += 1
            try:
                self._look(callers, turn)
            except Exception as error:
                self._ledger.wrong.append(f"the observer of keys ended by {error!r}")
                raise
        for caller in callers:
            caller.close()

    def _look(self, callers: list[Caller], turn: int) -> None:
        made = self._ledger.made
        if made:
            newest = len(made) - 40 if self._draw.random() < 0.3 else 0
            read_back(self._draw.choice(callers), made[self._draw.randrange(max(0, newest), len(made))], self._ledger)
        if turn % _KEY_SET_EVERY == 0:
            replica, alias = self._draw.choice(self._site.replicas), self._draw.choice(SIGNING)
            look_at_key_set(replica, alias, self._ledger, before=self._since() - _LATE)
        if turn % _STORE_EVERY == 0:
            self._look_at_store()

    def _look_at_store(self) -> None:
        try:
            for alias, state in self._site.asked_store(_NAMED):
                self._ledger.wrong.append(f"at {self._since():.1f} s {alias} named a key that was {state}")
            self._ledger.count(self._ledger.read, "aliases")
        except psycopg.Error:  # a store that is just killed
            self._ledger.count(self._ledger.read, "no answer")


def read_back(caller: Caller, made: Made, ledger: KeyLedger) -> bool:
    """Have a replica open or verify what was made; whether it answered."""
    match made.kind:
        case "ciphertext":
            context = {"alias": made.alias}
            code, answer = caller.ask_keys("Decrypt", CiphertextBlob=made.result, EncryptionContext=context)
            good = code is None and _digest(base64.b64decode(answer["Plaintext"])) == made.text
        case "signature":
            message = _text(made.text.encode())
            code, answer = caller.ask_keys(
                "Verify", KeyId=made.key_id, Message=message, Signature=made.result, SigningAlgorithm=_SIGNED_BY
            )
            good = code is None and answer["SignatureValid"]
        case _:
            message = _text(made.text.encode())
            code, answer = caller.ask_keys(
                "VerifyMac", KeyId=made.key_id, Message=message, Mac=made.result, MacAlgorithm=_MAC_BY
            )
            good = code is None and answer["MacValid"]
    if code in (AWAY, *OUR_FAULT):
        ledger.count(ledger.read, "no answer")
        return False
    ledger.count(ledger.read, made.kind)
    if not good:
        ledger.wrong.append(f"the {made.kind} of {made.at:.1f} s by {made.alias} is not read back: {code}")
    return True


def look_at_key_set(
    replica: Replica, alias: str, ledger: KeyLedger, *, before: float, everything: bool = False
) -> bool:
    """The first and last signatures that were answered `before`, or all, verify by what a replica publishes.

    Whether it answered.
    """
    with ledger.lock:
        signed = [one for one in ledger.made if one.alias == alias and one.at < before]
    url = f"http://127.0.0.1:{replica.port}/jwks/{ACCOUNT}/{REGION}/{alias}"
    try:
        with urllib.request.urlopen(url, timeout=_SILENCE) as answer:
            keys = {one["kid"]: one for one in json.load(answer)["keys"]}
    except urllib.error.HTTPError as error:
        if error.code < 500:
            ledger.wrong.append(f"the key set of {alias} was refused with {error.code}")
        ledger.count(ledger.read, "no answer")
        return False
    except (OSError, ValueError):
        ledger.count(ledger.read, "no answer")
        return False
    ledger.count(ledger.read, "key sets")
    for each in signed if everything else signed[-20:] + signed[:20]:
        if each.key_id not in keys:
            ledger.wrong.append(f"key {each.key_id}, which signed at {each.at:.1f} s, is not in the set of {alias}")
        elif not _verifies(keys[each.key_id], each):
            ledger.wrong.append(f"a signature of {each.at:.1f} s by {alias} does not verify by the key set")
    return True


def _verifies(key: dict[str, str], made: Made) -> bool:
    x, y = (int.from_bytes(base64.urlsafe_b64decode(key[name] + "==")) for name in ("x", "y"))
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    try:
        public.verify(base64.b64decode(made.result), made.text.encode(), ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _digest(plaintext: bytes) -> str:
    return hashlib.sha256(plaintext).hexdigest()


def _text(octets: bytes) -> str:
    return base64.b64encode(octets).decode()
