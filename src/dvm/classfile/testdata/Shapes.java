import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.function.Function;

/** One of each thing that a class file can say, for the tests of the reader and of the printer. */
@Shapes.Mark(name = "outer \"quoted\"\t\u00e9\ud83d\ude00", number = 7, letter = '\n', ratio = 1.5f, wide = -2L, exact = 0.1, on = true,
	small = 3, tiny = 4, kind = Shapes.Colour.GREEN, type = int[].class, inner = @Shapes.Note({ "a", "b" }))
public abstract class Shapes<T extends Comparable<T>> implements Callable<T> {
	@Retention(RetentionPolicy.RUNTIME)
	@interface Mark {
		String name() default "none";
		int number() default 1;
		char letter() default 'x';
		float ratio() default 0;
		long wide() default 0;
		double exact() default Double.NaN;
		boolean on() default false;
		byte small() default 0;
		short tiny() default 0;
		Colour kind() default Colour.RED;
		Class<?> type() default Object.class;
		Note inner() default @Note({});
	}

	@interface Note {			/* class retention: invisible */
		String[] value();
	}

	@Retention(RetentionPolicy.RUNTIME)
	@Target({ ElementType.TYPE_USE, ElementType.TYPE_PARAMETER })
	@interface Used {
	}

	enum Colour {
		RED, GREEN, BLUE
	}

	sealed interface Figure permits Circle, Square {
	}

	record Circle(@Mark double radius, List<@Used String> names) implements Figure {
	}

	record Square(int side) implements Figure {
	}

	static final int INT = -5;
	static final long LONG = 1L << 40;
	static final float FLOAT = Float.NaN;
	static final double DOUBLE = Double.NEGATIVE_INFINITY;
	static final String TEXT = "text\0\u20ac";
	private transient volatile @Used Map<@Used String, ? extends @Used Object[]> field;

	protected native synchronized void call(int how) throws java.io.IOException;

	/** @deprecated for its attribute */
	@Deprecated
	static long numbers(@Note("p") int a, @Mark final long b, double... rest) {
		long sum = 0;
		int i = 300;
		i += 1000;
		outer:
		for (double d : rest)
			for (int k = 0; k < a; k++) {
				if (d > k)
					continue outer;
				sum += (long)d << k ^ ~b;
			}
		switch (a) {
		case -1: return 1;
		case 0: return 2;
		case 1: return sum;
		default: break;
		}
		switch (a) {
		case 1000: return 5;
		case -70000: return 6;
		default: return i;
		}
	}

	Object caught(Object in, int[][] grid, @Used String text) {
		synchronized (this) {
			try {
				int[][][] cube = new int[2][3][];
				byte[] bytes = new byte[4];
				Object[] objects = new Object[1];
				objects[0] = in instanceof String s ? s : (CharSequence)text;
				cube[0][1] = new int[] { bytes[0], grid.length };
				Function<Object, String> f = String::valueOf;
				Runnable r = () -> System.out.println(text + in + cube.length + f.apply(this));
				r.run();
				return objects;
			} catch (@Used IllegalStateException | ArithmeticException e) {
				return e;
			} finally {
				field = null;
			}
		}
	}

	static String named(Colour c) {
		return switch (c) {
		case RED -> "r";
		case GREEN -> "g";
		case BLUE -> "b";
		};
	}

	Callable<String> anonymous() {
		return new Callable<>() {
			@Override
			public String call() {
				return "" + field;
			}
		};
	}
}
