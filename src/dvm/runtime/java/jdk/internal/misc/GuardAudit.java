package jdk.internal.misc;

import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.HashSet;

/**
 * Records of decisions: a line of JSON each, appended to the file that the image names. In learn mode each question is written once.
 * What cannot be written is counted, and the next line that can be says how many are missing.
 */
final class GuardAudit {
    private static final int SEEN_MAX = 65536;

    private static FileOutputStream out;
    private static boolean once;
    private static long next, lost;
    private static final HashSet<String> seen = new HashSet<>();
    private static final Object lock = new Object();

    private GuardAudit() {}

    static void start(FileOutputStream to, boolean eachOnce) {
        out = to;
        once = eachOnce;
    }

    static String record(GuardSnapshot s, int subject, int source, int guard, int object, String what, int verdict, boolean denied) {
        String result = denied ? "denied" : verdict == GuardSnapshot.AUDITED ? "allowed" : verdict == GuardSnapshot.TRIAL ? "trial" : once ? "learned" : "reported";
        StringBuilder line = new StringBuilder(256);
        line.append("\",\"epoch\":").append(s.epoch).append(",\"result\":\"").append(result).append("\",\"subject\":");
        text(line, s.subjectName(subject));
        line.append(",\"source\":");
        text(line, GuardCore.sourcePath(source));
        line.append(",\"permission\":");
        text(line, GuardCore.NAMES[guard]);
        line.append(",\"object\":");
        text(line, s.objectName(object));
        line.append(",\"what\":");
        text(line, what);
        String method = caller();
        line.append(",\"method\":");
        text(line, method);
        line.append("}\n");
        synchronized (lock) {
            if (!denied && once) {
                String key = line.toString();
                if (seen.size() >= SEEN_MAX || !seen.add(key))
                    return null;
            }
            long number = ++next;
            String id = new StringBuilder().append(ProcessPid.value).append('-').append(Long.toHexString(number)).toString();
            StringBuilder whole = new StringBuilder(line.length() + 96);
            whole.append("{\"time\":").append(System.currentTimeMillis()).append(",\"lost\":").append(lost).append(",\"decision\":\"").append(id).append(line);
            if (out == null) {
                lost++;
                return id;
            }
            try {
                out.write(whole.toString().getBytes(StandardCharsets.UTF_8));
                lost = 0;
            } catch (IOException e) {
                lost++;
            }
            return id;
        }
    }

    private static final class ProcessPid {
        static final long value = ProcessHandleNumber.current();
    }

    private static final class ProcessHandleNumber {
        static long current() {
            return ProcessHandle.current().pid();
        }
    }

    /** The application's method that asked, for people. */
    private static String caller() {
        StackTraceElement[] stack = new Throwable().getStackTrace();
        for (StackTraceElement each : stack)
            if (each.getModuleName() == null)
                return new StringBuilder(each.getClassName()).append('.').append(each.getMethodName()).append(':').append(each.getLineNumber()).toString();
        return null;
    }

    private static void text(StringBuilder out, String value) {
        if (value == null) {
            out.append("null");
            return;
        }
        out.append('"');
        for (int i = 0; i < value.length() && i < 1024; i++) {
            char c = value.charAt(i);
            if (c == '"' || c == '\\')
                out.append('\\').append(c);
            else if (c < ' ' || c == 0x7f)
                out.append("\\u00").append(Character.forDigit(c >> 4, 16)).append(Character.forDigit(c & 15, 16));
            else
                out.append(c);
        }
        out.append('"');
    }

    static String sentence(GuardSnapshot s, int subject, int source, int guard, String what, String id) {
        StringBuilder out = new StringBuilder(256).append("prickle: ");
        String name = s.subjectName(subject);
        if (name == null)
            out.append("code of ").append(GuardCore.sourcePath(source)).append(", which no domain of the policy names,");
        else
            out.append(name);
        out.append(" may not ").append(GuardCore.NAMES[guard]);
        if (what != null)
            out.append(" '").append(what).append('\'');
        return out.append(" (no rule of epoch ").append(s.epoch).append(" allows it; decision ").append(id).append(": prickle dvm explain ").append(id).append(')').toString();
    }

    static String refusedTransfer(GuardSnapshot s, int source, String label) {
        return new StringBuilder("prickle: ").append(GuardCore.sourcePath(source)).append(" may not enter '").append(label).append("' (no 'enter' of the policy leads there)").toString();
    }
}
