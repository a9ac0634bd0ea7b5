"""It needs nothing but Python."""

import os
import pwd


def peeks(event, context):
    """Try to read and to write what is the server's, and what is not."""
    for path in os.environ["PEEK"].split(":"):
        for mode in ("r", "a"):
            try:
                open(path, mode).close()
                print(mode, path)
            except OSError as error:
                print(mode, path, type(error).__name__)
    with open(os.path.join(os.environ["TMPDIR"], "own"), "w") as own:
        print("own", own.name)


def handler(event, context):
    """Say who this is, and what it may."""
    print("user", pwd.getpwuid(os.getuid()).pw_name)
    print("groups", os.getgroups())
    for line in open("/proc/self/status"):
        if line.startswith(("Cap", "NoNew")):
            print(*line.replace(":", "").split())
    print("reads", os.access("/etc/shadow", os.R_OK))
