"""Where key material lives. Plaintext material never crosses `base.KeyStore`."""
