"""Keys of every kind, and who may use them. Additive: a program of the former schema goes on working."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
phase = "expand"

_YEAR = 365


def upgrade() -> None:
    """Apply."""
    _keys()
    _behind_aliases()
    _identities()
    _custom_key_stores()
    _dependants()
    _processes()
    _multi_region_keys()
    _grants()


def _keys() -> None:
    with op.batch_alter_table("kms_key", schema=None) as batch_op:
        batch_op.add_column(sa.Column("spec", sa.Text(), nullable=False, server_default="SYMMETRIC_DEFAULT"))
        batch_op.add_column(sa.Column("usage", sa.Text(), nullable=False, server_default="ENCRYPT_DECRYPT"))
        batch_op.add_column(sa.Column("origin", sa.Text(), nullable=False, server_default="AWS_KMS"))
        batch_op.add_column(sa.Column("state", sa.Text(), nullable=False, server_default="Enabled"))
        batch_op.add_column(sa.Column("generation", sa.Integer(), nullable=False, server_default="1"))
        batch_op.add_column(sa.Column("tags", sa.Text(), nullable=False, server_default="{}"))
        batch_op.add_column(sa.Column("policy", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("policy_serial", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("deletion", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("deletion_window", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("rotation_period", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("next_rotation", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("on_demand", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("expires", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("store_id", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("multi_region", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("last_used", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("last_operation", sa.Text(), nullable=True))
    op.create_index("ix_kms_key_id", "kms_key", ["key_id"])
    op.create_index("ix_kms_key_deletion", "kms_key", ["deletion"])
    op.create_index("ix_kms_key_next_rotation", "kms_key", ["next_rotation"])
    # An AWS managed key is rotated every year, also one that was made before there were rotations.
    key = sa.table("kms_key", *(sa.column(n) for n in ("manager", "created", "rotation_period", "next_rotation")))
    op.execute(
        key.update()
        .where(key.c.manager == "AWS")
        .values(rotation_period=_YEAR, next_rotation=key.c.created + float(_YEAR * 86400))
    )
    with op.batch_alter_table("kms_alias", schema=None) as batch_op:
        batch_op.add_column(sa.Column("created", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("updated", sa.Double(), nullable=True))
    op.create_index("ix_kms_alias_key_id", "kms_alias", ["key_id"])
    with op.batch_alter_table("backing_key", schema=None) as batch_op:
        batch_op.add_column(sa.Column("public", sa.LargeBinary(), nullable=True))
        batch_op.add_column(sa.Column("rotated", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("rotation", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("fingerprint", sa.LargeBinary(), nullable=True))
        batch_op.add_column(sa.Column("description", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("expires", sa.Double(), nullable=True))
    op.create_index("ix_backing_key_expires", "backing_key", ["expires"])


def _behind_aliases() -> None:
    op.create_table(
        "alias_rotation",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("configured", sa.Double(), nullable=False),
        sa.Column("expression", sa.Text(), nullable=True),
        sa.Column("window", sa.Integer(), nullable=False),
        sa.Column("lead", sa.Integer(), nullable=False),
        sa.Column("grace", sa.Integer(), nullable=True),
        sa.Column("delete_after", sa.Integer(), nullable=True),
        sa.Column("deletion_window", sa.Integer(), nullable=False),
        sa.Column("restricted", sa.Boolean(), nullable=False),
        sa.Column("together", sa.Boolean(), nullable=False),
        sa.Column("published", sa.Boolean(), nullable=False),
        sa.Column("new_material", sa.Boolean(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=True),
        sa.Column("old_key", sa.Text(), nullable=True),
        sa.Column("new_key", sa.Text(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failed_step", sa.Text(), nullable=True),
        sa.Column("failed_code", sa.Text(), nullable=True),
        sa.Column("failed_reason", sa.Text(), nullable=True),
        sa.Column("urgent", sa.Boolean(), nullable=False),
        sa.Column("due", sa.Double(), nullable=True),
        sa.Column("rotated", sa.Double(), nullable=True),
        sa.Column("wake_at", sa.Double(), nullable=True),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account", "region", "name", name=op.f("pk_alias_rotation")),
    )
    op.create_index("ix_alias_rotation_wake_at", "alias_rotation", ["wake_at"])
    op.create_table(
        "former_key",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("successor", sa.Text(), nullable=False),
        sa.Column("moved", sa.Double(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("missed", sa.Double(), nullable=True),
        sa.Column("held", sa.Text(), nullable=True),
        sa.Column("wake_at", sa.Double(), nullable=True),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account", "region", "key_id", name=op.f("pk_former_key")),
    )
    op.create_index("ix_former_key_name", "former_key", ["account", "region", "name"])
    op.create_index("ix_former_key_wake_at", "former_key", ["wake_at"])
    op.create_table(
        "key_journal",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=True),
        sa.Column("run", sa.Text(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("audited", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_key_journal")),
    )
    op.create_index("ix_key_journal_account", "key_journal", ["account", "region", "name", "id"])
    op.create_index("ix_key_journal_audited", "key_journal", ["audited", "id"])
    op.create_table(
        "enforcement",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("tag_key", sa.Text(), nullable=False),
        sa.Column("tag_value", sa.Text(), nullable=False),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.Column("wake_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("account", "region", "tag_key", "tag_value", name=op.f("pk_enforcement")),
    )
    op.create_index("ix_enforcement_wake_at", "enforcement", ["wake_at"])


def _identities() -> None:
    with op.batch_alter_table("access_key", schema=None) as batch_op:
        batch_op.add_column(sa.Column("active", sa.Boolean(), nullable=False, server_default=sa.true()))
        batch_op.add_column(sa.Column("used", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("used_service", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("used_region", sa.Text(), nullable=True))
    op.create_index("ix_access_key_account_arn", "access_key", ["account", "arn"])
    op.create_table(
        "principal",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("principal_id", sa.Text(), nullable=False),
        sa.Column("trust", sa.Text(), nullable=True),
        sa.Column("longest", sa.Integer(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False, server_default="{}"),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("account", "kind", "name", name=op.f("pk_principal")),
    )
    op.create_table(
        "identity_policy",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("changed", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("account", "kind", "owner", "name", name=op.f("pk_identity_policy")),
    )
    op.create_table(
        "access_session",
        sa.Column("access_key_id", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("token", sa.LargeBinary(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False, server_default="{}"),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("access_key_id", name=op.f("pk_access_session")),
    )
    op.create_index("ix_access_session_expires", "access_session", ["expires"])


def _dependants() -> None:
    op.create_index("ix_version_backing_key", "version", [sa.text("substr(data_key, 1, 21)")])


def _custom_key_stores() -> None:
    op.create_table(
        "custom_key_store",
        sa.Column("store_id", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("cluster", sa.Text(), nullable=True),
        sa.Column("trust_anchor", sa.Text(), nullable=True),
        sa.Column("proxy", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("serial", sa.Integer(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", name=op.f("pk_custom_key_store")),
        sa.UniqueConstraint("account", "region", "name", name=op.f("uq_custom_key_store_account_region_name")),
        sa.UniqueConstraint("cluster", name=op.f("uq_custom_key_store_cluster")),
    )
    op.create_table(
        "custom_key",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("store_id", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["store_id"], ["custom_key_store.store_id"], name=op.f("fk_custom_key_store_id")),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_custom_key")),
        sa.UniqueConstraint("store_id", "external_id", name=op.f("uq_custom_key_store_id_external_id")),
    )


def _grants() -> None:
    with op.batch_alter_table("kms_key", schema=None) as batch_op:
        batch_op.add_column(sa.Column("grants", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("grant_serial", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "key_grant",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("grant_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("grantee", sa.Text(), nullable=False),
        sa.Column("grantee_is_service", sa.Boolean(), nullable=False),
        sa.Column("retiring", sa.Text(), nullable=True),
        sa.Column("retiring_is_service", sa.Boolean(), nullable=False),
        sa.Column("operations", sa.Text(), nullable=False),
        sa.Column("equals", sa.Text(), nullable=True),
        sa.Column("subset", sa.Text(), nullable=True),
        sa.Column("source_arn", sa.Text(), nullable=True),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("copy_of", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("account", "region", "key_id", "grant_id", name=op.f("pk_key_grant")),
    )
    op.create_index("ix_key_grant_grantee", "key_grant", ["account", "region", "key_id", "grantee"])
    op.create_index("ix_key_grant_retiring", "key_grant", ["region", "retiring", "grant_id"])


def _multi_region_keys() -> None:
    op.create_table(
        "regional_material",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("expires", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("key_id", "generation", "region", name=op.f("pk_regional_material")),
    )
    op.create_index("ix_regional_material_expires", "regional_material", ["expires"])


def _processes() -> None:
    op.create_table(
        "process",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("root_keys", sa.Text(), nullable=False),
        sa.Column("seen", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_process")),
    )
