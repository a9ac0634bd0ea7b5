"""Every table, once, for both dialects.

Instants are seconds since the epoch in double precision; a null instant means "not". No column but `sealed` and
`data_key` ever holds secret material, and those hold ciphertext only.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
    true,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

# SQLite counts up only a primary key that is spelled INTEGER.
_Id = BigInteger().with_variant(Integer, "sqlite")
# In the order of code points, whatever the locale of the PostgreSQL database is. SQLite knows no other order.
_Ordered = Text().with_variant(Text(collation="C"), "postgresql")


def _owner() -> Column[int]:
    return Column("secret_id", _Id, ForeignKey("secret.id", ondelete="CASCADE"), primary_key=True)


installation = Table(
    "installation",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

schema_floor = Table(
    "schema_floor",
    metadata,
    Column("oldest", Text, primary_key=True),  # the revision that a program must know
)

process = Table(
    "process",  # a process of a server that runs, or ran until lately
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("root_keys", Text, nullable=False),  # the ids of those that it knows
    Column("seen", Double, nullable=False),
)

access_key = Table(
    "access_key",
    metadata,
    Column("access_key_id", Text, primary_key=True),
    Column("account", Text, nullable=False),
    Column("arn", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created", Double, nullable=False),
    Column("active", Boolean, nullable=False, server_default=true()),
    Column("used", Double),  # when it last signed a request, to the minute or so
    Column("used_service", Text),
    Column("used_region", Text),
    Index(None, "account", "arn"),
)

principal = Table(
    "principal",
    metadata,
    Column("account", Text, primary_key=True),
    Column("kind", Text, primary_key=True),  # user or role
    Column("name", Text, primary_key=True),
    Column("path", Text, nullable=False),
    Column("principal_id", Text, nullable=False),
    Column("trust", Text),  # of a role: who may assume it
    Column("longest", Integer),  # of a role: the longest session, in seconds
    Column("tags", Text, nullable=False, server_default="{}"),  # a JSON object
    Column("created", Double, nullable=False),
)

identity_policy = Table(
    "identity_policy",
    metadata,
    Column("account", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("owner", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("document", Text, nullable=False),
    Column("changed", Double, nullable=False),
)

access_session = Table(
    "access_session",
    metadata,
    Column("access_key_id", Text, primary_key=True),
    Column("account", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("token", LargeBinary, nullable=False),  # a digest
    Column("policy", Text),
    Column("tags", Text, nullable=False, server_default="{}"),  # a JSON object: session_tags.py
    Column("created", Double, nullable=False),
    Column("expires", Double, nullable=False),
    Index(None, "expires"),
)

kms_key = Table(
    "kms_key",
    metadata,
    Column("account", Text, primary_key=True),
    Column("region", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("manager", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("spec", Text, nullable=False, server_default="SYMMETRIC_DEFAULT"),
    Column("usage", Text, nullable=False, server_default="ENCRYPT_DECRYPT"),
    Column("origin", Text, nullable=False, server_default="AWS_KMS"),
    Column("state", Text, nullable=False, server_default="Enabled"),
    Column("generation", Integer, nullable=False, server_default="1"),  # of the current backing key; 0: none yet
    Column("tags", Text, nullable=False, server_default="{}"),  # a JSON object, in the order the tags were given
    Column("policy", Text),  # null: the default policy
    Column("policy_serial", Integer, nullable=False, server_default="0"),  # counts up with each change of the policy
    Column("deletion", Double),  # when it will be purged
    Column("deletion_window", Integer),  # days
    Column("rotation_period", Integer),  # days; null: no automatic rotation
    Column("next_rotation", Double),
    Column("on_demand", Integer, nullable=False, server_default="0"),  # how often it was rotated on demand
    Column("expires", Double),  # when the first of the imported materials that it needs does
    Column("store_id", Text),  # a custom key store
    Column("multi_region", Text),  # PRIMARY or REPLICA
    Column("last_used", Double),
    Column("last_operation", Text),
    Column("grants", Integer, nullable=False, server_default="0"),  # how many it has
    Column("grant_serial", Integer, nullable=False, server_default="0"),  # counts up with each change of them
    Index("ix_kms_key_id", "key_id"),
    Index("ix_kms_key_deletion", "deletion"),
    Index("ix_kms_key_next_rotation", "next_rotation"),
)

kms_alias = Table(
    "kms_alias",
    metadata,
    Column("account", Text, primary_key=True),
    Column("region", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("key_id", Text, nullable=False),
    Column("created", Double),
    Column("updated", Double),
    Index("ix_kms_alias_key_id", "key_id"),
)

key_grant = Table(
    "key_grant",
    metadata,
    Column("account", Text, primary_key=True),  # the key's
    Column("region", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("grant_id", _Ordered, primary_key=True),
    Column("name", Text),
    Column("grantee", Text, nullable=False),
    Column("grantee_is_service", Boolean, nullable=False),
    Column("retiring", Text),
    Column("retiring_is_service", Boolean, nullable=False),
    Column("operations", Text, nullable=False),  # with blanks between them, in the order of the alphabet
    Column("equals", Text),  # a JSON object: the encryption context must be this one
    Column("subset", Text),  # a JSON object: the encryption context must hold this
    Column("source_arn", Text),
    Column("issuer", Text, nullable=False),  # the account that gave it
    Column("created", Double, nullable=False),
    Column("copy_of", Text),  # the grant of the former key that it repeats
    Index("ix_key_grant_grantee", "account", "region", "key_id", "grantee"),
    Index("ix_key_grant_retiring", "region", "retiring", "grant_id"),
)

backing_key = Table(
    "backing_key",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),  # empty while imported material is away
    Column("created", Double, nullable=False),
    Column("public", LargeBinary),  # of a key pair
    Column("rotated", Double),  # when it became the current one by a rotation
    Column("rotation", Text),  # AUTOMATIC or ON_DEMAND
    Column("fingerprint", LargeBinary),  # of imported material, sealed: the same must come again
    Column("description", Text),
    Column("expires", Double),
    Index("ix_backing_key_expires", "expires"),
)

regional_material = Table(
    "regional_material",  # imported material of a multi-Region key: a row where a Region has it
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("region", Text, primary_key=True),
    Column("description", Text),
    Column("expires", Double),
    Index("ix_regional_material_expires", "expires"),
)

custom_key_store = Table(
    "custom_key_store",
    metadata,
    Column("store_id", Text, primary_key=True),
    Column("account", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("name", _Ordered, nullable=False),
    Column("type", Text, nullable=False),
    Column("cluster", Text, unique=True),  # of a token
    Column("trust_anchor", Text),
    Column("proxy", Text, nullable=False),  # a JSON object: where an external key store's proxy is
    Column("sealed", LargeBinary, nullable=False),  # the PIN, or the secret half of the proxy's credential
    Column("state", Text, nullable=False),
    Column("error", Text),  # why the state is FAILED
    Column("serial", Integer, nullable=False),  # counts up with each change
    Column("created", Double, nullable=False),
    UniqueConstraint("account", "region", "name"),
)

custom_key = Table(  # a key in a custom key store
    "custom_key",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("store_id", Text, ForeignKey("custom_key_store.store_id"), nullable=False),
    Column("external_id", Text),  # of the external key that it is on
    UniqueConstraint("store_id", "external_id"),
)

secret = Table(
    "secret",
    metadata,
    Column("id", _Id, Identity(), primary_key=True),
    Column("account", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("name", _Ordered, nullable=False),
    Column("arn", Text, nullable=False, unique=True),
    Column("description", Text),
    Column("kms_key_id", Text),
    Column("type", Text),
    Column("owning_service", Text),
    Column("tags", Text, nullable=False),  # a JSON object, in the order the tags were given
    Column("policy", Text),
    Column("created", Double, nullable=False),
    Column("changed", Double, nullable=False),
    Column("accessed", Double),  # a midnight
    Column("deleted", Double),  # when it will be purged
    Column("rotated", Double),
    Column("rotation_enabled", Boolean),
    Column("rotation_function", Text),
    Column("rotation_days", Integer),
    Column("rotation_expression", Text),
    Column("rotation_duration", Text),
    Column("rotation_configured", Double),
    Column("next_rotation", Double),
    Column("external_metadata", Text),  # a JSON list of {Key, Value}
    Column("external_role", Text),
    Column("primary_id", _Id, ForeignKey("secret.id")),  # set on a replica
    Column("primary_region", Text),  # set on a secret that has or is a replica
    UniqueConstraint("account", "region", "name"),
    Index("ix_secret_listing", "account", "region", "created", "id"),
    Index("ix_secret_deleted", "deleted"),
    Index("ix_secret_primary", "primary_id"),
)

replica = Table(
    "replica",
    metadata,
    _owner(),  # the primary
    Column("region", Text, primary_key=True),
    Column("kms_key_id", Text),
    Column("status", Text, nullable=False),
    Column("message", Text),
)

version = Table(
    "version",
    metadata,
    _owner(),
    Column("version_id", Text, primary_key=True),
    Column("created", Double, nullable=False),
    Column("accessed", Double),  # a midnight
    Column("binary", Boolean, nullable=False),
    Column("key_arn", Text),  # null: the default key
    Column("data_key", LargeBinary),  # wrapped; null as long as the version has no value
    Column("sealed", LargeBinary),
    Index("ix_version_backing_key", text("substr(data_key, 1, 21)")),  # its head: which backing key wrapped it
)

label = Table(
    "label",
    metadata,
    _owner(),
    Column("label", Text, primary_key=True),
    Column("version_id", Text, nullable=False),
    sqlite_with_rowid=False,  # the table is its own primary key: one look-up instead of two
)

rotation = Table(
    "rotation",
    metadata,
    _owner(),
    Column("place", Text, nullable=False),  # host:port of the target: the unit of the concurrency limit
    Column("step", Text, nullable=False),
    Column("token", Text),  # the version that will become current
    Column("rehearsal", Boolean, nullable=False),  # only testSecret, on a copy of the current value
    Column("attempt", Integer, nullable=False),
    Column("window_end", Double),  # after this instant the running rotation is failed
    Column("due", Double),  # when the next scheduled rotation starts
    Column("retiring", Text),  # the version whose credential is to be ended
    Column("retire_at", Double),
    Column("failed_step", Text),
    Column("failed_code", Text),
    Column("failed_reason", Text),
    Column("refusals", Integer, nullable=False, server_default="0"),  # refused logins, for the lock-out budget
    Column("refusals_since", Double),
    Column("verify_at", Double),  # when the published credential is checked next
    Column("verified", Double),  # when it was last seen to work
    Column("health", Text),  # what the last check found wrong
    Column("wake_at", Double),  # the only timer: schedule, lease end, backoff, grace and window
    Column("fence", BigInteger, nullable=False),
    Column("holder", Text),
    Index("ix_rotation_wake_at", "wake_at"),
    Index("ix_rotation_place", "place", "wake_at"),
)

slot = Table(
    "slot",
    metadata,
    Column("place", Text, primary_key=True),  # whose concurrency is limited: a target's place, or an account
    Column("n", Integer, primary_key=True),
    Column("turn", BigInteger, nullable=False),  # counts up each time it is taken
    Column("holder", Text),
    Column("until", Double, nullable=False),  # it is free from this instant on
    Index("ix_slot_until", "until"),
)

journal = Table(
    "journal",
    metadata,
    Column("id", _Id, Identity(), primary_key=True),
    Column("secret_id", _Id, nullable=False),  # no foreign key: the journal outlives the secret
    Column("arn", Text, nullable=False),
    Column("token", Text),
    Column("fence", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("step", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("code", Text),
    Column("reason", Text),
    Column("at", Double, nullable=False),
    Column("audited", Boolean, nullable=False, server_default=false()),  # it is in the audit ledger
    Column("detail", Text),  # a JSON object: who asked, the policy, when the step began, what was seen
    Index("ix_journal_secret", "secret_id", "id"),
    Index("ix_journal_audited", "audited", "id"),
)

alias_rotation = Table(
    "alias_rotation",  # a key's rotation behind its alias: the rules, and the state of the present run
    metadata,
    Column("account", Text, primary_key=True),
    Column("region", Text, primary_key=True),
    Column("name", _Ordered, primary_key=True),
    Column("configured", Double, nullable=False),
    Column("expression", Text),  # null: only when asked for
    Column("window", Integer, nullable=False),  # durations are seconds
    Column("lead", Integer, nullable=False),
    Column("grace", Integer),
    Column("delete_after", Integer),
    Column("deletion_window", Integer, nullable=False),  # days
    Column("restricted", Boolean, nullable=False),
    Column("together", Boolean, nullable=False),
    Column("published", Boolean, nullable=False),
    Column("new_material", Boolean, nullable=False),
    Column("step", Text, nullable=False),
    Column("run", Text),
    Column("old_key", Text),
    Column("new_key", Text),  # written down before the key is made
    Column("attempt", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("failed_step", Text),
    Column("failed_code", Text),
    Column("failed_reason", Text),
    Column("urgent", Boolean, nullable=False),
    Column("due", Double),
    Column("rotated", Double),
    Column("wake_at", Double),  # the only timer: schedule, lease end, backoff and lead
    Column("serial", BigInteger, nullable=False),  # counts up with each claim; a save with an old one is refused
    Index("ix_alias_rotation_wake_at", "wake_at"),
)

former_key = Table(
    "former_key",  # a key that an alias has left
    metadata,
    Column("account", Text, primary_key=True),
    Column("region", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("name", Text, nullable=False),  # of the alias
    Column("successor", Text, nullable=False),
    Column("moved", Double, nullable=False),  # when the alias left it
    Column("stage", Text, nullable=False),
    Column("since", Double, nullable=False),
    Column("missed", Double),  # when somebody last tried to use it while it was disabled
    Column("held", Text),
    Column("wake_at", Double),
    Column("serial", BigInteger, nullable=False),
    Index("ix_former_key_name", "account", "region", "name"),
    Index("ix_former_key_wake_at", "wake_at"),
)

key_journal = Table(
    "key_journal",
    metadata,
    Column("id", _Id, Identity(), primary_key=True),
    Column("account", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("name", Text, nullable=False),  # of the alias
    Column("key_id", Text),
    Column("run", Text),
    Column("attempt", Integer, nullable=False),
    Column("step", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("code", Text),
    Column("reason", Text),
    Column("at", Double, nullable=False),
    Column("audited", Boolean, nullable=False, server_default=false()),  # it is in the audit ledger
    Index("ix_key_journal_account", "account", "region", "name", "id"),
    Index("ix_key_journal_audited", "audited", "id"),
)

enforcement = Table(
    "enforcement",  # keys that are kept under rotation, also those that are still to be made
    metadata,
    Column("account", Text, primary_key=True),
    Column("region", Text, primary_key=True),
    Column("tag_key", Text, primary_key=True),  # empty: every key
    Column("tag_value", Text, primary_key=True),
    Column("days", Integer, nullable=False),
    Column("wake_at", Double, nullable=False),
    Index("ix_enforcement_wake_at", "wake_at"),
)

audit_checkpoint = Table(
    "audit_checkpoint",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("line", Text, nullable=False),
)
