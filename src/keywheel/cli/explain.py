"""`keywheel access explain`: which statement or grant decides. Asks the policies just as a request would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from keywheel.cli.house import House, with_house
from keywheel.cli.output import as_json, print_json
from keywheel.clock import SystemClock
from keywheel.errors import ConfigurationError, ResourceNotFound

if TYPE_CHECKING:
    from keywheel.access.authorize import Authority, Decision, Lock
    from keywheel.arn import Arn, Scope
    from keywheel.db.statement import Tx

_CONTEXT = "kms:encryptioncontext:"


@click.command()
@click.option("--principal", "who", required=True, metavar="WHO", help="A user's name, or the ARN of a user or role.")
@click.option("--action", required=True, metavar="ACTION", help="Such as secretsmanager:GetSecretValue.")
@click.option("--resource", default="*", show_default=True, metavar="ARN", help="The ARN of a secret, a key, an alias…")
@click.option("--context", "pairs", multiple=True, metavar="KEY=VALUE", help="A condition key; may be said repeatedly.")
@click.option("--account", metavar="ID", help="The account.  [default: that of DIR/credentials]")
@click.option("--region", metavar="REGION", help="The Region.  [default: that of DIR/config]")
@as_json
@with_house
def explain(
    house: House,
    who: str,
    action: str,
    resource: str,
    pairs: tuple[str, ...],
    account: str | None,
    region: str | None,
    as_json: bool,
) -> None:
    """Say whether WHO may do ACTION, and which statement or grant decides.

    Of a user, the built-in policies of the access keys count, too. A role is asked for as one of its sessions. What is
    known only of a real request, such as an address or kms:EncryptionContext:NAME=VALUE, is said with --context. The
    exit code is 0 when it is allowed.
    """
    from keywheel.access import facts

    scope = house.scope(account, region)
    given = [_pair(pair) for pair in pairs]
    with house.database.read() as tx:
        authority = _authority(tx, who, scope)
        known = facts.request_facts(now=SystemClock().now(), region=scope.region, source_ip=None, secure=True)
        known |= _facts(tx, authority)
        context = {key[len(_CONTEXT) :]: value for key, value in given if key.lower().startswith(_CONTEXT)}
        known |= facts.encryption_facts(context) | facts.folded(given)
        decision = _decide(house, tx, authority, action, resource, known, context)
    if as_json:
        print_json(_document(decision))
    else:
        for line in _lines(decision):
            click.echo(line)
    if not decision.allowed:
        click.get_current_context().exit(1)


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or ":" not in key:
        raise ConfigurationError("--context must look like aws:SourceIp=203.0.113.7.")
    return key, value


def _authority(tx: Tx, who: str, scope: Scope) -> Authority:
    from keywheel.access import rights
    from keywheel.access.access_keys import AccessKeys
    from keywheel.access.identities import Identities, Sort
    from keywheel.access.templates import BUILT_IN
    from keywheel.arn import Arn

    arn = Arn.parse(who)
    kind, _, name = ("user", "", who) if arn is None else arn.resource.partition("/")
    account, name = scope.account if arn is None else arn.account, name.rpartition("/")[2]
    if kind == "role":
        return rights.of_session(tx, Identities().get(tx, account, Sort.ROLE, name), "explain")
    if kind != "user":
        raise ConfigurationError("--principal must be a user or a role.")
    found = Identities.find(tx, account, Sort.USER, name)
    own = f"arn:aws:iam::{account}:user/{name}" if found is None else found.arn
    held = [key for key in AccessKeys.list(tx) if key.arn == own]
    if found is None and not held:
        raise ResourceNotFound(f"There is no user {name} in account {account}.")
    built_in = {policy.name: policy for key in held if key.active for policy in BUILT_IN[key.role.value]}
    return rights.of_user(tx, own, tuple(built_in.values()))


def _facts(tx: Tx, authority: Authority) -> Any:
    from keywheel.access import rights
    from keywheel.access.identities import Identities, Sort

    who = authority.principal
    if who.role is None:
        return rights.user_facts(tx, who)
    return rights.session_facts(who, Identities().get(tx, who.account, Sort.ROLE, who.role.rpartition("/")[2]))


def _decide(
    house: House,
    tx: Tx,
    authority: Authority,
    action: str,
    resource: str,
    known: Any,
    encryption_context: dict[str, str],
) -> Decision:
    from keywheel.access import authorize
    from keywheel.access.policy import request
    from keywheel.arn import Arn

    asked = request(authority.principal, action, resource, known)
    arn = Arn.parse(resource)
    if arn is not None and arn.service == "secretsmanager":
        return authorize.secret(authority, asked, authorize.Lock(arn.account, _of_secret(house, tx, resource)))
    if arn is not None and arn.service == "kms" and arn.resource.startswith("key/"):
        lock = _of_key(house, tx, arn, authority)
        return authorize.key(authority, asked, lock, encryption_context=encryption_context)
    if arn is not None and arn.service == "iam" and arn.resource.startswith("role/"):
        return authorize.assume(authority, asked, authorize.Lock(arn.account, _of_role(tx, arn)))
    return authorize.own(authority, asked)


def _of_secret(house: House, tx: Tx, resource: str) -> Any:
    from keywheel.access.documents import Kind
    from keywheel.access.policy import compiled
    from keywheel.arn import Scope, parse_secret_id
    from keywheel.secrets.ledger import Secrets

    secret = Secrets(house.keys).look_up(tx, parse_secret_id(resource, Scope("", "")))
    if secret is None:
        raise ResourceNotFound(f"There is no secret {resource}.")
    return None if secret.policy is None else compiled(secret.policy, Kind.RESOURCE, "the secret's policy")


def _of_key(house: House, tx: Tx, arn: Arn, authority: Authority) -> Lock:
    from keywheel.access.authorize import Lock
    from keywheel.access.documents import Kind
    from keywheel.access.granted import held
    from keywheel.access.policy import compiled
    from keywheel.access.templates import default_key_policy
    from keywheel.arn import Scope

    key = house.keys.resolve(tx, Scope(arn.account, arn.region), str(arn))
    text = house.keys.lifecycle.policy(tx, key)
    policy = compiled(text or default_key_policy(arn.account), Kind.KEY, "the key's policy")
    return Lock(arn.account, policy, held(house.keys.grants, tx, key, authority.principal))


def _of_role(tx: Tx, arn: Arn) -> Any:
    from keywheel.access.documents import Kind
    from keywheel.access.identities import Identities, Sort
    from keywheel.access.policy import compiled

    role = Identities().get(tx, arn.account, Sort.ROLE, arn.resource.rpartition("/")[2])
    return None if role.trust is None else compiled(role.trust, Kind.TRUST, "the role's trust policy")


def _document(decision: Decision) -> dict[str, Any]:
    from keywheel.access.authorize import refusal

    document: dict[str, Any] = {
        "allowed": decision.allowed,
        "verdict": decision.verdict.value,
        "statements": [
            {"policy": each.policy, "kind": each.kind.value, "statement": each.statement} for each in decision.because
        ],
    }
    if decision.grant_id is not None:
        document["grant"] = decision.grant_id
    if decision.missing is not None:
        document["missing"] = decision.missing.value
    return document if decision.allowed else {**document, "message": refusal(decision)}


def _lines(decision: Decision) -> list[str]:
    from keywheel.access.authorize import refusal

    asked = decision.asked
    lines = [f"{decision.verdict.value}: {asked.principal.arn} {asked.action} {asked.resource}"]
    lines += [f"  by {each.statement!r} of {each.policy} ({each.kind.value} policy)" for each in decision.because]
    if decision.grant_id is not None:
        lines.append(f"  by the grant {decision.grant_id}")
    if decision.missing is not None:
        lines.append(f"  no statement of any {decision.missing.value} policy allows it")
    return lines if decision.allowed else [*lines, refusal(decision)]
