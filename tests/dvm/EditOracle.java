import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.jar.JarFile;

/*
 * Asks this JVM about classes before and after the editor: java -Xverify:all EditOracle EDIT_PIPE STEP SOURCE...
 *
 * A source is a jar, or "jrt:MODULE" for a module of the image (packages java.* cannot be defined by a loader and are left out). Each STEPth class is taken.
 * A class goes through the editor unchanged (the same bytes are asked for) and with probes inserted; it is defined in a loader that takes its
 * companions from the same source, unchanged, and linked, which verifies it and does not run it (getDeclaredFields links). What HotSpot says of the changed
 * class must be what it said before. The last line: "N classes, U not loadable before, R refused, D differ".
 */
public class EditOracle {
    static final class Loader extends ClassLoader {
        final Map<String, byte[]> classes, changed;

        Loader(Map<String, byte[]> classes, Map<String, byte[]> changed) {
            super(EditOracle.class.getClassLoader());
            this.classes = classes;
            this.changed = changed;
        }

        @Override
        protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
            synchronized (getClassLoadingLock(name)) {
                Class<?> c = findLoadedClass(name);
                if (c != null)
                    return c;
                byte[] bytes = changed.get(name);
                if (bytes == null)
                    bytes = classes.get(name);
                if (bytes == null || name.startsWith("java."))
                    return super.loadClass(name, resolve);
                return defineClass(name, bytes, 0, bytes.length);
            }
        }
    }

    static DataOutputStream toPipe;
    static DataInputStream fromPipe;
    static int taken, unloadable, refused, differ;

    static byte[] edited(int seed, byte[] bytes, String[] why) throws IOException {
        toPipe.writeInt(seed);
        toPipe.writeInt(bytes.length);
        toPipe.write(bytes);
        toPipe.flush();
        int err = fromPipe.readInt();
        byte[] answer = fromPipe.readNBytes(fromPipe.readInt());
        if (err == 0)
            return answer;
        why[0] = new String(answer, "UTF-8");
        return null;
    }

    static Map<String, byte[]> read(String source) throws IOException {
        Map<String, byte[]> classes = new HashMap<>();
        if (source.startsWith("jrt:")) {
            Path root = FileSystems.getFileSystem(URI.create("jrt:/")).getPath("/modules/" + source.substring(4));
            try (var all = Files.walk(root)) {
                for (Path p : (Iterable<Path>) all::iterator) {
                    String name = root.relativize(p).toString();
                    if (name.endsWith(".class") && !name.endsWith("module-info.class"))
                        classes.put(name.substring(0, name.length() - 6).replace('/', '.'), Files.readAllBytes(p));
                }
            }
            return classes;
        }
        try (JarFile jar = new JarFile(source, false)) {
            var entries = jar.entries();
            while (entries.hasMoreElements()) {
                var entry = entries.nextElement();
                String name = entry.getName();
                if (!name.endsWith(".class") || name.startsWith("META-INF/") || name.endsWith("module-info.class"))
                    continue;
                try (InputStream in = jar.getInputStream(entry)) {
                    classes.put(name.substring(0, name.length() - 6).replace('/', '.'), in.readAllBytes());
                }
            }
        }
        return classes;
    }

    /* What HotSpot says: "" or the error. */
    static String verdict(Loader loader, String name) {
        try {
            loader.loadClass(name, false).getDeclaredFields();
            return "";
        } catch (VerifyError | ClassFormatError e) {
            return e.toString().split("\n")[0] + " | " + e.toString().replace('\n', ' ');
        } catch (Throwable e) {
            return "not loadable: " + e;
        }
    }

    static void judge(Map<String, byte[]> classes, List<String> names, int from, int to) throws IOException {
        Map<String, byte[]> changed = new HashMap<>();
        String[] why = new String[1];
        for (String name : names.subList(from, to)) {
            byte[] bytes = classes.get(name);
            taken++;
            byte[] same = edited(0, bytes, why);
            if (same == null || !Arrays.equals(same, bytes)) {
                differ++;
                System.out.println("not the same bytes: " + name + " " + why[0]);
                continue;
            }
            byte[] probed = edited(1 + (name.hashCode() & 0xffffff), bytes, why);
            if (probed == null) {
                refused++;
                System.out.println("refused: " + name + ": " + why[0]);
                continue;
            }
            changed.put(name, probed);
        }
        Loader before = new Loader(classes, Map.of()), after = new Loader(classes, changed);
        for (String name : changed.keySet()) {
            String was = verdict(before, name), is = verdict(after, name);
            if (!was.isEmpty())
                unloadable++;
            /* A class whose types were inferred after its frames failed (version 50) says so at another pc. */
            if (was.isEmpty() != is.isEmpty() || (was.startsWith("not loadable") != is.startsWith("not loadable"))) {
                differ++;
                System.out.println("differs: " + name + ": before '" + was + "', after '" + is + "'");
            }
        }
    }

    public static void main(String[] args) throws Exception {
        Process pipe = new ProcessBuilder(args[0]).redirectError(ProcessBuilder.Redirect.INHERIT).start();
        toPipe = new DataOutputStream(new BufferedOutputStream(pipe.getOutputStream(), 1 << 16));
        fromPipe = new DataInputStream(new java.io.BufferedInputStream(pipe.getInputStream(), 1 << 16));
        int step = Integer.parseInt(args[1]);
        for (int i = 2; i < args.length; i++) {
            Map<String, byte[]> classes = read(args[i]);
            List<String> names = new ArrayList<>();
            for (String name : new java.util.TreeSet<>(classes.keySet()))
                if (!name.startsWith("java."))
                    names.add(name);
            List<String> some = new ArrayList<>();
            for (int n = 0; n < names.size(); n += step)
                some.add(names.get(n));
            for (int n = 0; n < some.size(); n += 500)
                judge(classes, some, n, Math.min(n + 500, some.size()));
        }
        toPipe.close();
        System.out.println(taken + " classes, " + unloadable + " not loadable before, " + refused + " refused, " + differ + " differ");
        System.exit(taken > 0 && differ == 0 ? 0 : 1);
    }
}
