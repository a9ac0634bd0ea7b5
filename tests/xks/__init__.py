"""The external key store proxy."""
