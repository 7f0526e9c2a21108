#!/bin/sh
# Reading classes: our parser, beside ASM's ClassReader when it is warm, on the classes of this machine's JDK. Exit 1 when a target is missed.
set -eu
cd "$(dirname "$0")/../.."
build=$(dirname "${PRICKLE:-build/prickle}")
cc=${CC:-cc}
rounds=7
[ "${1:-}" = --quick ] && rounds=3
asm=/usr/share/java/asm.jar
[ -e "$asm" ] || {
	echo "bench: no $asm: install libasm-java" >&2
	exit 1
}
dir=$(mktemp -d "${TMPDIR:-/tmp}/prickle-bench.XXXXXX")
trap 'rm -rf "$dir"' EXIT
java tests/dvm/Classes.java image 1 >"$dir/classes"
"$cc" -std=gnu17 -D_GNU_SOURCE -O2 -Isrc -o "$dir/parse" bench/dvm/parse.c "$build/src/dvm/classfile/libclassfile.a" "$build/src/base/libbase.a" -lm
javac -cp "$asm" -d "$dir" bench/dvm/Parse.java
# One core each, the same seconds of the machine: ours, ASM, ours again; the better of ours.
"$dir/parse" "$dir/classes" "$rounds" >"$dir/ours"
java -Xmx2g -cp "$asm:$dir" Parse "$dir/classes" $((2 * rounds)) >"$dir/asm"
"$dir/parse" "$dir/classes" "$rounds" >>"$dir/ours"
awk '
	$1 == "asm" { asm = $2; mb = $3; next }
	$2 > best[$1] { best[$1] = $2; speed[$1] = $3 }
	END {
		printf "%-34s %10s %8s %8s\n", "classes of the JDK image, one core", "classes/s", "MB/s", "to ASM"
		printf "%-34s %10d %8d %8s\n", "ASM ClassReader, warm", asm, mb, "1.0"
		split("parse parse+code everything", order, " ")
		for (i = 1; i <= 3; i++)
			printf "%-34s %10d %8d %8.1f\n", order[i], best[order[i]], speed[order[i]], best[order[i]] / asm
		missed = best["parse+code"] < 250000
		printf "target: parse+code at least 250000 classes/s: %s\n", missed ? "missed" : "met"
		exit missed
	}' "$dir/asm" "$dir/ours"
