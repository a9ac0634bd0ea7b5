#!/bin/sh
# Installs Debian packages: as root directly, else with sudo. Their services are not started.
set -eu
[ -x /usr/bin/apt-get ] || {
  echo "Please install by hand (this is not Debian or Ubuntu): $*" >&2
  exit 1
}
if [ "$(id -u)" = 0 ]; then
  as_root=
elif command -v sudo >/dev/null; then
  as_root=sudo
else
  echo "Please run as root: apt-get install $*" >&2
  exit 1
fi
policy=/usr/sbin/policy-rc.d
made=
if [ ! -e $policy ]; then
  printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null
  $as_root chmod 755 $policy
  made=yes
fi
trap '[ -z "$made" ] || $as_root rm -f $policy' EXIT
$as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
