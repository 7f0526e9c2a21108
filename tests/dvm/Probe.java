package prickle;

/* What scattered calls reach: counts them, and says the number when the JVM ends. */
public class Probe {
    static long count;

    static {
        Runtime.getRuntime().addShutdownHook(new Thread() {
            @Override
            public void run() {
                System.err.println("probes " + count);
            }
        });
    }

    public static void hit() {
        count++;
    }

    public static void number(int number) {
        count++;
    }

    public static void text(String text) {
        count++;
    }
}
