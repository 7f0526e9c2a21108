import java.io.FileInputStream;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.nio.file.Files;
import java.nio.file.Path;

/** Run by 'prickle dvm harden' in the copy, under a policy that allows nothing: each attempt must be denied, by that policy. */
public final class PrickleSelfTest {
    private interface Attempt {
        void run() throws Throwable;
    }

    private static void denied(String what, Attempt attempt) throws Exception {
        try {
            attempt.run();
        } catch (Throwable t) {
            for (Throwable cause = t; cause != null; cause = cause.getCause())
                if (cause instanceof SecurityException && cause.getMessage() != null && cause.getMessage().startsWith("prickle: "))
                    return;
            throw new Exception(what + " ended otherwise", t);
        }
        throw new Exception(what + " was not denied");
    }

    public static void main(String[] args) throws Exception {
        String file = args[0];
        denied("reading a file", () -> new FileInputStream(file).close());
        denied("reading a file by NIO", () -> Files.newInputStream(Path.of(file)).close());
        denied("reading a file by reflection", () -> FileInputStream.class.getConstructor(String.class).newInstance(file));
        denied("reading a file by a method handle", () -> MethodHandles.publicLookup().findConstructor(FileInputStream.class, MethodType.methodType(void.class, String.class)).invoke(file));
        denied("starting a program", () -> new ProcessBuilder("/bin/true").start());
        denied("connecting", () -> new java.net.Socket("127.0.0.1", 9));
        denied("ending the machine", () -> System.exit(3));
        System.out.println("denied as it should be");
    }
}
