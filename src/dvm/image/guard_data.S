/* The guard's classes and the self-test's (tools/java_classes.py), as bytes of this program. GUARD_CLASSES and SELFTEST_CLASSES are their paths, said by the build. */
	.section .rodata, "a"
	.globl guard_classes_begin, guard_classes_end
	.hidden guard_classes_begin, guard_classes_end
guard_classes_begin:
	.incbin GUARD_CLASSES
guard_classes_end:
	.byte 0
	.globl selftest_classes_begin, selftest_classes_end
	.hidden selftest_classes_begin, selftest_classes_end
selftest_classes_begin:
	.incbin SELFTEST_CLASSES
selftest_classes_end:
	.byte 0
	.section .note.GNU-stack, "", %progbits
