package jdk.internal.misc;

import java.net.InetAddress;

/**
 * The guard of a hardened JDK: each sensitive method of the image asks here, before it acts, whether the code that called it may. Calls are put in by
 * 'prickle dvm harden' (src/dvm/image/sinks.def); the policy comes from the node's mapped table.
 *
 * This class has no initialiser and stays so: the virtual machine makes its first thread, and with it asks here, before Unsafe can be used.
 */
public final class Guard {
    /** Set once, at the end of boot(), before any code but the JDK's has run. */
    static boolean on;

    private Guard() {}

    /** At the begin of System.initPhase3. */
    public static void boot() {
        GuardBoot.run();
    }

    public static void check(Class<?> caller, int guard) {
        if (on)
            GuardCore.check(caller, guard);
    }

    public static void checkDirect(Class<?> caller, int guard, Object argument) {
        if (on)
            GuardCore.checkDirect(caller, guard, argument);
    }

    public static void check(int guard, Object argument) {
        if (on)
            GuardCore.check(guard, argument);
    }

    public static void check(int guard) {
        if (on)
            GuardCore.check(guard);
    }

    public static void checkMode(Object path, int flags) {
        if (on)
            GuardCore.checkMode(path, flags);
    }

    public static void checkOpen(Object path, int flags) {
        if (on)
            GuardCore.checkOpen(path, flags);
    }

    public static void checkOpenAt(int directory, byte[] name, int flags) {
        if (on)
            GuardCore.checkOpenAt(directory, name, flags);
    }

    public static void checkAt(int guard, int directory, byte[] name) {
        if (on)
            GuardCore.checkAt(guard, directory, name);
    }

    public static void checkDefine(Object lookup) {
        if (on)
            GuardCore.checkDefine(lookup);
    }

    /** An agent of java.lang.instrument starts, however it came; it could take the guard out of any class. */
    public static void agent(Object name) {
        if (on)
            GuardCore.agent(name);
    }

    /** Add-Opens and Add-Exports of a jar's manifest. */
    public static void opened(String packages) {
        if (on)
            GuardCore.opened(packages);
    }

    public static void checkPacket(java.net.DatagramPacket packet) {
        if (on)
            GuardCore.checkSend(packet.getAddress(), packet.getPort());
    }

    public static void checkSendTo(Object address, int port) {
        if (on && port != 0)
            GuardCore.checkSend(address, port);
    }

    public static void checkWrite(Object path) {
        if (on)
            GuardCore.checkWrite(path);
    }

    public static void checkProgram(String[] command) {
        if (on)
            GuardCore.checkProgram(command);
    }

    public static void checkConnect(Object address, int port) {
        if (on)
            GuardCore.checkConnect(address, port);
    }

    public static void checkBind(Object address, int port) {
        if (on)
            GuardCore.checkBind(address, port);
    }

    public static void checkSend(Object to) {
        if (on)
            GuardCore.checkSend(to);
    }

    public static void checkLookup(Object lookup, Class<?> target) {
        if (on)
            GuardCore.checkLookup(lookup, target);
    }

    public static void checkReflect(Class<?> caller, Class<?> declaring) {
        if (on)
            GuardCore.checkReflect(caller, declaring);
    }

    public static void resolved(String host, InetAddress[] addresses) {
        if (on)
            GuardCore.resolved(host, addresses);
    }

    public static void defined(Class<?> c, ClassLoader loader) {
        if (on)
            GuardCore.defined(c, loader);
    }

    public static void defined(Class<?> c, Class<?> host) {
        if (on)
            GuardCore.defined(c, host);
    }

    public static void loader(ClassLoader loader) {
        if (on)
            GuardCore.loader(loader);
    }

    public static void thread(Thread thread) {
        if (on)
            GuardCore.thread(thread);
    }

    public static long enter(Class<?> caller, String label) {
        return on ? GuardCore.enter(caller, label) : 0;
    }

    public static void leave(long before) {
        if (on)
            GuardCore.leave(before);
    }
}
