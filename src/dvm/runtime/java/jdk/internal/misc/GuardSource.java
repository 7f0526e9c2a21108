package jdk.internal.misc;

/**
 * Where code came from: what the policy calls a domain of kind "jvm code". The number of a source is what Class.prickleSource holds; numbers below FIRST
 * have no row.
 */
final class GuardSource {
    static final int UNDECIDED = 0, JDK = 1, JDK_OWN = 2, UNKNOWN = 3, FIRST = 4;
    /** More jars than this in one machine share UNKNOWN, which has no rights. */
    static final int MAX = 65536;

    final int id;
    final String path;          // of the jar or directory that a built-in loader opened
    byte[] sha256;              // of the jar; null: not asked for yet, or a directory
    byte[] signer;              // Ed25519 key of prickle's own signature beside the jar; null: none

    GuardSource(int id, String path) {
        this.id = id;
        this.path = path;
    }

    /** Last segment: patterns name it. */
    String name() {
        return path.substring(path.lastIndexOf('/') + 1);
    }
}
