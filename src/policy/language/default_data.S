/* The shipped policy, as bytes of this program. POLICY_DEFAULT is its path, said by the build. */
	.section .rodata, "a"
	.globl policy_default_begin, policy_default_end
	.hidden policy_default_begin, policy_default_end
policy_default_begin:
	.incbin POLICY_DEFAULT
policy_default_end:
	.byte 0
	.section .note.GNU-stack, "", %progbits
