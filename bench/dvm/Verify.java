import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.objectweb.asm.ClassReader;
import org.objectweb.asm.tree.ClassNode;
import org.objectweb.asm.tree.MethodNode;
import org.objectweb.asm.tree.analysis.Analyzer;
import org.objectweb.asm.tree.analysis.AnalyzerException;
import org.objectweb.asm.tree.analysis.BasicVerifier;

/** The same by ASM: Verify FILE ROUNDS; each method through the analyzer with a BasicVerifier, which knows of all references only that they are some. The best round is the warm one. */
public class Verify {
	public static void main(String[] args) throws Exception {
		ByteBuffer in = ByteBuffer.wrap(Files.readAllBytes(Path.of(args[0])));
		List<byte[]> classes = new ArrayList<>();
		int refused = 0;
		while (in.hasRemaining()) {
			in.position(in.position() + 4 + in.getInt(in.position()));
			byte[] one = new byte[in.getInt()];
			in.get(one);
			classes.add(one);
		}
		double best = 1e9;
		for (int round = Integer.parseInt(args[1]); round > 0; round--) {
			long start = ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime();
			refused = 0;
			for (byte[] one : classes) {
				ClassNode node = new ClassNode();
				new ClassReader(one).accept(node, ClassReader.SKIP_DEBUG);
				for (MethodNode method : node.methods)
					try {
						new Analyzer<>(new BasicVerifier()).analyze(node.name, method);
					} catch (AnalyzerException e) {
						refused++;
					}
			}
			best = Math.min(best, (ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime() - start) / 1e9);
		}
		System.out.printf("asm %.0f %d %d%n", classes.size() / best, classes.size(), refused);
	}
}
