import java.io.*;
import java.lang.invoke.*;
import java.lang.reflect.*;
import java.net.*;
import java.nio.ByteBuffer;
import java.nio.channels.*;
import java.nio.file.*;
import java.nio.file.attribute.BasicFileAttributeView;
import java.security.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.function.Supplier;

/**
 * Tries what a policy may deny, each thing by its name, and says how it went: "NAME: done", "NAME: denied", or what else was thrown.
 *
 * Probe OPEN SECRET DIRECTORY PLUGIN FREE PORT TELL NAME...: two directories, each with a file 'text'; where the machine starts; two jars with Payload;
 * a TCP port; "tell": with the sentence. A NAME that ends in '?' is all that begin so.
 */
public class Probe {
    interface Attempt {
        Object run() throws Throwable;
    }

    static final Map<String, Attempt> all = new TreeMap<>();
    static String open, secret, directory, plugin, jarOfFree;
    static int port;
    static boolean tell;

    static String outcome(Attempt attempt) {
        try {
            attempt.run();
            return "done";
        } catch (Throwable t) {
            for (Throwable cause = t; cause != null; cause = cause.getCause())
                if (cause instanceof SecurityException && String.valueOf(cause.getMessage()).startsWith("prickle: "))
                    return tell ? "denied " + cause.getMessage() : "denied";
            return t.toString();
        }
    }

    static Object read(String path) throws IOException {
        try (FileInputStream in = new FileInputStream(path)) {
            return in.readAllBytes();
        }
    }

    static Path s(String name) {
        return Path.of(secret, name);
    }

    static void fileSinks() {
        all.put("io.read", () -> read(secret + "/text"));
        all.put("io.random", () -> new RandomAccessFile(secret + "/text", "r").length());
        all.put("io.write", () -> { new FileOutputStream(secret + "/text", true).close(); return null; });
        all.put("io.create", () -> { new FileOutputStream(secret + "/made").close(); return null; });
        all.put("io.createNew", () -> new File(secret, "new").createNewFile());
        all.put("io.temp", () -> File.createTempFile("probe", null, new File(secret)));
        all.put("io.mkdir", () -> new File(secret, "dir").mkdir());
        all.put("io.list", () -> new File(secret).list());
        all.put("io.listFiles", () -> new File(secret).listFiles());
        all.put("io.rename", () -> new File(secret, "text").renameTo(new File(secret, "text")));
        all.put("io.renameIn", () -> new File(open, "moved").renameTo(new File(secret, "moved")));
        all.put("io.delete", () -> new File(secret, "gone").delete());
        all.put("io.deleteOnExit", () -> { new File(secret, "gone2").deleteOnExit(); return null; });
        all.put("io.readOnly", () -> new File(secret, "text").setWritable(true));
        all.put("io.zip", () -> { new java.util.zip.ZipFile(secret + "/a.jar").close(); return null; });
        all.put("nio.read", () -> Files.readAllBytes(s("text")));
        all.put("nio.write", () -> Files.write(s("text"), new byte[1], StandardOpenOption.APPEND));
        all.put("nio.create", () -> Files.write(s("made2"), new byte[1], StandardOpenOption.CREATE));
        all.put("nio.temp", () -> Files.createTempFile(s(""), "probe", null));
        all.put("nio.mkdir", () -> Files.createDirectory(s("dir2")));
        all.put("nio.list", () -> { Files.newDirectoryStream(s("")).close(); return null; });
        all.put("nio.walk", () -> { try (var w = Files.walk(s(""))) { return w.count(); } });
        all.put("nio.rename", () -> Files.move(s("text"), s("text2"), StandardCopyOption.ATOMIC_MOVE) == null || Files.move(s("text2"), s("text"), StandardCopyOption.ATOMIC_MOVE) == null);
        all.put("nio.copy", () -> Files.copy(s("text"), Path.of(open, "copied"), StandardCopyOption.REPLACE_EXISTING));
        all.put("nio.delete", () -> Files.deleteIfExists(s("gone3")));
        all.put("nio.link", () -> Files.createLink(Path.of(open, "hard" + System.nanoTime()), s("text")));
        all.put("nio.symlink", () -> Files.createSymbolicLink(s("symbolic"), Path.of(open)));
        all.put("nio.readlink", () -> Files.readSymbolicLink(s("link")));
        all.put("nio.chmod", () -> Files.setPosixFilePermissions(s("text"), java.nio.file.attribute.PosixFilePermissions.fromString("rw-r--r--")));
        all.put("nio.times", () -> Files.setLastModifiedTime(s("text"), java.nio.file.attribute.FileTime.fromMillis(0)));
        all.put("nio.async", () -> { AsynchronousFileChannel.open(s("text")).close(); return null; });
        all.put("nio.secure", () -> secure("read"));
        all.put("nio.secureMake", () -> secure("make"));
        all.put("nio.secureDelete", () -> secure("delete"));
        all.put("nio.secureMove", () -> secure("move"));
        all.put("nio.attributes", () -> { Files.getFileAttributeView(s("text"), java.nio.file.attribute.UserDefinedFileAttributeView.class).write("probe", ByteBuffer.wrap(new byte[1])); return null; });
    }

    /** What a stream of an allowed directory can do behind a link that leads out of it. */
    static Object secure(String what) throws IOException {
        try (DirectoryStream<Path> in = Files.newDirectoryStream(Path.of(open))) {
            SecureDirectoryStream<Path> stream = (SecureDirectoryStream<Path>) in;
            if (what.equals("read"))
                stream.newByteChannel(Path.of("out/text"), Set.of(StandardOpenOption.READ)).close();
            else if (what.equals("make"))
                stream.newByteChannel(Path.of("out/made4"), Set.of(StandardOpenOption.CREATE, StandardOpenOption.WRITE)).close();
            else if (what.equals("delete"))
                stream.deleteFile(Path.of("out/gone4"));
            else
                stream.move(Path.of("out/gone5"), stream, Path.of("moved5"));
        }
        return null;
    }

    static void otherSinks() {
        all.put("net.plainSocket", () -> {        // must be the first socket of the machine
            System.setProperty("jdk.net.usePlainSocketImpl", "true");
            System.setProperty("jdk.net.usePlainDatagramSocketImpl", "true");
            new Socket("127.0.0.1", port).close();
            return null;
        });
        all.put("net.connect", () -> { new Socket("127.0.0.1", port).close(); return null; });
        all.put("net.connectNio", () -> { SocketChannel.open(new InetSocketAddress("127.0.0.1", port)).close(); return null; });
        all.put("net.connectAsync", () -> { try (var c = AsynchronousSocketChannel.open()) { return c.connect(new InetSocketAddress("127.0.0.1", port)).get(); } });
        all.put("net.url", () -> { new URL("http://127.0.0.1:" + port + "/").openConnection().connect(); return null; });
        all.put("net.listen", () -> { new ServerSocket(0).close(); return null; });
        all.put("net.listenNio", () -> { try (var c = ServerSocketChannel.open()) { return c.bind(null); } });
        all.put("net.send", () -> { try (var c = DatagramChannel.open()) { return c.send(ByteBuffer.wrap(new byte[1]), new InetSocketAddress("127.0.0.1", 9)); } });
        all.put("net.sendSocket", () -> { try (var c = new DatagramSocket()) { c.send(new DatagramPacket(new byte[1], 1, new InetSocketAddress("127.0.0.1", 9))); return null; } });
        all.put("net.sendConnected", () -> { try (var c = DatagramChannel.open()) { c.connect(new InetSocketAddress("127.0.0.1", 9)); return c.write(ByteBuffer.wrap(new byte[1])); } });
        all.put("net.sendMulticast", () -> { try (var c = new MulticastSocket()) { c.send(new DatagramPacket(new byte[1], 1, new InetSocketAddress("127.0.0.1", 9))); return null; } });
        all.put("net.unix", () -> { try (var c = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) { return c.bind(UnixDomainSocketAddress.of(secret + "/socket")); } });
        all.put("exec", () -> new ProcessBuilder("/bin/true").start().waitFor());
        all.put("exec.runtime", () -> Runtime.getRuntime().exec("/bin/true").waitFor());
        all.put("native", () -> { System.loadLibrary("management"); return null; });
        all.put("native.load", () -> { System.load(home() + "/lib/libmanagement.so"); return null; });
        all.put("define", () -> new Loader(null).define(bytes("Payload")));
        all.put("define.lookup", () -> MethodHandles.lookup().defineClass(bytes("Payload2")));
        all.put("define.hidden", () -> MethodHandles.lookup().defineHiddenClass(bytes("Payload"), false));
        all.put("reflect", () -> { Field f = String.class.getDeclaredField("hash"); f.setAccessible(true); return null; });
        all.put("reflect.lookup", () -> MethodHandles.privateLookupIn(java.util.ArrayList.class, MethodHandles.lookup()));
        all.put("reflect.core", () -> { Class.class.getDeclaredMethod("getReflectionFactory").setAccessible(true); return null; });
        all.put("unsafe", () -> { Field f = Class.forName("sun.misc.Unsafe").getDeclaredField("theUnsafe"); f.setAccessible(true); return f.get(null); });
        all.put("environment", () -> System.getenv("HOME"));
        all.put("environment.all", System::getenv);
        all.put("environment.builder", () -> new ProcessBuilder("x").environment());
        all.put("property", () -> System.getProperty("user.home"));
        all.put("property.set", () -> System.setProperty("probe.x", "1"));
        all.put("property.all", System::getProperties);
        all.put("property.integer", () -> Integer.getInteger("probe.x"));
        all.put("thread", () -> { Thread t = new Thread(() -> { }); t.start(); t.join(); return null; });
        all.put("thread.pool", () -> { var p = Executors.newSingleThreadExecutor(); try { return p.submit(() -> 1).get(); } finally { p.shutdown(); } });
        all.put("thread.timer", () -> { new Timer(true); return null; });
        all.put("exit", () -> { System.exit(9); return null; });
        all.put("halt", () -> { Runtime.getRuntime().halt(9); return null; });
    }

    static String home() {
        return ProcessHandle.current().info().command().map(c -> Path.of(c).getParent().getParent().toString()).orElse("/");
    }

    static Object failed(String what) {
        throw new IllegalStateException(what);
    }

    static byte[] bytes(String name) throws IOException {
        try (InputStream in = Probe.class.getResourceAsStream(name + ".class")) {
            return in.readAllBytes();
        }
    }

    static final class Loader extends ClassLoader {
        Loader(ClassLoader parent) {
            super(parent);
        }

        Class<?> define(byte[] bytes) {
            return defineClass(null, bytes, 0, bytes.length);
        }

        Class<?> define(byte[] bytes, ProtectionDomain domain) {
            return defineClass(null, bytes, 0, bytes.length, domain);
        }
    }

    /** Runs what it was made of when it is read. */
    static final class Gadget implements Serializable {
        private void readObject(ObjectInputStream in) throws IOException, ClassNotFoundException {
            in.defaultReadObject();
            read(secret + "/text");
        }
    }

    static Object started(Runnable what) throws Throwable {
        Throwable[] thrown = new Throwable[1];
        Thread t = new Thread(what);
        t.setUncaughtExceptionHandler((thread, e) -> thrown[0] = e);
        t.start();
        t.join();
        if (thrown[0] != null)
            throw thrown[0];
        return null;
    }

    /** All of these need no right but the one that the secret file asks for; code and threads are allowed. */
    static void bypasses() {
        String text = secret + "/text";
        MethodType taking = MethodType.methodType(void.class, String.class);
        all.put("by.reflection", () -> FileInputStream.class.getConstructor(String.class).newInstance(text));
        all.put("by.reflectionTwice", () -> Constructor.class.getMethod("newInstance", Object[].class).invoke(FileInputStream.class.getConstructor(String.class), (Object) new Object[] { text }));
        all.put("by.inflatedReflection", () -> {
            Method m = Files.class.getMethod("readAllBytes", Path.class);
            for (int i = 0; i < 40; i++)
                m.invoke(null, Path.of(open, "text"));
            return m.invoke(null, Path.of(text));
        });
        all.put("by.handle", () -> MethodHandles.publicLookup().findConstructor(FileInputStream.class, taking).invoke(text));
        all.put("by.handleInThread", () -> {
            MethodHandle h = MethodHandles.insertArguments(MethodHandles.publicLookup().findConstructor(FileOutputStream.class, taking), 0, text);
            return started(MethodHandleProxies.asInterfaceInstance(Runnable.class, h.asType(MethodType.methodType(void.class))));
        });
        all.put("by.handleInPool", () -> {
            MethodHandle h = MethodHandles.publicLookup().findConstructor(FileInputStream.class, taking);
            h = MethodHandles.insertArguments(h, 0, text).asType(MethodType.methodType(Object.class));
            Callable<?> c = MethodHandleProxies.asInterfaceInstance(Callable.class, h);
            return ForkJoinPool.commonPool().submit(c).get();
        });
        all.put("by.proxyInThread", () -> {
            Method m = Files.class.getMethod("readAllBytes", Path.class);
            InvocationHandler h = (p, method, args) -> m.invoke(null, Path.of(text));
            return started((Runnable) java.lang.reflect.Proxy.newProxyInstance(Probe.class.getClassLoader(), new Class<?>[] { Runnable.class }, h));
        });
        all.put("by.lambda", () -> { Callable<Object> c = () -> read(text); return c.call(); });
        all.put("by.lambdaInThread", () -> started(() -> { try { read(text); } catch (IOException e) { throw new UncheckedIOException(e); } }));
        all.put("by.methodReference", () -> { Callable<Object> c = new File(secret)::listFiles; return c.call(); });
        all.put("by.methodReferenceInPool", () -> { Callable<Object> c = new File(secret)::list; return ForkJoinPool.commonPool().submit(c).get(); });
        all.put("by.methodReferenceInThread", () -> started(new File(secret)::list));
        all.put("by.stream", () -> List.of(text).parallelStream().map(File::new).map(f -> { try { return read(f.getPath()); } catch (IOException e) { return null; } }).toArray());
        all.put("by.completable", () -> CompletableFuture.supplyAsync((Supplier<Object>) new File(secret)::list).get());
        all.put("by.timer", () -> {
            ScheduledExecutorService e = Executors.newScheduledThreadPool(1);
            try {
                return e.schedule((Callable<Object>) new File(secret)::list, 1, TimeUnit.MILLISECONDS).get();
            } finally {
                e.shutdown();
            }
        });
        all.put("by.serialization", () -> {
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            new ObjectOutputStream(out).writeObject(new Gadget());
            return new ObjectInputStream(new ByteArrayInputStream(out.toByteArray())).readObject();
        });
        all.put("by.privileged", () -> AccessController.doPrivileged((PrivilegedExceptionAction<Object>) () -> read(text)));
        all.put("by.privilegedReference", () -> AccessController.doPrivileged((PrivilegedAction<Object>) new File(secret)::list));
        all.put("by.scanner", () -> new Scanner(new File(text)).next());
        all.put("by.writer", () -> { new PrintWriter(text + ".printed").close(); return null; });
        all.put("by.properties", () -> new java.util.logging.FileHandler(text + ".log"));
        all.put("by.urlFile", () -> new URL("file:" + text).openStream().readAllBytes());
        all.put("by.urlJar", () -> new URL("jar:file:" + secret + "/a.jar!/Payload.class").openStream().readAllBytes());
        all.put("by.urlLoader", () -> new URLClassLoader(new URL[] { new URL("file:" + secret + "/a.jar") }, null).loadClass("Payload"));
        all.put("by.definedHidden", () -> run(MethodHandles.lookup().defineHiddenClass(bytes("Payload"), true).lookupClass()));
        all.put("by.definedLookup", () -> run(MethodHandles.lookup().defineClass(bytes("Payload2"))));
        all.put("by.definedLoader", () -> run(new Loader(Probe.class.getClassLoader()).define(bytes("Payload"))));
        all.put("by.definedDomain", () -> run(new Loader(Probe.class.getClassLoader()).define(bytes("Payload"), new ProtectionDomain(
            new CodeSource(new URL("file:" + jarOfFree), (java.security.cert.Certificate[]) null), null))));
        all.put("by.definedStolenDomain", () -> run(new Loader(Probe.class.getClassLoader()).define(bytes("Payload"), Class.forName("java.sql.Driver").getProtectionDomain())));
        all.put("by.nestedLoaders", () -> {
            URL jar = new URL("file:" + plugin);
            ClassLoader outer = new URLClassLoader(new URL[] { jar }, ClassLoader.getPlatformClassLoader());
            ClassLoader inner = new URLClassLoader(new URL[] { jar }, outer);
            return run(inner.loadClass("Payload"));
        });
        all.put("by.symlink", () -> read(open + "/out/text"));
        all.put("by.symlinkNio", () -> Files.readAllBytes(Path.of(open, "out", "text")));
        all.put("by.symlinkFile", () -> read(open + "/outfile"));
        all.put("by.symlinkMade", () -> { Path p = Path.of(open, "fresh" + System.nanoTime()); Files.createSymbolicLink(p, s("text")); return Files.readAllBytes(p); });
        all.put("by.symlinkWrite", () -> { new FileOutputStream(open + "/out/written").close(); return null; });
        all.put("by.symlinkDotDot", () -> read(open + "/out/../" + Path.of(secret).getFileName() + "/text"));
        all.put("by.dotDot", () -> read(open + "/../" + Path.of(secret).getFileName() + "/text"));
        all.put("by.dotDotNio", () -> Files.readAllBytes(Path.of(open + "/../" + Path.of(secret).getFileName() + "/text")));
        all.put("by.slashes", () -> read("//" + secret + "//./text"));
        all.put("by.relative", () -> read(Path.of(directory).relativize(Path.of(text)).toString()));
        all.put("by.relativeNio", () -> Files.readAllBytes(Path.of(directory).relativize(Path.of(text))));
        all.put("by.proc", () -> read("/proc/self/root" + text));
        all.put("by.userDir", () -> {
            String before = System.setProperty("user.dir", open);
            try {
                return read("text");            // the machine's own directory is the secret one: nothing moved
            } finally {
                System.setProperty("user.dir", before);
            }
        });
        all.put("by.fileSubclass", () -> new RandomAccessFile(new File(open + "/none") {
            int asked;
            @Override public String getPath() { return asked++ == 0 ? super.getPath() : text; }
        }, "r"));
        all.put("by.fileSubclassList", () -> new File(secret) {
            @Override public String getPath() { return open; }
            @Override public String toString() { return open; }
        }.list());
        all.put("by.deepStack", () -> deep(600, new File(secret)::list));
        all.put("by.finalThread", () -> { Runtime.getRuntime().addShutdownHook(new Thread(new File(secret)::list)); return failed("seen at the end"); });
    }

    static Object deep(int left, Callable<Object> what) throws Exception {
        return left == 0 ? what.call() : deep(left - 1, what);
    }

    /** Payload reads the secret file. */
    static Object run(Class<?> c) throws Throwable {
        try {
            return c.getMethod("read", String.class).invoke(null, secret + "/text");
        } catch (InvocationTargetException e) {
            throw e.getCause();
        }
    }

    public static void main(String[] args) throws Exception {
        open = args[0];
        secret = args[1];
        directory = args[2];
        plugin = args[3];
        jarOfFree = args[4];
        port = Integer.parseInt(args[5]);
        tell = args[6].equals("tell");
        fileSinks();
        otherSinks();
        bypasses();
        for (String each : Arrays.asList(args).subList(7, args.length))
            for (String name : all.keySet())
                if (name.equals(each) || (each.endsWith("?") && name.startsWith(each.substring(0, each.length() - 1)))) {
                    System.out.println(name + ": " + outcome(all.get(name)));
                    System.out.flush();
                }
        System.out.println("end");
    }
}
