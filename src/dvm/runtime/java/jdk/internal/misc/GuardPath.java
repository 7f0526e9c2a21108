package jdk.internal.misc;

import java.io.File;

/** Paths as the policy knows them: absolute, without empty, "." and ".." segments and without a slash at the end. */
final class GuardPath {
    /* Where relative paths begin: what the kernel says, whatever -Duser.dir said. */
    private static final String HOME = home();

    private GuardPath() {}

    private static String home() {
        String real = real("/proc/self/cwd", true);
        return real == null || real.startsWith("/proc/") ? System.getProperty("user.dir") : real;
    }

    static String absolute(String given) {
        return given.startsWith("/") ? given : new StringBuilder(HOME).append('/').append(given).toString();
    }

    /** By its text alone, which is absolute. */
    static String normal(String text) {
        if (text.indexOf('\0') >= 0)
            return null;
        StringBuilder out = new StringBuilder(text.length());
        for (int at = 0; at < text.length();) {
            int slash = text.indexOf('/', at);
            int end = slash < 0 ? text.length() : slash;
            int length = end - at;
            if (length == 2 && text.charAt(at) == '.' && text.charAt(at + 1) == '.')
                out.setLength(Math.max(0, out.lastIndexOf("/")));
            else if (length > 0 && !(length == 1 && text.charAt(at) == '.'))
                out.append('/').append(text, at, end);
            at = end + 1;
        }
        return out.length() == 0 ? "/" : out.toString();
    }

    /**
     * Where it leads, links followed: of the file itself, or of its directory only (what is removed or renamed is the link). What does not exist is taken
     * from the nearest directory that does. null: as it is.
     */
    static String real(String given, boolean last) {
        try {
            if (last)
                return new File(given).getCanonicalPath();
            int slash = given.lastIndexOf('/');
            String directory = new File(slash == 0 ? "/" : given.substring(0, slash)).getCanonicalPath();
            return new StringBuilder(directory.equals("/") ? "" : directory).append(given, slash, given.length()).toString();
        } catch (java.io.IOException e) {
            return null;
        }
    }

    /** As execvp(3) finds it; the name itself when nothing is there. */
    static String search(String name, String path) {
        String list = path == null ? "/usr/bin:/bin" : path;
        for (int at = 0; at <= list.length();) {
            int colon = list.indexOf(':', at);
            int end = colon < 0 ? list.length() : colon;
            File file = new File(end == at ? "." : list.substring(at, end), name);
            if (file.canExecute())
                return file.getPath();
            at = end + 1;
        }
        return name;
    }
}
