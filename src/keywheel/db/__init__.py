"""The one durable place: tables, statements, transactions, migrations."""
