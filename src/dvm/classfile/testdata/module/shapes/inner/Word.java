package shapes.inner;

public interface Word {
	String WORD = "word";
}
