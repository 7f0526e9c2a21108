import java.io.IOException;
import java.net.URI;
import java.nio.file.FileSystem;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.Iterator;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** What a JVM sees in its own image: "list" all resources as container_tool does; "packages" with the modules of each; "try" what the test changed. */
public class Images {
    public static void main(String[] args) throws Exception {
        FileSystem fs = FileSystems.getFileSystem(URI.create("jrt:/"));
        if (args[0].equals("try")) {
            System.out.println(new java.util.concurrent.TimeoutException("x").getMessage());
            System.out.println(Class.forName("java.util.Added").getMethod("say").invoke(null));
            return;
        }
        StringBuilder out = new StringBuilder();
        if (args[0].equals("packages")) {
            for (Path p : sorted(fs.getPath("/packages")))
                out.append(p.getFileName()).append(' ')
                   .append(sorted(p).stream().map(m -> m.getFileName().toString()).collect(Collectors.joining(","))).append('\n');
        } else {
            MessageDigest sha = MessageDigest.getInstance("SHA-256");
            try (Stream<Path> all = Files.walk(fs.getPath("/modules"))) {
                for (Iterator<Path> i = all.iterator(); i.hasNext();) {
                    Path p = i.next();
                    if (!Files.isRegularFile(p))
                        continue;
                    byte[] bytes = Files.readAllBytes(p);
                    out.append(HexFormat.of().formatHex(sha.digest(bytes))).append(' ').append(bytes.length).append(' ')
                       .append(p.toString().substring("/modules".length())).append('\n');
                }
            }
        }
        System.out.write(out.toString().getBytes("UTF-8"));
        System.out.flush();
    }

    private static List<Path> sorted(Path directory) throws IOException {
        try (Stream<Path> all = Files.list(directory)) {
            return all.sorted().collect(Collectors.toList());
        }
    }
}
