/* The object for the kernel, as bytes of this program. NAT64_OBJECT is its path, said by the build. */
	.section .rodata, "a"
	.balign 16
	.globl nat64_object_begin, nat64_object_end
	.hidden nat64_object_begin, nat64_object_end
nat64_object_begin:
	.incbin NAT64_OBJECT
nat64_object_end:
	.byte 0
	.section .note.GNU-stack, "", %progbits
