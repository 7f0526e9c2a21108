/*
 * What the writer of the race test and all its readers share, the one in the kernel included.
 *
 * The writer goes from state to state: state 2e is epoch e in force, state 2e - 1 the intersection of the epochs e - 1 and e. It says that it begins one,
 * puts it in force in every copy, and says that it is done. So whatever a reader decided between a look at `acked` and a look at `begun` is what
 * some state from the one to the other says, or the reader saw something stale, torn or never applied.
 */
#pragma once
struct race_words {
	unsigned long long acked, begun;	/* states */
	unsigned long long judged, between, wrong;	/* by the reader in the kernel; between: while the writer moved on */
	unsigned long long fence;
};

/* What an extension may do with a port in an epoch: any bits. */
static inline unsigned int race_rights(unsigned long long epoch)
{
	unsigned long long x = (epoch + 1) * 0x9e3779b97f4a7c15ull;

	return (unsigned int)((x ^ x >> 29) >> 7) | 1u;
}

/* The port's word in a state. */
static inline unsigned long long race_word(unsigned long long state)
{
	unsigned long long epoch = (state + 1) / 2;
	unsigned int rights = race_rights(epoch);

	if ((state & 1) != 0)
		rights &= race_rights(epoch - 1);
	return (unsigned long long)rights << 32 | 7;
}

#define RACE_SLOT   7
#define RACE_WINDOW 8		/* states; a reader that was away for longer does not judge */
