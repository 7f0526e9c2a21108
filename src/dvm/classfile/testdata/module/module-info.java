/** A module descriptor with one of each directive. */
@Deprecated
open module shapes.module {
	requires java.base;
	requires transitive java.logging;
	requires static java.xml;
	exports shapes;
	exports shapes.inner to java.logging, java.xml;
	uses java.util.function.Supplier;
	provides java.util.function.Supplier with shapes.Supply;
}
