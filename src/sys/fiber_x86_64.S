/*
 * void fiber_switch(void **save_sp, void *load_sp)
 *
 * Saves what the System V ABI lets a callee keep (rbx, rbp, r12-r15, the control words of
 * x87 and SSE), stores the stack pointer, takes the other one and returns on it. A new
 * fiber's stack is laid out as if it had called this from fiber_entry_trampoline.
 */
#if defined(__x86_64__)
	.text
	.globl	fiber_switch
	.hidden	fiber_switch
	.type	fiber_switch, @function
fiber_switch:
	endbr64
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	subq	$8, %rsp
	stmxcsr	(%rsp)
	fnstcw	4(%rsp)
	movq	%rsp, (%rdi)
	movq	%rsi, %rsp
	ldmxcsr	(%rsp)
	fldcw	4(%rsp)
	addq	$8, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	ret
	.size	fiber_switch, . - fiber_switch

/* First return address of a new fiber: r12 holds the function; it never returns. */
	.globl	fiber_entry_trampoline
	.hidden	fiber_entry_trampoline
	.type	fiber_entry_trampoline, @function
fiber_entry_trampoline:
	endbr64
	xorl	%ebp, %ebp
	callq	*%r12
	ud2
	.size	fiber_entry_trampoline, . - fiber_entry_trampoline
	.section .note.GNU-stack, "", @progbits
#endif
