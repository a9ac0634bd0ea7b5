"""keywheel seen from outside: what AWS's clients, raw HTTP and hostile callers get from a real server."""
