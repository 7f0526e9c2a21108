/** Code that others define. */
public class Payload {
    public static Object read(String path) throws Exception {
        try (java.io.FileInputStream in = new java.io.FileInputStream(path)) {
            return in.readAllBytes();
        }
    }
}
