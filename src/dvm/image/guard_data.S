/* The guard's classes (tools/java_classes.py), as bytes of this program. GUARD_CLASSES is their path, said by the build. */
	.section .rodata, "a"
	.globl guard_classes_begin, guard_classes_end
	.hidden guard_classes_begin, guard_classes_end
guard_classes_begin:
	.incbin GUARD_CLASSES
guard_classes_end:
	.byte 0
	.section .note.GNU-stack, "", %progbits
