"""Custom key stores, and the making of keys in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keywheel.access.door import Caller, authorize
from keywheel.api.kms import shapes as s
from keywheel.api.kms.paging import Bookmarks
from keywheel.api.rooms import Rooms
from keywheel.db.statement import Tx
from keywheel.errors import UnsupportedOperation, ValidationFailed
from keywheel.keys.custom.keys import CustomKeys
from keywheel.keys.custom.rows import CustomKeyStore
from keywheel.keys.custom.states import CLOUDHSM, EXTERNAL, Definition, require_state
from keywheel.keys.errors import VpcEndpointServiceNotFound
from keywheel.keys.keyring import Key
from keywheel.keys.specs import ENCRYPT, SYMMETRIC
from keywheel.keys.stores.xks import Credential
from keywheel.sensitive import Sensitive

_PAGE = 100
_PUBLIC = "PUBLIC_ENDPOINT"
_OF_TOKEN = ("CloudHsmClusterId", "KeyStorePassword", "TrustAnchorCertificate")
_OF_PROXY = ("XksProxyUriEndpoint", "XksProxyUriPath", "XksProxyAuthenticationCredential", "XksProxyConnectivity")
_NEEDED = {CLOUDHSM: _OF_TOKEN[:2], EXTERNAL: _OF_PROXY}
_REFUSED = {CLOUDHSM: _OF_PROXY, EXTERNAL: _OF_TOKEN}

_Definition = s.CreateCustomKeyStoreRequest | s.UpdateCustomKeyStoreRequest


def create_custom_key_store(
    rooms: Rooms, caller: Caller, request: s.CreateCustomKeyStoreRequest
) -> s.CreateCustomKeyStoreResponse:
    """Tell of a key store. It is not connected yet."""
    authorize(caller, "kms:CreateCustomKeyStore", "*", {})
    kind = request.custom_key_store_type or CLOUDHSM
    given = _given(request)
    _refuse_others(kind, given)
    for name in _NEEDED[kind]:
        if name not in given:
            raise ValidationFailed(f"{name} is required for a custom key store of type {kind}.")
    new = _definition(request, request.custom_key_store_name)
    if kind == EXTERNAL:
        rooms.keys.custom.probe(None, caller.scope, new, "CreateCustomKeyStore")

    def work(tx: Tx) -> CustomKeyStore:
        return rooms.keys.custom.create(tx, caller.scope, kind, new, rooms.clock.now())

    return s.CreateCustomKeyStoreResponse(custom_key_store_id=rooms.database.write(work).store_id)


def update_custom_key_store(rooms: Rooms, caller: Caller, request: s.UpdateCustomKeyStoreRequest) -> None:
    """Change what a key store is made of."""
    authorize(caller, "kms:UpdateCustomKeyStore", "*", {})
    with rooms.database.point() as tx:
        store = rooms.keys.custom.find(tx, caller.scope, request.custom_key_store_id)
    _refuse_others(store.type, _given(request))
    changed = _definition(request, request.new_custom_key_store_name)
    require_state(store, "UpdateCustomKeyStore", changed.given)
    if changed.given & {"endpoint", "path", "credential"}:
        rooms.keys.custom.probe(store, caller.scope, changed, "UpdateCustomKeyStore")

    def work(tx: Tx) -> None:
        locked = rooms.keys.custom.find(tx, caller.scope, request.custom_key_store_id, lock=True)
        rooms.keys.custom.update(tx, locked, changed)

    rooms.database.write(work)


def delete_custom_key_store(rooms: Rooms, caller: Caller, request: s.DeleteCustomKeyStoreRequest) -> None:
    """Forget a key store without keys."""
    authorize(caller, "kms:DeleteCustomKeyStore", "*", {})

    def work(tx: Tx) -> None:
        rooms.keys.custom.delete(tx, rooms.keys.custom.find(tx, caller.scope, request.custom_key_store_id, lock=True))

    rooms.database.write(work)


def describe_custom_key_stores(
    rooms: Rooms, caller: Caller, request: s.DescribeCustomKeyStoresRequest
) -> s.DescribeCustomKeyStoresResponse:
    """One key store, by its id or its name, or a page of them all."""
    authorize(caller, "kms:DescribeCustomKeyStores", "*", {})
    store_id, name = request.custom_key_store_id, request.custom_key_store_name
    if store_id is not None and name is not None:
        raise ValidationFailed("You cannot specify CustomKeyStoreId and CustomKeyStoreName in the same request.")
    marks, most = Bookmarks(str, "DescribeCustomKeyStores", caller.scope), request.limit or _PAGE
    after, stores = marks.read(request.marker), rooms.keys.custom
    with rooms.database.point() as tx:
        if store_id is not None:
            found = [stores.find(tx, caller.scope, store_id)]
        elif name is not None:
            found = [stores.named(tx, caller.scope, name)]
        else:
            found = stores.page(tx, caller.scope, after=after, most=most + 1)
    page = marks.page(found, most, lambda store: store.name)
    entries = [_entry(each) for each in page.items]
    return s.DescribeCustomKeyStoresResponse(
        custom_key_stores=entries, next_marker=page.marker, truncated=page.truncated
    )


def connect_custom_key_store(rooms: Rooms, caller: Caller, request: s.ConnectCustomKeyStoreRequest) -> None:
    """Open a key store. Whether that went well, its ConnectionState says."""
    authorize(caller, "kms:ConnectCustomKeyStore", "*", {})
    rooms.keys.custom.connect(rooms.database, caller.scope, request.custom_key_store_id)


def disconnect_custom_key_store(rooms: Rooms, caller: Caller, request: s.DisconnectCustomKeyStoreRequest) -> None:
    """Use a key store no more."""
    authorize(caller, "kms:DisconnectCustomKeyStore", "*", {})

    def work(tx: Tx) -> None:
        store = rooms.keys.custom.find(tx, caller.scope, request.custom_key_store_id, lock=True)
        rooms.keys.custom.disconnect(tx, store)

    rooms.database.write(work)


# --- keys in them


def is_custom(request: s.CreateKeyRequest) -> bool:
    """Whether CreateKey is to make a key in a custom key store."""
    asked = (request.custom_key_store_id, request.xks_key_id)
    return request.origin in (CLOUDHSM, EXTERNAL) or any(each is not None for each in asked)


def create_key_in_store(
    rooms: Rooms, caller: Caller, request: s.CreateKeyRequest, tags: Mapping[str, str], policy: str | None
) -> Key:
    """What CreateKey does in a custom key store.

    Raises:
        ValidationFailed: the members do not go together.
        UnsupportedOperation: there are no such keys in custom key stores.
    """
    origin, store_id = request.origin, request.custom_key_store_id
    if origin not in (CLOUDHSM, EXTERNAL):
        raise ValidationFailed(f"Origin must be {CLOUDHSM} or {EXTERNAL} for a key in a custom key store.")
    if store_id is None:
        raise ValidationFailed(f"CustomKeyStoreId is required for keys of origin {origin}.")
    if request.xks_key_id is not None and origin != EXTERNAL:
        raise ValidationFailed(f"XksKeyId is only valid for keys of origin {EXTERNAL}.")
    spec = request.key_spec or request.customer_master_key_spec or SYMMETRIC
    if spec != SYMMETRIC or (request.key_usage or ENCRYPT) != ENCRYPT or request.multi_region:
        raise UnsupportedOperation("Custom key stores have single-Region symmetric encryption keys only.")
    return CustomKeys(rooms.keys).create(
        rooms.database,
        caller.scope,
        store_id,
        now=rooms.clock.now(),
        origin=origin,
        external_id=request.xks_key_id,
        description=request.description or "",
        tags=tags,
        policy=policy,
    )


def told_of_store(rooms: Rooms, tx: Tx, key: Key) -> dict[str, Any]:
    """The members of KeyMetadata that only a key in a custom key store has."""
    if key.store_id is None:
        return {}
    store = rooms.keys.custom.find(tx, key.scope, key.store_id)
    external = CustomKeys.external_id(tx, key.key_id)
    return {
        "custom_key_store_id": store.store_id,
        "cloud_hsm_cluster_id": store.cluster,
        "xks_key_configuration": None if external is None else s.XksKeyConfigurationType(id=external),
    }


def random_of(rooms: Rooms, caller: Caller, store_id: str, length: int) -> Sensitive[bytes]:
    """Random bytes from a token.

    Raises:
        CustomKeyStoreNotFound, CustomKeyStoreInvalidState: there is none, or it is not connected.
        UnsupportedOperation: it is no token.
    """
    with rooms.database.read() as tx:
        store = rooms.keys.custom.find(tx, caller.scope, store_id)
        if store.type != CLOUDHSM:
            raise UnsupportedOperation("An external key store gives no random bytes.")
        require_state(store, "GenerateRandom")
        return rooms.keys.custom.random(tx, store_id, length)


# --- inside


def _given(request: _Definition) -> set[str]:
    members = {
        "CloudHsmClusterId": request.cloud_hsm_cluster_id,
        "KeyStorePassword": request.key_store_password,
        "TrustAnchorCertificate": getattr(request, "trust_anchor_certificate", None),
        "XksProxyUriEndpoint": request.xks_proxy_uri_endpoint,
        "XksProxyUriPath": request.xks_proxy_uri_path,
        "XksProxyAuthenticationCredential": request.xks_proxy_authentication_credential,
        "XksProxyConnectivity": request.xks_proxy_connectivity,
    }
    return {name for name, value in members.items() if value is not None}


def _refuse_others(kind: str, given: set[str]) -> None:
    for name in sorted(given & set(_REFUSED[kind])):
        raise ValidationFailed(f"{name} is not valid for a custom key store of type {kind}.")


def _definition(request: _Definition, name: str | None) -> Definition:
    if request.xks_proxy_connectivity not in (None, _PUBLIC) or request.xks_proxy_vpc_endpoint_service_name is not None:
        raise VpcEndpointServiceNotFound("There are no VPC endpoint services here.")
    given, password = request.xks_proxy_authentication_credential, request.key_store_password
    credential = None if given is None else Credential(given.access_key_id, Sensitive(given.raw_secret_access_key))
    return Definition(
        name=name,
        cluster=request.cloud_hsm_cluster_id,
        password=None if password is None else Sensitive(password),
        trust_anchor=getattr(request, "trust_anchor_certificate", None),
        endpoint=request.xks_proxy_uri_endpoint,
        path=request.xks_proxy_uri_path,
        credential=credential,
    )


def _entry(store: CustomKeyStore) -> s.CustomKeyStoresListEntry:
    proxy = None
    if store.type == EXTERNAL:
        where = store.proxy
        proxy = s.XksProxyConfigurationType(
            connectivity=_PUBLIC,
            access_key_id=where["access_key_id"],
            uri_endpoint=where["endpoint"],
            uri_path=where["path"],
        )
    return s.CustomKeyStoresListEntry(
        custom_key_store_id=store.store_id,
        custom_key_store_name=store.name,
        cloud_hsm_cluster_id=store.cluster,
        trust_anchor_certificate=store.trust_anchor,
        connection_state=store.state,
        connection_error_code=store.error,
        creation_date=store.created,
        custom_key_store_type=store.type,
        xks_proxy_configuration=proxy,
    )
