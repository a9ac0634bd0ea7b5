"""The other side of an external key store: a proxy by which AWS KMS uses keys of this house."""
