package jdk.internal.misc;

import java.io.File;
import java.io.IOException;
import java.net.InetAddress;
import java.net.URL;
import java.security.CodeSource;
import java.security.ProtectionDomain;
import java.util.Arrays;
import java.util.HashMap;

import jdk.internal.loader.ClassLoaders;

/**
 * What is behind Guard: who asks, and what the policy says.
 *
 * Code is known by its source: a number in Class.prickleSource (GuardSource). Who asks is the calling class when it is application code, else the first
 * application frame below, else the source that the thread took from its creator. JDK code is never trusted for being JDK code: reflection, method
 * handles and proxies all end there.
 *
 * Nothing here may use a lambda, a string switch or a concatenation: they would need classes that are not there yet when the first guard runs.
 */
final class GuardCore {
    /* Guards: a bit of GuardSnapshot.free each. The order is that of sinks.def's names. */
    static final int FILE_READ = 0, FILE_WRITE = 1, FILE_CREATE = 2, FILE_DELETE = 3, FILE_EXEC = 4, CONNECT = 5, LISTEN = 6, SEND = 7, NATIVE = 8, DEFINE = 9,
            REFLECT = 10, EXIT = 11, ENVIRONMENT = 12, PROPERTY = 13, THREAD = 14, AGENT = 15, FORK = 16;
    static final int COUNT = 17;
    static final int[] CLASSES = {
        GuardTable.CLASS_FILE, GuardTable.CLASS_FILE, GuardTable.CLASS_FILE, GuardTable.CLASS_FILE, GuardTable.CLASS_FILE,
        GuardTable.CLASS_ENDPOINT, GuardTable.CLASS_ENDPOINT, GuardTable.CLASS_ENDPOINT,
        GuardTable.CLASS_CODE, GuardTable.CLASS_CODE, GuardTable.CLASS_CODE, GuardTable.CLASS_CODE, GuardTable.CLASS_CODE, GuardTable.CLASS_CODE,
        GuardTable.CLASS_CODE, GuardTable.CLASS_CODE, GuardTable.CLASS_KERNEL,
    };
    /* Permissions: bits of catalogue.def. */
    static final int[] BITS = { 1, 2, 4, 8, 16, 1, 2, 4, 1, 2, 4, 8, 16, 32, 64, 128, 1 };
    static final String[] NAMES = {
        "read file", "write file", "create file", "delete file", "exec file", "connect to endpoint", "listen on endpoint", "send to endpoint",
        "native code", "define code", "reflect code", "exit code", "environment code", "property code", "thread code", "agent code", "fork kernel",
    };

    static final int OFF = 0, LEARN = 1, REPORT = 2, ENFORCE = 3;

    private static final Unsafe U = Unsafe.getUnsafe();
    private static final long CLASS_SOURCE = U.objectFieldOffset(Class.class, "prickleSource");
    private static final long THREAD_SOURCE = U.objectFieldOffset(Thread.class, "prickleSource");
    private static final long THREAD_ENTERED = U.objectFieldOffset(Thread.class, "prickleEntered");
    private static final long THREAD_INSIDE = U.objectFieldOffset(Thread.class, "prickleInside");
    private static final long LOADER_SOURCE = U.objectFieldOffset(ClassLoader.class, "prickleSource");

    private static final long FILE_PATH = U.objectFieldOffset(File.class, "path");

    private static int mode = OFF;      // set once, before any application code
    private static GuardTable table;
    private static GuardSnapshot snapshot;
    private static StackWalker walker;

    private static final Object lock = new Object();
    private static GuardSource[] sources = new GuardSource[64];
    private static int sourceCount = GuardSource.FIRST;
    private static final HashMap<String, Integer> sourceOf = new HashMap<>();

    private GuardCore() {}

    /* ---- what injected code calls ---- */

    /** From a caller-sensitive method. */
    static void check(Class<?> caller, int guard) {
        int source = caller == null ? GuardSource.UNDECIDED : U.getInt(caller, CLASS_SOURCE);
        GuardSnapshot s = snapshot;
        if (source >= GuardSource.FIRST && s.generation == table.generation() && source < s.free.length && (s.free[source] >>> guard & 1) != 0)
            return;
        ask(caller, guard, null);
    }

    /** The same, when only code that calls directly is asked: JDK code on its way asks nothing. */
    static void checkDirect(Class<?> caller, int guard, Object argument) {
        if (caller == null)
            return;
        int source = U.getInt(caller, CLASS_SOURCE);
        GuardSnapshot s = snapshot;
        if (source >= GuardSource.FIRST && s.generation == table.generation() && source < s.free.length && (s.free[source] >>> guard & 1) != 0)
            return;
        if (sourceOf(caller) >= GuardSource.UNKNOWN)
            ask(caller, guard, argument);
    }

    static void check(int guard, Object argument) {
        ask(null, guard, argument);
    }

    static void check(int guard) {
        ask(null, guard, null);
    }

    /* RandomAccessFile.open(name, mode): O_RDWR is 2. */
    static void checkMode(Object path, int flags) {
        ask(null, FILE_READ, path);
        if ((flags & 2) != 0) {
            ask(null, FILE_WRITE, path);
            askCreate(path);
        }
    }

    /* open(2)'s flags. */
    static void checkOpen(Object path, int flags) {
        if ((flags & 3) != 1)
            ask(null, FILE_READ, path);
        if ((flags & 3) != 0)
            ask(null, FILE_WRITE, path);
        if ((flags & 0100) != 0)
            ask(null, FILE_CREATE, path);
    }

    /** A name in a directory that is open: where that directory is now. */
    private static String at(int directory, byte[] name) {
        String text = new String(name, java.nio.charset.StandardCharsets.UTF_8);
        if (text.startsWith("/"))
            return text;
        Thread me = Thread.currentThread();
        int before = U.getInt(me, THREAD_INSIDE);
        U.putInt(me, THREAD_INSIDE, 1);
        try {
            String real = GuardPath.real(new StringBuilder("/proc/self/fd/").append(directory).toString(), true);
            return new StringBuilder(String.valueOf(real)).append('/').append(text).toString();
        } finally {
            U.putInt(me, THREAD_INSIDE, before);
        }
    }

    static void checkOpenAt(int directory, byte[] name, int flags) {
        checkOpen(at(directory, name), flags);
    }

    static void checkAt(int guard, int directory, byte[] name) {
        ask(null, guard, at(directory, name));
    }

    static void checkWrite(Object path) {
        ask(null, FILE_WRITE, path);
        askCreate(path);
    }

    /* Opening for writing makes what is not there. */
    private static void askCreate(Object path) {
        ask(null, FILE_CREATE, path);
    }

    /* A program: asked for fork, and exec of its file. */
    static void checkProgram(String[] command) {
        ask(null, FORK, command.length == 0 ? null : command[0]);
        if (command.length != 0)
            ask(null, FILE_EXEC, program(command[0]));
    }

    static void checkConnect(Object address, int port) {
        ask(null, ofDatagrams() ? SEND : CONNECT, new Endpoint((InetAddress) address, port));
    }

    /* The address that a client takes is nobody's business: what it sends, and to whom, is asked. */
    static void checkBind(Object address, int port) {
        boolean datagrams = ofDatagrams();
        if (!datagrams || port != 0)
            ask(null, datagrams ? SEND : LISTEN, new Endpoint((InetAddress) address, port));
    }

    static void checkSend(Object to) {
        checkSend(((java.net.InetSocketAddress) to).getAddress(), ((java.net.InetSocketAddress) to).getPort());
    }

    static void checkSend(Object address, int port) {
        ask(null, SEND, new Endpoint((InetAddress) address, port));
    }

    /** Net.connect and Net.bind serve both: whose socket it is says who calls them. */
    private static final class OfDatagrams implements java.util.function.Function<java.util.stream.Stream<StackWalker.StackFrame>, Boolean> {
        public Boolean apply(java.util.stream.Stream<StackWalker.StackFrame> frames) {
            java.util.Iterator<StackWalker.StackFrame> each = frames.iterator();
            while (each.hasNext()) {
                String name = each.next().getClassName();
                if (!name.startsWith("jdk.internal.misc.Guard") && !name.equals("sun.nio.ch.Net"))
                    return name.equals("sun.nio.ch.DatagramChannelImpl") ? Boolean.TRUE : Boolean.FALSE;
            }
            return Boolean.FALSE;
        }
    }
    private static final OfDatagrams datagrams = new OfDatagrams();

    private static boolean ofDatagrams() {
        return walker.walk(datagrams) == Boolean.TRUE;
    }

    /** A class put into the package of another: of the JDK, it would be taken for the JDK's own. */
    static void checkDefine(Object lookup) {
        Class<?> host = ((java.lang.invoke.MethodHandles.Lookup) lookup).lookupClass();
        ask(null, sourceOf(host) < GuardSource.UNKNOWN ? NATIVE : DEFINE, host.getName());
    }

    static void agent(Object name) {
        if (mode == ENFORCE)
            throw new SecurityException(new StringBuilder("prickle: no agents in this virtual machine, since they can change the guard: '").append(name).append("' does not start").toString());
    }

    static void opened(String packages) {
        if (mode == ENFORCE && packages.indexOf("java.base/") >= 0)
            throw new SecurityException(new StringBuilder("prickle: Add-Opens and Add-Exports of a manifest cannot open java.base: '").append(packages).append('\'').toString());
    }

    /** privateLookupIn: with the rights of the Lookup's class. */
    static void checkLookup(Object lookup, Class<?> target) {
        if (lookup != null && target != null)
            checkReflect(((java.lang.invoke.MethodHandles.Lookup) lookup).lookupClass(), target);
    }

    /**
     * Members that are not public, of code of another source. Whoever holds sun.misc.Unsafe can write anywhere, its own source too, so that is a right
     * of native code.
     */
    static void checkReflect(Class<?> caller, Class<?> declaring) {
        if (caller == null)
            return;
        int from = sourceOf(caller);
        if (from < GuardSource.UNKNOWN && ofJdk(caller.getName()))
            return;
        if (isCore(declaring))
            ask(from >= GuardSource.UNKNOWN ? caller : null, NATIVE, declaring.getName());
        else if (from >= GuardSource.UNKNOWN ? from != sourceOf(declaring) : sourceOf(declaring) < GuardSource.UNKNOWN)
            ask(from >= GuardSource.UNKNOWN ? caller : null, REFLECT, declaring.getName());
    }

    /** Who holds these holds the guard: its own classes, and those in which it keeps what it knows. */
    private static boolean isCore(Class<?> c) {
        return c == Class.class || c == Thread.class || c == ClassLoader.class || c.getName().equals("sun.misc.Unsafe") ||
                (c.getName().startsWith("jdk.internal.misc.") && sourceOf(c) < GuardSource.UNKNOWN);
    }

    /** Parts of the JDK that make members accessible which no caller can choose, and keep them: values of enums, hooks of serialization, providers. */
    private static boolean ofJdk(String caller) {
        return caller.equals("java.lang.Class") || caller.startsWith("java.lang.Class$") || caller.equals("java.io.ObjectStreamClass") ||
                caller.startsWith("java.io.ObjectStreamClass$") || caller.equals("java.util.ServiceLoader") || caller.startsWith("java.util.ServiceLoader$");
    }

    /** The resolver's answer: names are believed only for addresses that it gave. */
    static void resolved(String host, InetAddress[] addresses) {
        if (host != null && addresses != null)
            Endpoint.remember(host, addresses);
    }

    /* ---- sources ---- */

    /** A class that came by ClassLoader.defineClass: it is of whoever defined it. */
    static void defined(Class<?> c, ClassLoader loader) {
        if (c == null || U.getInt(c, CLASS_SOURCE) != GuardSource.UNDECIDED || builtIn(loader))
            return;
        int source = definer(loader);
        if (source != GuardSource.UNDECIDED)
            U.putInt(c, CLASS_SOURCE, source);
    }

    /** A class that came by a Lookup: hidden or not, it is of the code whose Lookup it was. */
    static void defined(Class<?> c, Class<?> host) {
        if (c != null && host != null)
            U.putInt(c, CLASS_SOURCE, sourceOf(host));
    }

    static void loader(ClassLoader loader) {
        U.putInt(loader, LOADER_SOURCE, walk());
    }

    static void thread(Thread thread) {
        {
            U.putInt(thread, THREAD_SOURCE, walk());
            long entered = U.getLong(Thread.currentThread(), THREAD_ENTERED);
            U.putLong(thread, THREAD_ENTERED, entered);
        }
    }

    private static boolean builtIn(ClassLoader loader) {
        return loader == null || loader == ClassLoaders.platformClassLoader() || loader == ClassLoaders.appClassLoader();
    }

    private static int definer(ClassLoader loader) {
        int caller = walk();
        int creator = U.getInt(loader, LOADER_SOURCE);
        /* A container's loader: the code that happens to need the class is not its author. */
        if (creator >= GuardSource.UNKNOWN && directlyByJdk())
            return creator;
        return caller < GuardSource.UNKNOWN ? GuardSource.UNKNOWN : caller;
    }

    /** Whether the method that defines is the JDK's (URLClassLoader), not the application's. */
    private static boolean directlyByJdk() {
        return walker.walk(new FirstDefiner()) == Boolean.TRUE;
    }

    private static final class FirstDefiner implements java.util.function.Function<java.util.stream.Stream<StackWalker.StackFrame>, Boolean> {
        public Boolean apply(java.util.stream.Stream<StackWalker.StackFrame> frames) {
            java.util.Iterator<StackWalker.StackFrame> each = frames.iterator();
            while (each.hasNext()) {
                Class<?> c = each.next().getDeclaringClass();
                if (c != GuardCore.class && c != Guard.class && c != ClassLoader.class && c != java.security.SecureClassLoader.class)
                    return sourceOf(c) < GuardSource.UNKNOWN ? Boolean.TRUE : Boolean.FALSE;
            }
            return Boolean.FALSE;
        }
    }

    /** Decided at the first question, and kept in the class. */
    static int sourceOf(Class<?> c) {
        int source = U.getInt(c, CLASS_SOURCE);
        if (source != GuardSource.UNDECIDED)
            return source;
        ClassLoader loader = c.getClassLoader();
        if (loader == null || loader == ClassLoaders.platformClassLoader())
            source = GuardOwn.has(c.getName()) ? GuardSource.JDK_OWN : GuardSource.JDK;
        else if (loader == ClassLoaders.appClassLoader())
            source = builtInSource(c);
        else
            source = GuardSource.UNKNOWN;
        U.putInt(c, CLASS_SOURCE, source);
        return source;
    }

    /** The jar or directory that the application loader opened for this class. A protection domain handed in by anybody never gets here: defined() came first. */
    private static int builtInSource(Class<?> c) {
        ProtectionDomain domain = c.getProtectionDomain();
        CodeSource code = domain == null ? null : domain.getCodeSource();
        URL at = code == null ? null : code.getLocation();
        /* Tools of the JDK (javac) are in its image and come by the application's loader. */
        if (at != null && at.getProtocol().equals("jrt") && (at.getPath().startsWith("/jdk.") || at.getPath().startsWith("/java.")))
            return GuardSource.JDK;
        if (at == null || !at.getProtocol().equals("file"))
            return GuardSource.UNKNOWN;
        String path = at.getPath();
        if (path.indexOf('%') >= 0)
            path = sun.net.www.ParseUtil.decode(path);
        while (path.length() > 1 && path.endsWith("/"))
            path = path.substring(0, path.length() - 1);
        return source(path);
    }

    private static int source(String path) {
        synchronized (lock) {
            Integer known = sourceOf.get(path);
            if (known != null)
                return known;
            if (sourceCount == GuardSource.MAX)
                return GuardSource.UNKNOWN;
            if (sourceCount == sources.length)
                sources = Arrays.copyOf(sources, sourceCount * 2);
            sources[sourceCount] = new GuardSource(sourceCount, path);
            sourceOf.put(path, sourceCount);
            return sourceCount++;
        }
    }

    static String sourcePath(int source) {
        if (source < GuardSource.FIRST)
            return source == GuardSource.UNKNOWN ? "no known source" : "the JDK";
        synchronized (lock) {
            return sources[source].path;
        }
    }

    /* ---- the question ---- */

    /** Frames looked at: beyond, whoever asks is not known. */
    private static final int FRAMES_MAX = 512;

    private static final class FirstSource implements java.util.function.Function<java.util.stream.Stream<StackWalker.StackFrame>, Integer> {
        public Integer apply(java.util.stream.Stream<StackWalker.StackFrame> frames) {
            java.util.Iterator<StackWalker.StackFrame> each = frames.iterator();
            for (int i = 0; each.hasNext(); i++) {
                if (i == FRAMES_MAX)
                    return GuardSource.UNKNOWN;
                int source = sourceOf(each.next().getDeclaringClass());
                if (source != GuardSource.JDK)
                    return source;
            }
            return GuardSource.UNDECIDED;
        }
    }
    private static final FirstSource firstSource = new FirstSource();

    /** The source that answers for what this thread does now; JDK: nobody but the JDK itself. */
    private static int walk() {
        int source = walker.walk(firstSource);
        if (source == GuardSource.UNDECIDED) {
            source = U.getInt(Thread.currentThread(), THREAD_SOURCE);
            if (source == GuardSource.UNDECIDED)
                source = GuardSource.JDK;
        }
        return source;
    }

    /**
     * Whether a class of the JDK is being initialised between the guard and whoever asked. What initialisers do is the JDK's own doing, however it came to
     * it, and a denial there would break the class for good.
     */
    private static final class InInitialiser implements java.util.function.Function<java.util.stream.Stream<StackWalker.StackFrame>, Boolean> {
        public Boolean apply(java.util.stream.Stream<StackWalker.StackFrame> frames) {
            java.util.Iterator<StackWalker.StackFrame> each = frames.iterator();
            for (int i = 0; each.hasNext() && i < FRAMES_MAX; i++) {
                StackWalker.StackFrame frame = each.next();
                if (sourceOf(frame.getDeclaringClass()) >= GuardSource.UNKNOWN)
                    return Boolean.FALSE;
                if (frame.getMethodName().equals("<clinit>"))
                    return Boolean.TRUE;
            }
            return Boolean.FALSE;
        }
    }
    private static final InInitialiser inInitialiser = new InInitialiser();

    private static void ask(Class<?> caller, int guard, Object argument) {
        Thread me = Thread.currentThread();
        if (U.getInt(me, THREAD_INSIDE) != 0)
            return;             // the guard's own work
        U.putInt(me, THREAD_INSIDE, 1);
        SecurityException denied;
        try {
            int source = caller != null ? sourceOf(caller) : GuardSource.JDK;
            if (source == GuardSource.JDK || source == GuardSource.UNDECIDED)
                source = walk();
            denied = source < GuardSource.UNKNOWN ? null : judge(me, source, guard, argument);
        } finally {
            U.putInt(me, THREAD_INSIDE, 0);
        }
        if (denied != null)
            throw denied;
    }

    private static GuardSnapshot current(int source) {
        GuardSnapshot s = snapshot;
        if (s.generation == table.generation() && source < s.free.length)
            return s;
        synchronized (lock) {
            s = snapshot;
            if (s.generation == table.generation() && source < s.free.length)
                return s;
            try {
                GuardTable.Bank bank = table.read();
                if (GuardSnapshot.asksHashes(bank))
                    GuardHash.fill(sources, sourceCount);
                s = new GuardSnapshot(bank, sources, sourceCount);
            } catch (IOException e) {
                throw new SecurityException(e.getMessage());
            }
            snapshot = s;
            return s;
        }
    }

    private static SecurityException judge(Thread me, int source, int guard, Object argument) {
        GuardSnapshot s = current(source);
        long entered = U.getLong(me, THREAD_ENTERED);
        boolean transferred = entered != 0 && (int) (entered >>> 32) == source;
        int as = transferred ? (int) entered : s.subject(source);       // a number of the policy
        if (!transferred && (s.free[source] >>> guard & 1) != 0)
            return null;
        String what;
        int object = 0;
        switch (CLASSES[guard]) {
        case GuardTable.CLASS_FILE:
            String given = argument == null ? null : path(argument);
            what = given == null ? null : GuardPath.normal(given);
            if (what == null)
                break;
            object = s.file(what);
            /* Of what was given: behind a link, ".." is not where the text says. */
            String real = GuardPath.real(given, guard != FILE_DELETE);
            /* A link opens no more than where it leads. */
            if (real != null && !real.equals(what)) {
                int other = s.file(real);
                if (s.decide(as, other, BITS[guard]) == GuardSnapshot.DENIED) {
                    object = other;
                    what = real;
                }
            }
            break;
        case GuardTable.CLASS_ENDPOINT:
            Endpoint end = (Endpoint) argument;
            what = end.toString();
            object = s.endpoint(end.names(), end.port);
            break;
        default:
            what = argument == null ? null : String.valueOf(argument);
            object = s.single(CLASSES[guard]);
        }
        int verdict = s.decide(as, object, BITS[guard]);
        if (verdict == GuardSnapshot.ALLOWED)
            return null;
        if (verdict != GuardSnapshot.AUDITED && walker.walk(inInitialiser) == Boolean.TRUE)
            return null;
        boolean deny = verdict == GuardSnapshot.DENIED && mode == ENFORCE;
        String id = GuardAudit.record(s, as, source, guard, object, what, verdict, deny);
        return deny ? new SecurityException(GuardAudit.sentence(s, as, source, guard, what, id)) : null;
    }

    /** Absolute, as the kernel will get it. What a File of the application's own class says of itself is not asked. */
    private static String path(Object argument) {
        if (argument instanceof File)
            return GuardPath.absolute((String) U.getReference(argument, FILE_PATH));
        if (argument instanceof java.nio.file.Path)
            return ((java.nio.file.Path) argument).toAbsolutePath().toString();
        return GuardPath.absolute(argument.toString());
    }

    private static String program(String name) {
        if (name.indexOf('/') >= 0)
            return name;
        String path = System.getenv("PATH");
        return GuardPath.search(name, path);
    }

    /** Where a connection ends. */
    static final class Endpoint {
        final InetAddress address;
        final int port;
        private static final HashMap<String, String[]> known = new HashMap<>();  // address -> names that were resolved to it
        private static final int KNOWN_MAX = 4096, NAMES_MAX = 8;

        Endpoint(InetAddress address, int port) {
            this.address = address;
            this.port = port;
        }

        static void remember(String host, InetAddress[] addresses) {
            synchronized (known) {
                if (known.size() > KNOWN_MAX)
                    known.clear();
                for (InetAddress each : addresses) {
                    String key = each.getHostAddress();
                    String[] names = known.get(key);
                    if (names == null) {
                        known.put(key, new String[] { host });
                        continue;
                    }
                    boolean there = names.length >= NAMES_MAX;
                    for (String name : names)
                        there |= name.equals(host);
                    if (!there) {
                        names = Arrays.copyOf(names, names.length + 1);
                        names[names.length - 1] = host;
                        known.put(key, names);
                    }
                }
            }
        }

        String[] names() {
            String[] names;
            if (address == null)
                return new String[0];
            String literal = address.getHostAddress();
            synchronized (known) {
                names = known.get(literal);
            }
            names = names == null ? new String[1] : Arrays.copyOf(names, names.length + 1);
            names[names.length - 1] = literal;
            if (address.isLoopbackAddress()) {
                names = Arrays.copyOf(names, names.length + 1);
                names[names.length - 1] = "localhost";
            }
            return names;
        }

        public String toString() {
            return new StringBuilder().append(address == null ? "?" : address.getHostAddress()).append(':').append(port).toString();
        }
    }

    /* ---- runAs ---- */

    /** What was entered before, to be given back to leave(). */
    static long enter(Class<?> caller, String label) {
        Thread me = Thread.currentThread();
        long before = U.getLong(me, THREAD_ENTERED);
        int source = sourceOf(caller);
        GuardSnapshot s = current(source);
        int from = before != 0 && (int) (before >>> 32) == source ? (int) before : s.subject(source);
        int to = s.subjectNamed(label);
        if (to == 0 || !s.mayEnter(from, to)) {
            if (mode == ENFORCE)
                throw new SecurityException(GuardAudit.refusedTransfer(s, source, label));
            return before;
        }
        U.putLong(me, THREAD_ENTERED, (long) source << 32 | to);
        return before;
    }

    static void leave(long before) {
        U.putLong(Thread.currentThread(), THREAD_ENTERED, before);
    }

    /* ---- boot ---- */

    /** At the begin of System.initPhase3, before any code but the JDK's has run. */
    static void start(int how, GuardTable from) throws IOException {
        table = from;
        walker = StackWalker.getInstance(StackWalker.Option.RETAIN_CLASS_REFERENCE);
        snapshot = new GuardSnapshot(from.read(), sources, sourceCount);
        GuardPath.normal("/");                   // it asks where the machine starts
        walker.walk(datagrams);
        walker.walk(firstSource);               // its classes are loaded before a guard can need them
        mode = how;
        Guard.on = true;
    }
}
