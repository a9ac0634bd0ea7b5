#!/bin/sh
# Installs the Debian packages that the tests need, and says so. Nothing is done where they are there.
set -eu
here=$(dirname "$0")
missing=
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$missing postgresql"
[ -e /usr/lib/softhsm/libsofthsm2.so ] || missing="$missing softhsm2"
[ -n "$missing" ] || exit 0
echo "Installing the system packages that the tests need:$missing"
# Without this, Debian's package would make and start a cluster of its own; the tests start private ones.
case $missing in *postgresql*)
  "$here/apt_install.sh" postgresql-common
  conf=/etc/postgresql-common/createcluster.conf
  as_root=$([ "$(id -u)" = 0 ] || echo sudo)
  $as_root sed -i "s/^#\? *create_main_cluster *=.*/create_main_cluster = false/" $conf
esac
# shellcheck disable=SC2086 # a list of packages
"$here/apt_install.sh" $missing
