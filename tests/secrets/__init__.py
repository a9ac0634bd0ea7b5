"""Tests of the secrets room."""  # noqa: A005 - its whole name is tests.secrets
