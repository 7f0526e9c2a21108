package shapes;

public class Supply implements java.util.function.Supplier<String> {
	@Override
	public String get() {
		return shapes.inner.Word.WORD;
	}
}
