import java.io.BufferedOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Enumeration;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;

/**
 * The classes of this JDK's image and of jars, one after the other on standard output: length and text of where it was found, length and bytes of the class (lengths
 * of four bytes). The JDK reads its own containers, so that what is under test sees class files and nothing of ours stands before it.
 *
 *	java Classes.java image [every] | jar FILE... (both may be given: "image 1 jar a.jar b.jar")
 */
public class Classes {
	private static final DataOutputStream out = new DataOutputStream(new BufferedOutputStream(System.out, 1 << 20));

	private static void put(String where, byte[] bytes) throws IOException {
		byte[] name = where.getBytes("UTF-8");
		out.writeInt(name.length);
		out.write(name);
		out.writeInt(bytes.length);
		out.write(bytes);
	}

	private static void image(int every) throws IOException {
		Path modules = FileSystems.getFileSystem(URI.create("jrt:/")).getPath("/modules");
		List<Path> paths;

		try (Stream<Path> all = Files.walk(modules)) {
			paths = all.filter(p -> p.toString().endsWith(".class")).sorted().collect(Collectors.toList());
		}
		for (int i = 0; i < paths.size(); i += every)
			put(paths.get(i).toString(), Files.readAllBytes(paths.get(i)));
	}

	private static void jar(String file) throws IOException {
		try (ZipFile zip = new ZipFile(file)) {
			for (Enumeration<? extends ZipEntry> all = zip.entries(); all.hasMoreElements();) {
				ZipEntry entry = all.nextElement();
				if (!entry.getName().endsWith(".class"))
					continue;
				try (InputStream in = zip.getInputStream(entry)) {
					put(file + "!" + entry.getName(), in.readAllBytes());
				}
			}
		}
	}

	public static void main(String[] args) throws IOException {
		int i = 0;
		if (i < args.length && args[i].equals("image")) {
			image(Integer.parseInt(args[i + 1]));
			i += 2;
		}
		for (i++; i < args.length; i++)
			jar(args[i]);
		out.flush();
	}
}
