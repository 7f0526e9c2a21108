import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.List;
import java.util.jar.JarFile;
import java.util.zip.ZipEntry;

/**
 * Asks this JVM for its verdict on classes: defines each in a loader of its own, which takes all other classes from the class path that it is given, and links
 * it without running anything. A line a file: path, verdict, message.
 */
final class VerifyOracle {
	static final List<JarFile> jars = new ArrayList<>();
	static final List<File> folders = new ArrayList<>();

	/** The class under test, and the rest of the class path in the same loader, so that packages are whole. */
	static final class Loader extends ClassLoader {
		private final String name;
		private final byte[] bytes;

		Loader(String name, byte[] bytes) {
			super(ClassLoader.getPlatformClassLoader());
			this.name = name;
			this.bytes = bytes;
		}

		@Override
		protected Class<?> loadClass(String wanted, boolean resolve) throws ClassNotFoundException {
			synchronized (getClassLoadingLock(wanted)) {
				Class<?> known = findLoadedClass(wanted);
				if (known != null)
					return known;
				if (wanted.equals(name))
					return defineClass(wanted, bytes, 0, bytes.length);
				byte[] found = find(wanted.replace('.', '/') + ".class");
				return found == null ? super.loadClass(wanted, resolve) : defineClass(wanted, found, 0, found.length);
			}
		}

		Class<?> define() {
			return name == null ? defineClass(null, bytes, 0, bytes.length) : defineClass(name, bytes, 0, bytes.length);
		}
	}

	static byte[] find(String path) throws ClassNotFoundException {
		try {
			for (File folder : folders) {
				File file = new File(folder, path);
				if (file.isFile())
					return Files.readAllBytes(file.toPath());
			}
			for (JarFile jar : jars) {
				ZipEntry entry = jar.getEntry(path);
				if (entry != null)
					return jar.getInputStream(entry).readAllBytes();
			}
			return null;
		} catch (IOException why) {
			throw new ClassNotFoundException(path, why);
		}
	}

	/** The name that the bytes give themselves; null when they do not. */
	static String nameOf(byte[] b) {
		try {
			int count = u2(b, 8), at = 10;
			int[] where = new int[count];
			for (int i = 1; i < count; i++) {
				where[i] = at;
				switch (b[at]) {
				case 1: at += 3 + u2(b, at + 1); break;
				case 3: case 4: case 9: case 10: case 11: case 12: case 17: case 18: at += 5; break;
				case 5: case 6: at += 9; i++; break;
				case 15: at += 4; break;
				default: at += 3;
				}
			}
			int utf8 = where[u2(b, where[u2(b, at + 2)] + 1)];
			return new String(b, utf8 + 3, u2(b, utf8 + 1), "UTF-8").replace('/', '.');
		} catch (Exception broken) {
			return null;
		}
	}

	static int u2(byte[] b, int at) {
		return (b[at] & 255) << 8 | b[at + 1] & 255;
	}

	static String verdict(Throwable why) {
		if (why instanceof VerifyError)
			return "verify";
		if (why instanceof UnsupportedClassVersionError)
			return "version";
		if (why instanceof ClassFormatError)
			return "format";
		if (why instanceof NoClassDefFoundError)
			return why.getMessage() != null && (why.getMessage().contains("wrong name") || why.getMessage().contains("ACC_MODULE")) ? "format" : "missing";
		if (why instanceof ClassNotFoundException || why instanceof TypeNotPresentException)
			return "missing";
		if (why instanceof ClassCircularityError || why instanceof IncompatibleClassChangeError)
			return "hierarchy";
		return "other";
	}

	static String judge(String path) throws IOException {
		byte[] bytes = Files.readAllBytes(Paths.get(path));
		boolean defined = false;
		try {
			Class<?> c = new Loader(nameOf(bytes), bytes).define();
			defined = true;
			/* Both link the class before they look at it. */
			if (c.isInterface())
				c.getDeclaredMethods();
			else
				c.getDeclaredConstructors();
			return "accepted\t";
		} catch (Throwable why) {
			String text = String.valueOf(why.getMessage());
			/* Linking a class links those above it: a verdict on one of them is none on this. */
			String name = nameOf(bytes);
			boolean other = defined && (why instanceof VerifyError || why instanceof ClassFormatError) && name != null && !text.contains(name) &&
				!text.contains(name.replace('.', '/'));
			return (other ? "elsewhere" : verdict(why)) + (defined ? "\tlink: " : "\tdefine: ") + why.getClass().getName() + ": " + text.split("\n")[0].replace('\t', ' ');
		}
	}

	public static void main(String[] arguments) throws IOException {
		for (String path : arguments)
			if (new File(path).isDirectory())
				folders.add(new File(path));
			else
				jars.add(new JarFile(path));
		BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
		for (String path; (path = in.readLine()) != null;) {
			System.out.println(path + "\t" + judge(path));
			System.out.flush();
		}
	}
}
