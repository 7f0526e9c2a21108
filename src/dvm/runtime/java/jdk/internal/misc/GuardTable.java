package jdk.internal.misc;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;

/**
 * The policy in force on this node: the mapped table of src/policy/table/image.h, read-only. A new policy is a new generation in the same page, so a
 * snapshot is good as long as the generation stands.
 *
 * The file is root's, but what it says is believed only after every offset has been checked: a fault here would end the virtual machine.
 */
final class GuardTable {
    static final int MAGIC = 0x54504b50, ABI = 2;
    /* struct policy_head */
    static final int HEAD_BYTES = 8, HEAD_BANK = 16, HEAD_BANK_BYTES = 24, HEAD_SUBJECTS = 28, HEAD_OBJECTS = 32, HEAD_BOOT = 40, HEAD_GENERATION = 64;
    /* struct policy_bank */
    static final int BANK_EPOCH = 0, BANK_BYTES = 16, BANK_SUBJECTS = 20, BANK_OBJECTS = 24, BANK_CELLS = 28, BANK_SUBJECT_ROWS = 32,
            BANK_OBJECT_ROWS = 36, BANK_ENTERS = 48, BANK_ENTER_COUNT = 52, BANK_NAMES = 56, BANK_NAMES_BYTES = 60, BANK_SHIFT = 64;
    /* struct policy_label, policy_cell, policy_edge */
    static final int LABEL = 104, LABEL_KIND = 0, LABEL_CLASS = 1, LABEL_PORT = 2, LABEL_NAME = 4, LABEL_TEXT = 8, LABEL_SIGNER = 20, LABEL_SHA256 = 52, LABEL_TRIAL = 88;
    static final int CELLS_AT = 128, CELL = 16, CELL_ALLOW = 0, CELL_AUDIT = 4, CELL_TRIAL = 8;
    static final int EDGE = 12;
    /* enum policy_subject_kind, policy_object_kind, policy_class */
    static final int SUBJECT_JVM = 2;
    static final int OBJECT_SINGLE = 1, OBJECT_TREE = 3, OBJECT_PATH = 4, OBJECT_HOST_PORT = 5;
    static final int CLASS_FILE = 3, CLASS_ENDPOINT = 4, CLASS_CODE = 12, CLASS_KERNEL = 13;

    private static final Unsafe U = Unsafe.getUnsafe();

    private final ByteBuffer map;           // keeps the mapping
    private final long generationAddress;
    private final int bankBytes, subjectsMax, objectsMax;
    private final int[] banks;

    private GuardTable(ByteBuffer map, long address) {
        this.map = map;
        generationAddress = address + HEAD_GENERATION;
        bankBytes = map.getInt(HEAD_BANK_BYTES);
        subjectsMax = map.getInt(HEAD_SUBJECTS);
        objectsMax = map.getInt(HEAD_OBJECTS);
        banks = new int[] { map.getInt(HEAD_BANK), map.getInt(HEAD_BANK + 4) };
    }

    /** The table in that file. Throws with a sentence when it is none. */
    static GuardTable open(String path) throws IOException {
        try (RandomAccessFile file = new RandomAccessFile(path, "r")) {
            long bytes = file.length();
            if (bytes < 4096 || bytes > Integer.MAX_VALUE)
                throw new IOException("'" + path + "' is no table of a policy: it has " + bytes + " bytes");
            ByteBuffer map = file.getChannel().map(FileChannel.MapMode.READ_ONLY, 0, bytes).order(ByteOrder.nativeOrder());
            if (map.getInt(0) != MAGIC || map.getInt(4) != ABI || map.getLong(HEAD_BYTES) != bytes)
                throw new IOException("'" + path + "' is no table of a policy that this image knows; harden the JDK again with the node's prickle");
            GuardTable table = new GuardTable(map, ((sun.nio.ch.DirectBuffer) map).address());
            table.check(path, bytes);
            return table;
        }
    }

    private void check(String path, long bytes) throws IOException {
        boolean sound = bankBytes >= 4096 && subjectsMax > 0 && objectsMax > 0;
        for (int at : banks)
            sound &= at >= 128 && (long) at + bankBytes <= bytes;
        if (!sound)
            throw new IOException("the table '" + path + "' is damaged; run 'prickle policy apply' again");
    }

    /** One load; changes when another policy comes into force. */
    long generation() {
        return U.getLongAcquire(null, generationAddress);
    }

    /** What a virtual machine needs of the bank in force: all but the cells of other kinds of subjects; copied, of one generation. */
    static final class Bank {
        final long generation;
        private final ByteBuffer head, rest;    // struct policy_bank; what stands behind the cells
        private final int restAt;
        private ByteBuffer[] cells;             // by subject; null: not code of a virtual machine

        private Bank(long generation, ByteBuffer head, ByteBuffer rest, int restAt) {
            this.generation = generation;
            this.head = head;
            this.rest = rest;
            this.restAt = restAt;
        }

        long epoch() { return head.getLong(BANK_EPOCH); }
        int subjects() { return head.getInt(BANK_SUBJECTS); }
        int objects() { return head.getInt(BANK_OBJECTS); }
        int edges() { return head.getInt(BANK_ENTER_COUNT); }
        /* Rows are offsets in `rest`. */
        int subjectRow(int i) { return head.getInt(BANK_SUBJECT_ROWS) - restAt + i * LABEL; }
        int objectRow(int i) { return head.getInt(BANK_OBJECT_ROWS) - restAt + i * LABEL; }
        int edgeFrom(int i) { return rest.getShort(head.getInt(BANK_ENTERS) - restAt + i * EDGE) & 0xffff; }
        int edgeTo(int i) { return rest.getShort(head.getInt(BANK_ENTERS) - restAt + i * EDGE + 2) & 0xffff; }
        boolean edgeTicket(int i) { return rest.get(head.getInt(BANK_ENTERS) - restAt + i * EDGE + 8) != 0; }
        int kind(int row) { return rest.get(row + LABEL_KIND) & 0xff; }
        int type(int row) { return rest.get(row + LABEL_CLASS) & 0xff; }
        int port(int row) { return rest.getShort(row + LABEL_PORT) & 0xffff; }
        String name(int row) { return text(rest.getInt(row + LABEL_NAME)); }
        /** The pattern, path or host; "" means any. */
        String of(int row) { return text(rest.getInt(row + LABEL_TEXT)); }
        byte[] signer(int row) { return key(row + LABEL_SIGNER); }
        byte[] sha256(int row) { return key(row + LABEL_SHA256); }
        long trialUntil(int row) { return rest.getLong(row + LABEL_TRIAL); }
        int allow(int subject, int object) { return cell(subject, object, CELL_ALLOW); }
        int audit(int subject, int object) { return cell(subject, object, CELL_AUDIT); }
        int trial(int subject, int object) { return cell(subject, object, CELL_TRIAL); }

        private int cell(int subject, int object, int part) {
            ByteBuffer row = subject < cells.length ? cells[subject] : null;
            return row == null ? 0 : row.getInt(object * CELL + part);
        }

        /** null: none asked. */
        private byte[] key(int at) {
            byte[] out = new byte[32];
            boolean any = false;
            for (int i = 0; i < 32; i++)
                any |= (out[i] = rest.get(at + i)) != 0;
            return any ? out : null;
        }

        private String text(int offset) {
            int from = head.getInt(BANK_NAMES) - restAt + offset, to = from;
            while (rest.get(to) != 0)
                to++;
            byte[] out = new byte[to - from];
            rest.get(from, out);
            return new String(out, StandardCharsets.UTF_8);
        }

        private boolean range(int field, long count, int size) {
            int at = head.getInt(field) - restAt;
            return at >= 0 && count >= 0 && at + count * size <= rest.capacity();
        }

        /** Every row and text lies inside. */
        private boolean sound(int subjectsMax, int objectsMax) {
            int namesBytes = head.getInt(BANK_NAMES_BYTES);
            if (subjects() < 0 || subjects() > subjectsMax || objects() < 0 || objects() > objectsMax || namesBytes <= 0 ||
                !range(BANK_NAMES, namesBytes, 1) || rest.get(head.getInt(BANK_NAMES) - restAt + namesBytes - 1) != 0 ||
                !range(BANK_SUBJECT_ROWS, subjects(), LABEL) || !range(BANK_OBJECT_ROWS, objects(), LABEL) || !range(BANK_ENTERS, edges(), EDGE))
                return false;
            for (int i = 0; i < subjects(); i++)
                if (!texts(subjectRow(i), namesBytes))
                    return false;
            for (int i = 0; i < objects(); i++)
                if (!texts(objectRow(i), namesBytes))
                    return false;
            return true;
        }

        private boolean texts(int row, int namesBytes) {
            int name = rest.getInt(row + LABEL_NAME), text = rest.getInt(row + LABEL_TEXT);
            return name >= 0 && name < namesBytes && text >= 0 && text < namesBytes;
        }
    }

    private ByteBuffer copy(int from, int bytes) {
        ByteBuffer out = ByteBuffer.allocate(bytes).order(ByteOrder.nativeOrder());
        out.put(0, map, from, bytes);
        return out;
    }

    /** Consistent: of one generation. Throws when what it holds is not sound. */
    Bank read() throws IOException {
        for (int i = 0; i < 1000; i++) {
            long generation = generation();
            int at = banks[(int) generation & 1];
            ByteBuffer head = copy(at, CELLS_AT);
            int used = head.getInt(BANK_BYTES), subjects = head.getInt(BANK_SUBJECTS), shift = head.getInt(BANK_SHIFT);
            boolean sound = subjects >= 0 && subjects <= subjectsMax && shift >= 0 && shift < 31 && 1L << shift <= 2L * objectsMax && used <= bankBytes;
            long rest = CELLS_AT + ((long) subjects << (sound ? shift : 0)) * CELL;
            sound = sound && rest <= used && head.getInt(BANK_CELLS) == CELLS_AT && head.getInt(BANK_OBJECTS) <= 1 << shift;
            Bank bank = null;
            if (sound) {
                bank = new Bank(generation, head, copy(at + (int) rest, used - (int) rest), (int) rest);
                sound = bank.sound(subjectsMax, objectsMax);
            }
            if (sound) {
                bank.cells = new ByteBuffer[subjects];
                for (int s = 0; s < subjects; s++)
                    if (bank.kind(bank.subjectRow(s)) == SUBJECT_JVM)
                        bank.cells[s] = copy(at + CELLS_AT + (s << shift) * CELL, bank.objects() * CELL);
            }
            U.loadFence();
            if (generation() != generation)
                continue;               // torn, so what was not sound means nothing
            if (!sound)
                throw new IOException("the policy in force is damaged; run 'prickle policy apply' again");
            return bank;
        }
        throw new IOException("the policy changes all the time");
    }
}
