"""Keys: the root key, keys with backing keys, data keys, sealed values. The only room that knows ciphers."""
