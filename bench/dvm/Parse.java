import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.objectweb.asm.ClassReader;
import org.objectweb.asm.ClassVisitor;
import org.objectweb.asm.FieldVisitor;
import org.objectweb.asm.MethodVisitor;
import org.objectweb.asm.Opcodes;

/** The same by ASM: Parse FILE ROUNDS; all code and attributes are visited by visitors that do nothing. The best round is the warm one. */
public class Parse {
	static class Nothing extends ClassVisitor {
		private final MethodVisitor method = new MethodVisitor(Opcodes.ASM9) {
		};
		private final FieldVisitor field = new FieldVisitor(Opcodes.ASM9) {
		};

		Nothing() {
			super(Opcodes.ASM9);
		}

		@Override
		public MethodVisitor visitMethod(int access, String name, String descriptor, String signature, String[] exceptions) {
			return method;
		}

		@Override
		public FieldVisitor visitField(int access, String name, String descriptor, String signature, Object value) {
			return field;
		}
	}

	public static void main(String[] args) throws Exception {
		ByteBuffer in = ByteBuffer.wrap(Files.readAllBytes(Path.of(args[0])));
		List<byte[]> classes = new ArrayList<>();
		long bytes = 0;
		while (in.hasRemaining()) {
			in.position(in.position() + 4 + in.getInt(in.position()));
			byte[] one = new byte[in.getInt()];
			in.get(one);
			classes.add(one);
			bytes += one.length;
		}
		double best = 1e9;
		for (int round = Integer.parseInt(args[1]); round > 0; round--) {
			long start = ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime();
			for (byte[] one : classes)
				new ClassReader(one).accept(new Nothing(), 0);
			best = Math.min(best, (ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime() - start) / 1e9);
		}
		System.out.printf("asm %.0f %.0f%n", classes.size() / best, bytes / best / 1e6);
	}
}
