package jdk.internal.misc;

import java.util.Arrays;

/**
 * One epoch of the policy as decisions read it: arrays that never change. Made when the table's generation is another, or a source is new.
 */
final class GuardSnapshot {
    final long generation;
    final long epoch;
    /** By source: guards that need no look at their argument, a bit each: allowed everywhere and not audited. */
    final long[] free;

    private final int[] subjects;               // by source: the policy's number; 0: none
    private final String[] subjectNames;        // by number
    private final long[] trials;                // by number: seconds since 1970
    private final GuardTable.Bank bank;
    private final Labels files, endpoints;
    private final int[] singles = new int[GuardTable.CLASS_KERNEL + 1];    // by class: the object's number

    /** Labels of one class. */
    private static final class Labels {
        int[] object = new int[8], port = new int[8];
        boolean[] tree = new boolean[8];
        String[] text = new String[8];
        int count;

        void add(int number, String what, boolean isTree, int ofPort) {
            if (count == object.length) {
                object = Arrays.copyOf(object, count * 2);
                port = Arrays.copyOf(port, count * 2);
                tree = Arrays.copyOf(tree, count * 2);
                text = Arrays.copyOf(text, count * 2);
            }
            object[count] = number;
            text[count] = what;
            tree[count] = isTree;
            port[count++] = ofPort;
        }
    }

    GuardSnapshot(GuardTable.Bank bank, GuardSource[] sources, int count) {
        this.bank = bank;
        generation = bank.generation;
        epoch = bank.epoch();
        files = new Labels();
        endpoints = new Labels();
        subjectNames = new String[bank.subjects()];
        trials = new long[bank.subjects()];
        for (int i = 1; i < bank.objects(); i++) {
            int row = bank.objectRow(i), kind = bank.kind(row), type = bank.type(row);
            if (kind == GuardTable.OBJECT_SINGLE && type < singles.length)
                singles[type] = i;
            else if (kind == GuardTable.OBJECT_TREE || kind == GuardTable.OBJECT_PATH)
                files.add(i, bank.of(row), kind == GuardTable.OBJECT_TREE, 0);
            else if (kind == GuardTable.OBJECT_HOST_PORT)
                endpoints.add(i, bank.of(row), false, bank.port(row));
        }
        for (int i = 1; i < subjectNames.length; i++) {
            int row = bank.subjectRow(i);
            if (bank.kind(row) != GuardTable.SUBJECT_JVM)
                continue;
            subjectNames[i] = bank.name(row);
            trials[i] = bank.trialUntil(row);
        }
        subjects = new int[count];
        free = new long[count];
        for (int i = GuardSource.FIRST; i < count; i++) {
            subjects[i] = find(sources[i]);
            free[i] = freeOf(subjects[i]);
        }
    }

    /** The number of sources that this snapshot knows. */
    int sources() {
        return free.length;
    }

    /** The policy's domain of a source: the most exact one, as policy_subject_jvm() decides. 0: none. */
    private int find(GuardSource source) {
        int best = 0, bestRank = 0;
        for (int i = 1; i < subjectNames.length; i++) {
            if (subjectNames[i] == null)
                continue;
            int row = bank.subjectRow(i);
            int rank = rank(bank.of(row), bank.signer(row), bank.sha256(row), source);
            if (rank > bestRank) {
                bestRank = rank;
                best = i;
            }
        }
        return best;
    }

    private static int rank(String pattern, byte[] signer, byte[] sha256, GuardSource source) {
        int rank = pattern.equals(source.path) || pattern.equals(source.name()) ? 8 : fits(pattern, source.name()) ? 4 : 0;
        if (rank == 0 || (signer != null && !Arrays.equals(signer, source.signer)) || (sha256 != null && !Arrays.equals(sha256, source.sha256)))
            return 0;
        return rank + (sha256 != null ? 2 : 0) + (signer != null ? 1 : 0);
    }

    /** One '*' stands for any bytes of the name. */
    private static boolean fits(String pattern, String name) {
        int star = pattern.indexOf('*');
        return star >= 0 && name.length() >= pattern.length() - 1 && name.startsWith(pattern.substring(0, star)) && name.endsWith(pattern.substring(star + 1));
    }

    private long freeOf(int subject) {
        long out = 0;
        for (int guard = 0; guard < GuardCore.COUNT; guard++)
            if (everywhere(subject, GuardCore.CLASSES[guard], GuardCore.BITS[guard]))
                out |= 1L << guard;
        return out;
    }

    private boolean plain(int subject, int object, int bit) {
        return (bank.allow(subject, object) & bit) == bit && (bank.audit(subject, object) & bit) == 0;
    }

    private boolean everywhere(int subject, int type, int bit) {
        if (subject == 0)
            return false;
        if (type != GuardTable.CLASS_FILE && type != GuardTable.CLASS_ENDPOINT)
            return singles[type] != 0 && plain(subject, singles[type], bit);
        Labels labels = type == GuardTable.CLASS_FILE ? files : endpoints;
        boolean all = false;            // a label that nothing escapes
        for (int i = 0; i < labels.count; i++) {
            if (!plain(subject, labels.object[i], bit))
                return false;
            all |= type == GuardTable.CLASS_FILE ? labels.tree[i] && labels.text[i].equals("/") : labels.text[i].isEmpty() && labels.port[i] == 0;
        }
        return all;
    }

    int subject(int source) {
        return source >= 0 && source < subjects.length ? subjects[source] : 0;
    }

    String subjectName(int subject) {
        return subject <= 0 || subject >= subjectNames.length ? null : subjectNames[subject];
    }

    String objectName(int object) {
        return object == 0 ? null : bank.name(bank.objectRow(object));
    }

    int single(int type) {
        return singles[type];
    }

    /** The label of an absolute path without "." and "..": the file itself, else the longest tree. 0: none. */
    int file(String path) {
        int best = 0, length = -1;
        for (int i = 0; i < files.count; i++) {
            String text = files.text[i];
            if (!files.tree[i]) {
                if (text.equals(path))
                    return files.object[i];
            } else if (text.length() > length && (text.equals("/") || (path.startsWith(text) && (path.length() == text.length() || path.charAt(text.length()) == '/')))) {
                best = files.object[i];
                length = text.length();
            }
        }
        return best;
    }

    /** Host before port, each exact before any. names: what the host is called; each was resolved to the address by this machine, or is the address. */
    int endpoint(String[] names, int port) {
        int best = 0, rank = 0;
        for (int i = 0; i < endpoints.count; i++) {
            String host = endpoints.text[i];
            int found = endpoints.port[i] == port ? 1 : 0;
            if (endpoints.port[i] != 0 && found == 0)
                continue;
            boolean named = false;
            for (String name : names)
                named |= name.equalsIgnoreCase(host);
            if (named)
                found += 2;
            else if (!host.isEmpty())
                continue;
            if (found + 1 > rank) {
                rank = found + 1;
                best = endpoints.object[i];
            }
        }
        return best;
    }

    static final int DENIED = 0, ALLOWED = 1, AUDITED = 2, TRIAL = 3;

    int decide(int subject, int object, int bit) {
        if (subject == 0 || object == 0)
            return DENIED;
        if ((bank.allow(subject, object) & bit) == bit)
            return (bank.audit(subject, object) & bit) == 0 ? ALLOWED : AUDITED;
        return (bank.trial(subject, object) & bit) == bit && System.currentTimeMillis() / 1000 < trials[subject] ? TRIAL : DENIED;
    }

    /** The number of a domain by its name, whole or its last word when that is unique; 0: none. */
    int subjectNamed(String name) {
        int found = 0;
        for (int i = 1; i < subjectNames.length; i++) {
            String whole = subjectNames[i];
            if (whole == null)
                continue;
            if (whole.equals(name))
                return i;
            if (whole.endsWith("." + name)) {
                if (found != 0)
                    return 0;
                found = i;
            }
        }
        return found;
    }

    boolean mayEnter(int from, int to) {
        for (int i = 0; i < bank.edges(); i++)
            if (bank.edgeFrom(i) == from && bank.edgeTo(i) == to)
                return !bank.edgeTicket(i);
        return false;
    }

    /** Some domain asks for the hash of its jar. */
    static boolean asksHashes(GuardTable.Bank bank) {
        for (int i = 1; i < bank.subjects(); i++)
            if (bank.kind(bank.subjectRow(i)) == GuardTable.SUBJECT_JVM && bank.sha256(bank.subjectRow(i)) != null)
                return true;
        return false;
    }
}
