"""Where the access room has something under the root key."""

from __future__ import annotations

from keywheel.access import access_keys, sessions
from keywheel.db.tables import access_key, access_session
from keywheel.keys.root.places import Place

PLACES = (
    Place.of("access keys", access_key, "sealed", lambda key_id: access_keys.sealed_label(key_id).encode()),
    Place.of("sessions", access_session, "sealed", lambda key_id: sessions.sealed_label(key_id).encode()),
)
