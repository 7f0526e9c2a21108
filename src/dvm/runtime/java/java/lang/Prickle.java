package java.lang;

import java.util.concurrent.Callable;

import jdk.internal.misc.Guard;
import jdk.internal.reflect.CallerSensitive;
import jdk.internal.reflect.Reflection;

/**
 * What applications of a hardened JDK can ask of its guard. What AccessController.doPrivileged was: a transfer to another domain of the node's policy, for
 * one call.
 */
public final class Prickle {
    private Prickle() {}

    /**
     * Run task as another domain: for as long as it runs, on this thread and those that it starts, what the calling code does is judged as that
     * domain's. The policy must have the edge ('enter FROM -> LABEL'), else SecurityException. However the task ends, the domain is left.
     */
    @CallerSensitive
    public static <T> T runAs(String label, Callable<T> task) throws Exception {
        long before = Guard.enter(Reflection.getCallerClass(), label);
        try {
            return task.call();
        } finally {
            Guard.leave(before);
        }
    }

    /**
     * For java.instrument, which sees no package of the guard: it asks here before it starts an agent. (To export one to it when the machine starts would
     * cost 15 ms.) Whoever else calls it is asked, too.
     */
    public static void agent(Object name) {
        Guard.agent(name);
    }
}
