package jdk.internal.misc;

/**
 * Operations of the JDK that run under its own label: a frame of one of these classes ends the walk, and nobody is asked. The list is closed: each
 * class does one thing, with files or addresses that applications cannot choose, hands out no descriptor, and has no frame while code of an application, or
 * a method handle of it, is called. A nested class counts as its outermost one.
 */
final class GuardOwn {
    private static final String[] CLASSES = {
        "java.lang.invoke.InnerClassLambdaMetafactory",
        "java.lang.invoke.StringConcatFactory",
        "java.time.zone.TzdbZoneRulesProvider",
        "java.util.Currency",
        "jdk.internal.jimage.BasicImageReader",
        "jdk.internal.jimage.ImageReaderFactory",
        "jdk.internal.loader.BootLoader",
        "jdk.internal.loader.BuiltinClassLoader",
        "jdk.internal.misc.CDS",
        "jdk.internal.misc.GuardBoot",
        "sun.net.PortConfig",
        "sun.net.dns.ResolverConfigurationImpl",
        "sun.net.spi.DefaultProxySelector",
        "sun.security.provider.NativePRNG",
        "sun.security.provider.SeedGenerator",
        "sun.security.ssl.TrustStoreManager",
        "sun.util.calendar.ZoneInfoFile",
        "sun.util.locale.provider.LocaleProviderAdapter",
    };

    private GuardOwn() {}

    static boolean has(String name) {
        for (String each : CLASSES)
            if (name.startsWith(each) && (name.length() == each.length() || name.charAt(each.length()) == '$'))
                return true;
        return false;
    }
}
