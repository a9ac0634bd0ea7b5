"""What `keywheel doctor` looks at, one file a subject. A check changes nothing."""
