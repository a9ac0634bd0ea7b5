"""What goes wrong with functions. `NOTES` names a file in which they leave word."""

import json
import os
import signal
import subprocess
import sys
import time

import postgres

_NOTES = os.environ.get("NOTES", os.devnull)


def dies_once(event, context):
    """Kill this process in the middle of setSecret, after the database was told; do it right the next time."""
    postgres.lambda_handler(event, context)
    if event["Step"] == "setSecret" and not os.path.exists(_NOTES):
        note("died")
        os.kill(os.getpid(), signal.SIGKILL)


def hangs(event, context):
    """Never end, and have a child that never ends."""
    child = subprocess.Popen(["sleep", "600"])
    note(f"{os.getpid()} {child.pid}")
    while True:
        time.sleep(1)


def tells(event, context):
    """Fail, and quote the password, the credentials and a password that nobody wrote down."""
    value = postgres.read(event["SecretId"])
    drawn = postgres.client.get_random_password()["RandomPassword"]
    key = os.environ["AWS_SECRET_ACCESS_KEY"]
    print("printed", value["password"], json.dumps({"key": key}), drawn)
    raise ValueError(f"could not set {value['password']!r} for {value['username']}, by {key} ({drawn})")


def snoops(event, context):
    """Read another secret."""
    postgres.read(os.environ["OTHER"])


def leaves(event, context):
    """End the whole process."""
    sys.exit(3)


def looks(event, context):
    """Say what this process was given, the first time."""
    if os.path.exists(_NOTES):
        return
    note(
        json.dumps(
            {
                "environment": sorted(os.environ),
                "arguments": open("/proc/self/cmdline").read(),
                "begun with": open("/proc/self/environ").read(),
                "descriptors": open_descriptors(),
                "directory": os.getcwd(),
                "leads": [os.getpgrp() == os.getpid(), os.getsid(0) == os.getpid()],
                "input": sys.stdin.read(),
                "context": [context.function_name, context.invoked_function_arn, context.function_version],
                "milliseconds": context.get_remaining_time_in_millis(),
                "request": context.aws_request_id,
            }
        )
    )


def open_descriptors():
    """What this process has open: files by their paths, everything else by its kind."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{fd}").partition(":")[0])
        except OSError:  # that of the listing itself
            continue
    return sorted(found)


def note(text):
    """Leave word."""
    with open(_NOTES, "a") as file:
        file.write(text)
