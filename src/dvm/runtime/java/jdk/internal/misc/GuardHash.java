package jdk.internal.misc;

import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/** SHA-256 of jars, when a domain of the policy asks for one. */
final class GuardHash {
    private GuardHash() {}

    static void fill(GuardSource[] sources, int count) {
        for (int i = GuardSource.FIRST; i < count; i++)
            if (sources[i].sha256 == null && new File(sources[i].path).isFile())
                sources[i].sha256 = of(sources[i].path);
    }

    /** null: cannot be read, so it fits no domain that asks. */
    private static byte[] of(String path) {
        byte[] part = new byte[65536];
        try (FileInputStream in = new FileInputStream(path)) {
            MessageDigest digest = MessageDigest.getInstance("SHA-256");
            for (int n; (n = in.read(part)) > 0;)
                digest.update(part, 0, n);
            return digest.digest();
        } catch (IOException | NoSuchAlgorithmException e) {
            return null;
        }
    }
}
