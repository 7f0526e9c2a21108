/*
 * must(): a condition that only our own bug can break.
 *
 * It stays in release builds, prints the condition and where it stands, and ends the
 * process: the supervisor starts the role again and nothing wrong is written. Never use
 * it on bytes from a peer, a disk or another process: that lets a stranger choose when
 * we die.
 */
#pragma once
#include "base/attr.h"

NORETURN void must_failed(const char *condition, const char *file, int line);

#define must(cond)                                                                                 \
	do {                                                                                       \
		if (unlikely(!(cond)))                                                             \
			must_failed(#cond, __FILE__, __LINE__);                                    \
	} while (0)
