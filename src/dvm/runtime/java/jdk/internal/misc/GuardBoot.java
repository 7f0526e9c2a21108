package jdk.internal.misc;

import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.util.Properties;

/** Starts the guard as lib/prickle.properties of the image says. In enforce nothing runs that it could not watch. */
final class GuardBoot {
    private GuardBoot() {}

    static void run() {
        String home = System.getProperty("java.home");
        Properties settings = new Properties();
        String how = "enforce";
        try {
            try (FileInputStream in = new FileInputStream(home.concat("/lib/prickle.properties"))) {
                settings.load(in);
            }
            how = settings.getProperty("mode", "enforce");
            boolean enforce = how.equals("enforce");
            if (!enforce && !how.equals("report") && !how.equals("learn"))
                throw new IOException("lib/prickle.properties: mode is learn, report or enforce");
            if (enforce)
                refuseFlags(VM.getRuntimeArguments());
            String audit = settings.getProperty("audit");
            if (audit != null)
                openAudit(audit, how.equals("learn"));
            GuardCore.start(enforce ? GuardCore.ENFORCE : how.equals("report") ? GuardCore.REPORT : GuardCore.LEARN, GuardTable.open(settings.getProperty("table")));
        } catch (IOException | RuntimeException e) {
            boolean enforce = !how.equals("report") && !how.equals("learn");
            System.err.println("prickle: the guard of this JDK cannot read its policy: ".concat(String.valueOf(e.getMessage()))
                               .concat(enforce ? "; nothing runs without it" : "; nothing is recorded"));
            if (enforce)
                Runtime.getRuntime().halt(78);
        }
    }

    /* What would open or change java.base, whose methods ask, or run before them. */
    private static final String[] REFUSED = {
        "--add-opens=java.base/", "--add-exports=java.base/", "--add-reads=java.base=", "--patch-module=java.base=", "-Xbootclasspath/a:", "-javaagent:", "-agentlib:",
        "-agentpath:", "-Xrun", "-Djava.system.class.loader=", "-Djava.security.manager=", "--illegal-access=", "-XX:-DisableAttachMechanism",
    };

    private static void refuseFlags(String[] arguments) {
        for (String each : arguments == null ? new String[0] : arguments)
            for (String refused : REFUSED)
                if (each.startsWith(refused)) {
                    System.err.println("prickle: this virtual machine enforces a policy, and '".concat(each).concat("' would undo it: start it without (JAVA_TOOL_OPTIONS and JDK_JAVA_OPTIONS count, too)"));
                    Runtime.getRuntime().halt(78);
                }
    }

    private static void openAudit(String path, boolean once) {
        try {
            GuardAudit.start(new FileOutputStream(path, true), once);
        } catch (IOException e) {
            GuardAudit.start(null, once);
        }
    }
}
