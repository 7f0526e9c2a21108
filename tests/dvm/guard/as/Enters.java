import java.io.FileInputStream;

/** Compiled against the hardened JDK, which alone has java.lang.Prickle. */
public class Enters {
    static Object read(String path) throws Exception {
        try (FileInputStream in = new FileInputStream(path)) {
            return in.readAllBytes();
        }
    }

    static String of(java.util.concurrent.Callable<Object> task) {
        try {
            task.call();
            return "done";
        } catch (SecurityException e) {
            return e.getMessage().contains("may not enter") ? "refused" : "denied";
        } catch (Exception e) {
            return "thrown";
        }
    }

    public static void main(String[] args) {
        System.out.println(of(() -> Prickle.runAs("free", () -> read(args[0]))));
        System.out.println(of(() -> {
            try {
                return Prickle.runAs("free", () -> { throw new java.io.IOException("on its way"); });
            } catch (SecurityException e) {
                return read(args[0]);
            }
        }));
        System.out.println(of(() -> read(args[0])));
    }
}
