/** Reads a file once for each line of its input. */
public class Asks {
    public static void main(String[] args) throws Exception {
        while (System.in.read() >= 0) {
            try (java.io.FileInputStream in = new java.io.FileInputStream(args[0])) {
                System.out.println("done");
            } catch (SecurityException e) {
                System.out.println("denied");
            }
            System.out.flush();
        }
    }
}
