#!/bin/sh
# Judging classes: `prickle dvm verify` on one core, beside ASM's BasicVerifier when it is warm, on the classes of this machine's JDK. Ours judges more: classes of references,
# format, links. Exit 1 when the target is missed.
set -eu
cd "$(dirname "$0")/../.."
rounds=5
[ "${1:-}" = --quick ] && rounds=2
asm=/usr/share/java/asm.jar:/usr/share/java/asm-tree.jar:/usr/share/java/asm-analysis.jar
[ -e /usr/share/java/asm-analysis.jar ] || {
	echo "bench: no /usr/share/java/asm-analysis.jar: install libasm-java" >&2
	exit 1
}
jdk=${JAVA_HOME:-$(dirname "$(dirname "$(readlink -f "$(command -v java)")")")}
dir=$(mktemp -d "${TMPDIR:-/tmp}/prickle-bench.XXXXXX")
trap 'rm -rf "$dir"' EXIT
"$jdk/bin/java" tests/dvm/Classes.java image 1 >"$dir/classes"
"$jdk/bin/javac" -cp "$asm" -d "$dir" bench/dvm/Verify.java
# The same seconds of the machine: ours, ASM, ours again; the better of ours.
python3 bench/dvm/verify.py "${PRICKLE:-build/prickle}" "$jdk" "$rounds" >"$dir/ours"
"$jdk/bin/java" -Xmx2g -cp "$asm:$dir" Verify "$dir/classes" "$((rounds + 1))" >"$dir/asm"
python3 bench/dvm/verify.py "${PRICKLE:-build/prickle}" "$jdk" "$rounds" >>"$dir/ours"
awk '
	$1 == "asm" { asm = $2; refused = $4; next }
	$2 > ours { ours = $2 }
	END {
		printf "%-34s %10s %8s\n", "classes of the JDK image, one core", "classes/s", "to ASM"
		printf "%-34s %10d %8s   (%d methods refused)\n", "ASM BasicVerifier, warm", asm, "1.0", refused
		printf "%-34s %10d %8.1f\n", "prickle dvm verify", ours, ours / asm
		printf "target: at least 120000 classes/s: %s\n", ours < 120000 ? "missed" : "met"
		exit ours < 120000
	}' "$dir/asm" "$dir/ours"
