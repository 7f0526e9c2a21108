#!/bin/sh
# 100 million random decisions compared with SELinux's libsepol, in parts with seeds of their own.
# usage: bench/policy/oracle.sh [DECISIONS [SEED]]; build/ must be built (./dev build), with secilc and libsepol-dev.
set -eu
cd "$(dirname "$0")/../.."
decisions=${1:-100000000}
seed=${2:-1}
parts=10
[ -x build/test_policy_oracle ] || {
	echo "oracle: build/test_policy_oracle is not there: apt-get install secilc libsepol-dev, then ninja -C build" >&2
	exit 1
}
part=0 status=0
while [ "$part" -lt "$parts" ]; do
	said=$(ORACLE_SEED=$((seed + part)) ORACLE_DECISIONS=$((decisions / parts)) build/test_policy_oracle 2>&1) || status=1
	printf '%s\n' "$said" | grep -E '^(not ok|# seed)' || status=1
	case $said in *'not ok'*) status=1 ;; esac
	part=$((part + 1))
done
exit "$status"
