"""What recovery, many machines and evidence need. Additive: a program of the former schema goes on working."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
phase = "expand"


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("rotation", schema=None) as batch_op:
        batch_op.add_column(sa.Column("refusals", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("refusals_since", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("verify_at", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("verified", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("health", sa.Text(), nullable=True))
    floor = op.create_table("schema_floor", sa.Column("oldest", sa.Text(), nullable=False, primary_key=True))
    op.bulk_insert(floor, [{"oldest": "0001"}])
    op.create_table(
        "slot",
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("turn", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=True),
        sa.Column("until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("place", "n", name="pk_slot"),
    )
    op.create_index("ix_slot_until", "slot", ["until"])
    op.create_table(
        "audit_checkpoint",
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("stream", name="pk_audit_checkpoint"),
    )
    with op.batch_alter_table("journal", schema=None) as batch_op:
        batch_op.add_column(sa.Column("audited", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("detail", sa.Text(), nullable=True))
    op.create_index("ix_journal_audited", "journal", ["audited", "id"])
