"""The AWS protocols: the only room that knows wire names, error codes and AWS's shapes."""
